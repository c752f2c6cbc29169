package optimizer

import (
	"fmt"
	"math"
	"time"
)

// ReadModel learns from the past how often a view is read, and forecasts it:
//
//	rate(t+x) = slow * profile(t+x) * (1 + (fast-1) * exp(-x/6h))
//
// The profile is the rate by hour of the week. Slow and fast are what was read in the last three days and six
// hours relative to what the profile expected (spec 3a). It is fed bin by bin, in order, and never looks
// ahead. The zero value is not usable; see [NewReadModel]. Not for concurrent use.
type ReadModel struct {
	clock   wallClock
	profile profile
	season  season
	shift   shift

	recent []observation // the last recentHours, in order
	room   []observation // in which they are
	last   int64         // end of the last observation, in nanoseconds since 1970, as all instants here; zero = none
	week   int           // that it was in

	derived
}

// derived is what a model makes of its observations from time to time.
type derived struct {
	resolution Resolution // what the seasonality gate lets pass
	gain       float64    // and its evidence
	rates      [hoursOfWeek]float64
	slow       float64
	asOf       int64 // of the four above
}

// observation is what was seen in one hour of the week.
type observation struct {
	at      int64 // of its first bin
	hour    int
	seconds float64 // observed
	reads   float64
}

// recentHours cover evidenceWindow, the longest span that is looked back at.
const recentHours = int(evidenceWindow/time.Hour) + 1

// NewReadModel is a model without any evidence for a view whose readers live by the clock of a zone; nil = UTC.
func NewReadModel(zone *time.Location) *ReadModel { return &ReadModel{clock: wallClock{zone: zone}} }

// reset makes it a new one, in the memory that it has.
func (m *ReadModel) reset(zone *time.Location) {
	*m = ReadModel{clock: wallClock{zone: zone}, season: season{weeks: m.season.weeks[:0]}, recent: m.room[:0], room: m.room}
}

// typical is the mean week as it is known at some time, in reads per second.
type typical struct {
	mean float64
	week [hoursOfWeek]float64 // see [ReadModel.Week]
}

// typical leaves the model as it was.
func (m *ReadModel) typical() (t typical) {
	kept := m.derived
	t.mean = m.MeanRate()
	t.week, _ = m.Week(0)
	m.derived = kept
	return t
}

// Observe adds the reads of one bin. A NaN says that they are not known (counters were reset, the collector
// was down): a gap is not a silence.
func (m *ReadModel) Observe(at time.Time, width time.Duration, reads float64) {
	m.observe(at.UnixNano(), width, []float64{reads})
}

// observe adds the reads of the first of the bins that follow each other, as Observe would one by one, and says of how
// many: those of an hour are added together.
func (m *ReadModel) observe(at int64, width time.Duration, bins []float64) (n int) {
	week, hour := m.clock.weekAndHour(floorDiv(at, int64(time.Second)))
	if m.last != 0 {
		for range min(week-m.week, 52) { // weeks may have been left out
			m.profile.endWeek()
		}
	}
	m.week, m.last = week, at+int64(width)
	m.learn(learnEvery)

	n = 1
	if len(bins) > 1 && m.shift.within(at) { // the first bin of an hour may raise an alarm, those after it do not
		ends := min(m.shift.hour+int64(time.Hour), m.asOf+int64(learnEvery-width))
		if to := m.clock.hourSpan.to; to <= ends/int64(time.Second) {
			ends = to * int64(time.Second)
		}
		n = min(max(n, int((ends-at+int64(width)-1)/int64(width))), len(bins))
		m.last = at + int64(n)*int64(width)
	}
	var reads, known float64
	first := n
	for i, r := range bins[:n] {
		if math.IsNaN(r) {
			continue
		}
		first = min(first, i)
		reads += r
		known++
	}
	if known == 0 {
		return n
	}
	at += int64(first) * int64(width)
	seconds := known * (float64(width) / float64(time.Second))
	m.profile.observe(hour, reads, seconds)
	m.season.observe(week, hour, reads, seconds)
	if n := len(m.recent); n > 0 && m.recent[n-1].hour == hour && at-m.recent[n-1].at < int64(time.Hour) {
		m.recent[n-1].reads += reads
		m.recent[n-1].seconds += seconds
	} else {
		m.remember(observation{at, hour, seconds, reads})
	}
	if m.shift.observe(at, reads, m.slow*m.rates[hour]*seconds) {
		m.profile.scale(shiftForget)
		m.learn(0)
	}
	return n
}

// remember adds an hour to the recent ones, and forgets the oldest of them where it is too old. There is room for as many again,
// so that they are seldom moved.
func (m *ReadModel) remember(o observation) {
	if len(m.recent) == recentHours {
		m.recent = m.recent[1:]
	}
	if len(m.recent) == cap(m.recent) {
		if m.room == nil {
			m.room = make([]observation, 2*recentHours)
		}
		m.recent = m.room[:copy(m.room, m.recent)]
	}
	m.recent = append(m.recent, o)
}

// learnEvery is how often a model derives anew what it knows.
const learnEvery = 24 * time.Hour

// learn brings what is derived from the observations up to date if it is older than a span.
func (m *ReadModel) learn(age time.Duration) {
	if m.last-m.asOf < int64(age) {
		return
	}
	m.asOf = m.last
	m.resolution, m.gain = m.season.resolution(plannerGain)
	m.rates = m.profile.rates(m.resolution)
	m.slow = m.level(m.slowSince(), 1)
}

// slowSince is the begin of the window of the slow level: three days, or since the rate changed.
func (m *ReadModel) slowSince() int64 {
	since := m.last - int64(slowWindow)
	if m.shift.since.IsZero() {
		return since
	}
	return max(since, m.shift.since.UnixNano())
}

// level is the number of reads since an instant relative to what base times the profile expects, shrunk to 1.
func (m *ReadModel) level(since int64, base float64) float64 {
	read, expected := levelPriorReads, levelPriorReads
	for i := len(m.recent) - 1; i >= 0 && m.recent[i].at >= since; i-- {
		read += m.recent[i].reads
		expected += base * m.rates[m.recent[i].hour] * m.recent[i].seconds
	}
	return read / expected
}

// Forecast is the expected number of reads in each of n bins from an instant on, which is meant to be the end
// of the last observation.
func (m *ReadModel) Forecast(from time.Time, n int, width time.Duration) []float64 {
	m.learn(time.Hour)
	deviation := m.level(m.last-int64(fastWindow), m.slow) - 1
	decay := math.Exp(-width.Seconds() / fastDecay.Seconds())
	seconds := width.Seconds()
	reads, clock := make([]float64, n), m.clock
	for i := range reads {
		_, hour := clock.weekAndHour(from.Add(time.Duration(i) * width).Unix())
		reads[i] = m.slow * m.rates[hour] * (1 + deviation) * seconds
		deviation *= decay
	}
	return reads
}

// MeanRate is the rate of the mean week at the slow level, in reads per second.
func (m *ReadModel) MeanRate() float64 {
	m.learn(time.Hour)
	var sum float64
	for _, r := range m.rates {
		sum += r
	}
	return m.slow * sum / hoursOfWeek
}

// RecentReads is the number of reads in the last seven days.
func (m *ReadModel) RecentReads() (reads float64) {
	since := m.last - int64(evidenceWindow)
	for i := len(m.recent) - 1; i >= 0 && m.recent[i].at >= since; i-- {
		reads += m.recent[i].reads
	}
	return reads
}

// Week is the rate of each hour of the mean week, in reads per second, at the resolution that the seasonality
// gate lets pass for the given gain.
func (m *ReadModel) Week(gain float64) (rates [hoursOfWeek]float64, evidence Evidence) {
	m.learn(time.Hour)
	resolution, found := m.season.resolution(gain)
	rates = m.profile.rates(resolution)
	for i := range rates {
		rates[i] *= m.slow
	}
	return rates, Evidence{
		Resolution: resolution, Gain: found, Weeks: m.season.observedWeeks(), Reads: m.season.reads(),
		EffectiveReads: m.profile.effectiveReads(), Alarm: m.shift.alarm,
	}
}

// Evidence is what a forecast rests on.
type Evidence struct {
	Resolution     Resolution
	Gain           float64 // J of a flat rate over J of the profile, out of sample; 1 where it could not be measured
	Weeks          int     // observed
	Reads          float64 // in the weeks that the gate looked at
	EffectiveReads float64 // all reads, weighted by their age
	Alarm          time.Time
}

// Reasons says the same in words.
func (e Evidence) Reasons() []string {
	reasons := []string{fmt.Sprintf("%.0f reads in %d weeks", e.Reads, e.Weeks)}
	switch e.Resolution {
	case HourOfWeekRates:
		reasons = append(reasons, fmt.Sprintf("readers keep a weekly rhythm: on weeks that it was not learnt from, one rate for all hours costs %.2f times as much", e.Gain))
	case HourOfDayRates:
		reasons = append(reasons, fmt.Sprintf("readers keep a daily rhythm: on weeks that it was not learnt from, one rate for all hours costs %.2f times as much", e.Gain))
	default:
		reasons = append(reasons, "no weekly rhythm is proven on weeks that it was not learnt from: one rate for all hours")
	}
	if !e.Alarm.IsZero() {
		reasons = append(reasons, "the rate of reads changed lastingly at "+e.Alarm.UTC().Format("2006-01-02 15:04 MST"))
	}
	return reasons
}
