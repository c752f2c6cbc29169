package optimizer

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// minute is what the collector sees of one, of a server with a view of a hundred rows that reads one table.
type minute struct {
	Sample
	reads     float64 // that there were
	calls     float64 // of statements that name the view; NaN = not known
	elsewhere float64 // reads on a standby; NaN = it cannot be read
}

// inBerlin is the begin of six weeks in the fourth of which the clocks change.
func inBerlin() time.Time { return begin("Europe/Berlin", time.March, 2) }

// begin is the start of a day of 2026.
func begin(zone string, month time.Month, day int) time.Time {
	location, err := time.LoadLocation(zone)
	if err != nil {
		panic(err)
	}
	return time.Date(2026, month, day, 0, 0, 0, 0, location)
}

// watched is what is recorded of six weeks, sampled every minute while a fault does what it does to each minute. The table has a
// batch of changes every hour.
func watched(start time.Time, rhythm func(hour int) float64, fault func(i int, m *minute)) (h History, truth float64) {
	h.Grid = Grid{Start: start, Width: 5 * time.Minute, Zone: start.Location()}
	random := rand.New(rand.NewPCG(7, 1))
	var (
		meter Meter
		ratio Ratio
		bin   Bin
		m     = minute{Sample: Sample{Epoch: "a", Workers: 2, Relations: []RelationCounters{{View: 1, Relation: 10, Rows: 100}}, Sources: []SourceCounters{{Relation: 20, File: 1}}}}
	)
	for i := range 42*24*60 + 1 {
		m.At = h.Grid.Start.Add(time.Duration(i) * time.Minute)
		m.Own, m.elsewhere = nil, 0
		m.reads = poisson(random, 400./(24*60)*rhythm(HourOfWeek(m.At.Add(-time.Minute), start.Location())))
		m.calls = m.reads
		m.Transactions += int64(m.reads) + 10
		m.Relations[0].Seq += int64(m.reads)
		m.Relations[0].Tuples += 100 * int64(m.reads)
		if i%60 == 30 {
			m.Sources[0].Writes += 100
			m.Sources[0].Modified += 100
		}
		fault(i, &m)
		seen := m.Sample
		seen.Relations, seen.Sources = append([]RelationCounters(nil), m.Relations...), append([]SourceCounters(nil), m.Sources...)
		metered, first := meter.Take(seen, map[int64][]uint32{1: {20}})[1], i == 0
		if first {
			continue
		}
		truth += m.reads
		calls := m.calls
		if metered.Elsewhere = m.elsewhere; math.IsNaN(m.elsewhere) {
			metered.Reads, metered.Elsewhere = math.NaN(), 0
		}
		if math.IsNaN(metered.Reads) {
			calls = math.NaN()
		}
		bin.Add(metered, calls, time.Minute)
		if i%5 == 0 {
			reads, changes := bin.Counts(h.Grid.Width, bin.Reads(&ratio))
			h.Reads, h.Changes = append(h.Reads, reads), append(h.Changes, changes)
			bin = Bin{}
		}
	}
	return h, truth
}

// withoutCalls is a server whose statements are not known.
func withoutCalls(_ int, m *minute) { m.calls = math.NaN() }

// halfElsewhere has the reads of every other minute on a standby, and sees them there.
func halfElsewhere(i int, m *minute) {
	m.calls = math.NaN()
	if i%2 == 0 {
		m.Relations[0].Seq -= int64(m.reads)
		m.Relations[0].Tuples -= 100 * int64(m.reads)
		m.elsewhere = m.reads
	}
}

func TestFaultsLeadToNoWrongAction(t *testing.T) {
	t.Parallel()
	working := func(hour int) float64 {
		if h := hour % 24; hour < 5*24 && h >= 8 && h < 18 {
			return 7 * 24. / 50
		}
		return 0
	}
	none := func(int, *minute) {}
	for _, c := range []struct {
		fault  string
		start  time.Time
		does   func(i int, m *minute)
		reads  float64 // of those that there were
		known  float64 // share of the time, at least
		hourly float64 // changes
	}{
		{"none, but the clocks change", inBerlin(), none, 1, 1, 100},
		{"none, but the clocks go back", begin("Europe/Berlin", time.October, 5), none, 1, 1, 100},
		{"none, but the clocks go back by half an hour", begin("Australia/Lord_Howe", time.March, 16), none, 1, 1, 100},
		{"none, but the clocks go forward by half an hour", begin("Australia/Lord_Howe", time.September, 14), none, 1, 1, 100},
		{"pg_stat_statements_reset every five minutes", inBerlin(), func(i int, m *minute) {
			if i%5 == 3 {
				m.calls = math.NaN()
			}
		}, 1, 1, 100},
		{"statements are evicted all the time, or hidden", inBerlin(), withoutCalls, 1, 1, 100},
		{"a loop scans thirty times for each read", inBerlin(), func(i int, m *minute) {
			m.Relations[0].Seq += 29 * int64(m.reads)
			if i%5 == 3 {
				m.calls = math.NaN()
			}
		}, 1, 1, 100},
		{"the server crashes every night", inBerlin(), func(i int, m *minute) {
			if i%1440 == 180 {
				m.Epoch += "x"
				m.Transactions, m.Relations[0].Seq, m.Relations[0].Tuples = 0, 0, 0
				m.Sources[0].Writes, m.Sources[0].Modified = 0, 0
			}
		}, 1, 0.99, 100},
		{"the counters of the view alone are reset every hour", inBerlin(), func(i int, m *minute) {
			if withoutCalls(i, m); i%60 == 10 {
				m.Relations[0].Seq, m.Relations[0].Tuples = 0, 0
			}
		}, 1, 0.9, 100},
		{"TRUNCATE once an hour", inBerlin(), func(i int, m *minute) {
			if i%60 == 45 {
				m.Sources[0].File++
			}
		}, 1, 1, 101},
		{"batches that roll back", inBerlin(), func(i int, m *minute) {
			if i%60 == 45 {
				m.Sources[0].Writes += 777
			}
		}, 1, 1, 100},
		{"half of the reads are on a standby", inBerlin(), halfElsewhere, 1, 1, 100},
		{"and it is not named", inBerlin(), func(i int, m *minute) { halfElsewhere(i, m); m.elsewhere = 0 }, 0.5, 1, 100},
		{"and it is away for an hour every day", inBerlin(), func(i int, m *minute) {
			if halfElsewhere(i, m); i%1440 >= 600 && i%1440 < 660 {
				m.elsewhere = math.NaN()
			}
		}, 0.93, 0.95, 100}, // an hour of 24, or of ten
		{"our own refreshes scan twice, and report it a minute later", inBerlin(), func(i int, m *minute) {
			withoutCalls(i, m)
			if i%15 == 1 {
				m.Own = []OwnScans{{Relation: 10, Seq: 2, Tuples: 200}}
			}
			if i%15 == 2 {
				m.Relations[0].Seq += 2
				m.Relations[0].Tuples += 200
			}
		}, 1, 1, 100},
	} {
		t.Run(c.fault, func(t *testing.T) {
			t.Parallel()
			for name, rhythm := range map[string]func(int) float64{"flat": flat, "office": working} {
				h, truth := watched(c.start, rhythm, c.does)
				sum, changes, known := 0.0, 0.0, 0.0
				for i, n := range h.Reads {
					if !math.IsNaN(n) {
						sum, known = sum+n, known+1
					}
					if !math.IsNaN(h.Changes[i]) {
						changes += h.Changes[i]
					}
				}
				require.InDelta(t, c.reads*truth, sum, 0.05*truth, "%s: reads", name)
				require.GreaterOrEqual(t, known, c.known*float64(len(h.Reads)), name)
				require.InDelta(t, c.hourly*42*24, changes, 0.005*c.hourly*42*24, "%s: changes", name)

				v := reviewed(h.Reads, 15*time.Minute)
				v.History, v.Now, v.Usage.Now, v.Usage.CreatedAt, v.Usage.LastRead = h, h.Grid.At(len(h.Reads)), h.Grid.At(len(h.Reads)), h.Grid.Start, h.Grid.At(len(h.Reads))
				v.History.Changes = nil // they come once an hour: it would be right to say so
				v.Kappa = KappaFor(15*time.Minute, 30, truth/(42*24*3600))
				found, why := Review(v)
				if name == "flat" {
					require.Empty(t, found, "%v", why)
					continue
				}
				require.Equal(t, []string{"calendar"}, kindsOf(found), "%v", why)
				require.Regexp(t, `^\S+ 8-17 \* \* 1-5$`, found[0].Change["cron"], "by the clock on the wall, before and after")
				require.Equal(t, known < float64(len(h.Reads)), found[0].Evidence["unknown_share"].(float64) > 0, "what is missing is said")
			}
		})
	}
}
