package optimizer

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheLongestPauseOfACalendarIsSaid(t *testing.T) {
	t.Parallel()
	at := TimeOfDay(6*60 + 45)
	for want, c := range map[string]Calendar{
		"": nil,
		" The longest time between two refreshes is 2.6 days, fri 17:58 to mon 08:00.": {{Days: Weekdays, From: 8 * 60, To: 18 * 60, Every: IntervalWords(2 * time.Minute)}},
		" The longest time between two refreshes is 24.0 h, mon 06:45 to tue 06:45.":   {{Days: EveryDay, At: &at}},
		" The longest time between two refreshes is 7.0 days, mon 06:45 to mon 06:45.": {{Days: 1, At: &at}},
		" The longest time between two refreshes is 30 min, mon 00:00 to mon 00:30.":   {{Days: EveryDay, To: 24 * 60, Every: IntervalWords(30 * time.Minute)}},
	} {
		require.Equal(t, want, pauseWords(c))
	}
}
