package optimizer

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a rhythm gained once says nothing for ever, and whoever asks week by week is told no less.
func TestTheGateLooksBackOnTheLastWeeksAloneHoweverOftenItIsAsked(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(6, 6))
	const weeks = 3 * foldWeeks
	var asked, fresh season
	gains := func(s *season) [2]float64 { return [2]float64{s.gain(HourOfWeekRates, 0), s.gain(HourOfDayRates, 0)} }
	var once [2]float64
	for week := range weeks {
		for hour := range hoursOfWeek {
			reads := float64(random.IntN(20))
			if week < foldWeeks && hour%24 >= 8 && hour%24 < 17 {
				reads += 200
			}
			asked.observe(week, hour, reads, 3600)
			if hour%50 == 0 {
				gains(&asked)
			}
			if week >= weeks-foldWeeks-1 {
				fresh.observe(week, hour, reads, 3600)
			}
		}
		if week == foldWeeks-1 {
			once = gains(&asked)
		}
	}
	require.Greater(t, once[0], 1.2, "there was a rhythm")
	require.Less(t, gains(&fresh)[0], 1.05)
	require.Equal(t, gains(&fresh), gains(&asked))
	require.Equal(t, fresh.reads(), asked.reads())
	require.Equal(t, fresh.observedWeeks(), asked.observedWeeks())
}
