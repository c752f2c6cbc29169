package refresh

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/mvscheduler/mvscheduler/catalog"
)

const ms = time.Millisecond

// past makes runs of 1,000 rows and 1 MB, the newest first.
func past(n int, method string, took time.Duration, wal int64) []catalog.Measured {
	runs := make([]catalog.Measured, n)
	for i := range runs {
		runs[i] = catalog.Measured{Method: method, Took: took, WALBytes: wal, Rows: new(int64(1000)), Changed: new(int64(400)), SizeBytes: 1 << 20}
	}
	return runs
}

// learnt is a view whose concurrent refreshes take 60 ms and 400 kB, and full ones 12 ms and 90 kB.
func learnt(edit func(*Facts)) Facts {
	f := Facts{
		Wanted: "auto", Populated: true, UniqueKey: true, LockTimeout: 500 * ms,
		Storage: catalog.Storage{SizeBytes: 1 << 20, LiveRows: 1000},
		Past:    append(past(5, Concurrent, 60*ms, 400<<10), past(1, Full, 12*ms, 90<<10)...),
	}
	edit(&f)
	return f
}

func TestAutoWeighsWhatEarlierRunsCost(t *testing.T) {
	t.Parallel()
	concurrent, full := past(5, Concurrent, 60*ms, 400<<10), past(1, Full, 12*ms, 90<<10)
	join := func(runs ...[]catalog.Measured) (all []catalog.Measured) {
		for _, r := range runs {
			all = append(all, r...)
		}
		return all
	}
	edited := func(runs []catalog.Measured, edit func(*catalog.Measured)) []catalog.Measured {
		for i := range runs {
			edit(&runs[i])
		}
		return runs
	}
	noisy := edited(past(1, Full, 12*ms, 90<<10), func(r *catalog.Measured) { r.ReadersWaiting = 3 })
	tests := []struct {
		name   string
		edit   func(*Facts)
		reason string // a part of it, method included
	}{
		{"five times as cheap", func(*Facts) {}, "full: it takes 12 ms and 90 kB of WAL where concurrent takes 60 ms and 400 kB, and no reader waited for it"},
		{"twice the time, the same WAL", func(f *Facts) { f.Past = join(past(5, Concurrent, 24*ms, 90<<10), full) }, "full: it takes 12 ms"},
		{"the same time, twice the WAL", func(f *Facts) { f.Past = join(past(5, Concurrent, 12*ms, 180<<10), full) }, "full: it takes 12 ms"},
		{"twice the time, but less WAL", func(f *Facts) { f.Past = join(past(5, Concurrent, 24*ms, 89<<10), full) }, "concurrent: it takes 24 ms"},
		{"not twice", func(f *Facts) { f.Past = join(past(5, Concurrent, 23*ms, 179<<10), full) }, "concurrent: it takes 23 ms and 179 kB of WAL where full takes 12 ms and 90 kB, which is not 2 times as cheap"},
		{"a wide view where little changes", func(f *Facts) { f.Past = join(past(5, Concurrent, 60*ms, 8<<10), full) }, "concurrent: it takes 60 ms and 8 kB of WAL where full takes 12 ms and 90 kB"},
		{"where most rows change, full need only be cheaper", func(f *Facts) {
			f.Past = join(edited(past(5, Concurrent, 14*ms, 100<<10), func(r *catalog.Measured) { r.Rows, r.Changed = new(int64(1000)), new(int64(1200)) }), full)
		}, "full: it takes 12 ms and 90 kB of WAL where concurrent takes 14 ms and 100 kB and replaces 60 % of the rows"},
		{"where fewer change, it has to be twice as cheap", func(f *Facts) {
			f.Past = join(edited(past(5, Concurrent, 14*ms, 100<<10), func(r *catalog.Measured) { r.Rows, r.Changed = new(int64(1000)), new(int64(800)) }), full)
		}, "concurrent: it takes 14 ms"},
		{"one outlier", func(f *Facts) {
			f.Past = join(past(1, Concurrent, time.Second, 4<<20), past(4, Concurrent, 14*ms, 90<<10), full)
		}, "concurrent: it takes 14 ms"},

		{"adopted", func(f *Facts) { f.Past = nil }, "concurrent: how long a full refresh takes is not known"},
		{"adopted, and soon known to be quick", func(f *Facts) { f.Past = concurrent }, "full: how long it takes is measured after 5 concurrent refreshes that took 60 ms"},
		{"adopted, and too few to tell", func(f *Facts) { f.Past = concurrent[1:] }, "concurrent: how long a full refresh takes is not known"},
		{"adopted, and slow", func(f *Facts) { f.Past = past(5, Concurrent, 126*ms, 400<<10) }, "concurrent: how long a full refresh takes is not known"},
		{"adopted, and full was given up", func(f *Facts) {
			f.Past = edited(past(6, Concurrent, 60*ms, 400<<10), func(r *catalog.Measured) { r.GaveUp = Full })
		}, "concurrent: a full refresh was given up for the readers' sake"},
		{"after the first fill", func(f *Facts) { f.Past = full }, "concurrent: what it costs is not known yet"},
		{"too few to compare", func(f *Facts) { f.Past = join(past(4, Concurrent, 60*ms, 400<<10), full) }, "concurrent: 5 of 5 runs in a row"},
		{"in force, and a little cheaper still", func(f *Facts) { f.Past = join(past(2, Full, 50*ms, 390<<10), concurrent) }, "full: it takes 50 ms"},
		{"in force, and dearer now", func(f *Facts) { f.Past = join(past(2, Full, 61*ms, 90<<10), concurrent) }, "concurrent: it takes 60 ms"},
		{"long in force", func(f *Facts) { f.Past = join(past(20, Full, 12*ms, 90<<10), concurrent) }, "concurrent: what it costs is measured again after 20 full refreshes"},
		{"measured again, nothing changed", func(f *Facts) {
			f.Past = join(past(1, Concurrent, 70*ms, 400<<10), past(20, Full, 12*ms, 90<<10), past(4, Concurrent, 60*ms, 400<<10))
		}, "full: it takes 12 ms"},
		{"measured again, and it is cheap now", func(f *Facts) {
			f.Past = join(past(1, Concurrent, 5*ms, 8<<10), past(20, Full, 12*ms, 90<<10), past(4, Concurrent, 60*ms, 400<<10))
		}, "concurrent: 2 of 5 runs in a row"},

		{"long", func(f *Facts) { f.Past = join(past(5, Concurrent, time.Minute, 1<<30), past(3, Full, 126*ms, 90<<10)) }, "concurrent: a full refresh would lock readers out for about 126 ms, more than 1/4 of lock_timeout (500 ms)"},
		{"grown twentyfold since the last full run", func(f *Facts) {
			f.Storage = catalog.Storage{SizeBytes: 30 << 20, LiveRows: 20_000}
			f.Past = join(edited(past(5, Concurrent, 600*ms, 4<<20), func(r *catalog.Measured) { r.Rows = new(int64(20_000)) }), full)
		}, "concurrent: a full refresh would lock readers out for about 240 ms"},
		{"readers waited", func(f *Facts) { f.Past = join(concurrent, noisy) }, "concurrent: readers waited for a full refresh (3 of them, 12 ms) 6 runs ago, which is remembered for 20"},
		{"readers waited long ago", func(f *Facts) { f.Past = join(past(20, Concurrent, 60*ms, 400<<10), noisy) }, "full: it takes 12 ms"},
		{"a full refresh was given up", func(f *Facts) {
			f.Past = join(edited(past(1, Concurrent, 60*ms, 400<<10), func(r *catalog.Measured) { r.GaveUp = Full }), concurrent, full)
		}, "concurrent: a full refresh was given up for the readers' sake 1 run ago"},
		{"just given up", func(f *Facts) { f.GaveUp = Full }, "concurrent: a full refresh was given up, since readers would have waited for longer than lock_timeout (500 ms)"},
		{"a standby", func(f *Facts) { f.Standby = true }, "concurrent: a standby is attached"},

		{"dead rows", func(f *Facts) {
			f.Storage.DeadRows = 1001
			f.Past = join(past(5, Concurrent, 5*ms, 8<<10), full)
		}, "full: it has 1001 dead rows beside 1000 live ones, and it takes 12 ms"},
		{"as many dead rows as live ones", func(f *Facts) {
			f.Storage.DeadRows = 1000
			f.Past = join(past(5, Concurrent, 5*ms, 8<<10), full)
		}, "concurrent: it takes 5.0 ms"},
		{"space that nobody uses", func(f *Facts) {
			f.Storage.SizeBytes = 3 << 20
			f.Past = join(past(5, Concurrent, 5*ms, 8<<10), full)
		}, "full: it has 3.0 MB where a full refresh leaves 1.0 MB, and it takes 12 ms"},
		{"bloated, but a full refresh is long", func(f *Facts) {
			f.Storage.DeadRows = 5000
			f.Past = join(past(5, Concurrent, 5*ms, 8<<10), past(1, Full, time.Second, 90<<10))
		}, "concurrent: a full refresh would lock readers out"},
		{"after a full refresh against bloat", func(f *Facts) {
			f.Past = join(full, past(5, Concurrent, 5*ms, 8<<10))
		}, "concurrent: it takes 5.0 ms"},

		{"too large for a concurrent refresh", func(f *Facts) {
			f.MaxSizeBytes, f.GaveUp = 2<<20, Concurrent
		}, "full: a concurrent refresh needs more than max_size_bytes (2.0 MB), and this one takes 12 ms"},
		{"too large, and a full refresh is long", func(f *Facts) {
			f.MaxSizeBytes, f.GaveUp, f.Past = 2<<20, Concurrent, past(1, Full, time.Second, 0)
		}, "concurrent: a full refresh would lock readers out"},
		{"too large a while ago", func(f *Facts) {
			f.MaxSizeBytes = 2 << 20
			f.Past = join(past(3, Full, 12*ms, 90<<10), edited(past(1, Full, 12*ms, 90<<10), func(r *catalog.Measured) { r.GaveUp = Concurrent }), past(5, Concurrent, ms, 0))
		}, "full: a concurrent refresh needed more than max_size_bytes (2.0 MB) 4 runs ago, and this one takes 12 ms"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			method, reason, err := ChooseMethod(learnt(tt.edit))
			require.NoError(t, err)
			require.Contains(t, reason, tt.reason)
			require.True(t, strings.HasPrefix(reason, method+": "), "%s: %s", method, reason)
		})
	}
}

func TestTheEvidenceOfAView(t *testing.T) {
	t.Parallel()
	require.Zero(t, Weigh(nil))
	runs := append(past(3, Concurrent, 60*ms, 400<<10), past(2, Full, 12*ms, 90<<10)...)
	runs[0].Changed, runs[4].ReadersWaiting = new(int64(500)), 2
	e := Weigh(runs)
	require.Equal(t, Cost{Runs: 2, Took: 12 * ms, WALBytes: 90 << 10}, e.Full)
	require.Equal(t, Cost{Runs: 3, Took: 60 * ms, WALBytes: 400 << 10}, e.Concurrent)
	require.InDelta(t, 0.25, *e.ChangeRatio, 1e-9)
	require.Equal(t, 1, e.ReadersWaited)
	runs[0].Rows = nil
	require.Nil(t, Weigh(runs).ChangeRatio)
}

// brought is what the catalog brings of a history, the newest first.
func brought(history []catalog.Measured) (runs []catalog.Measured) {
	seen := map[string]int{}
	for _, run := range history {
		if seen[run.Method]++; seen[run.Method] <= catalog.RememberedRuns {
			runs = append(runs, run)
		}
	}
	return runs
}

func TestAutoNeverLetsReadersWaitAndNeverFlips(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		took := rapid.Custom(func(t *rapid.T) time.Duration { return time.Duration(rapid.IntRange(1, 400).Draw(t, "ms")) * ms })
		var (
			history    []catalog.Measured
			concurrent int // in a row
			adopted    = rapid.Bool().Draw(t, "adopted")
			f          = Facts{Wanted: "auto", LockTimeout: time.Duration(rapid.IntRange(10, 2000).Draw(t, "lock timeout")) * ms, UniqueKey: true}
			readers    = rapid.IntRange(0, 20).Draw(t, "one in so many runs has readers")
			calm       = took.Draw(t, "took")
		)
		for n := range 120 {
			f.Past, f.Populated = brought(history), n > 0 || adopted
			f.Storage = catalog.Storage{
				SizeBytes: rapid.Int64Range(1, 1<<24).Draw(t, "bytes"), LiveRows: rapid.Int64Range(0, 1000).Draw(t, "live"), DeadRows: rapid.Int64Range(0, 1500).Draw(t, "dead"),
			}
			method, reason, err := ChooseMethod(f)
			if err != nil || !strings.HasPrefix(reason, method+": ") {
				t.Fatalf("%s %q %v", method, reason, err)
			}
			if f.Populated && method == Full {
				e := Weigh(f.Past)
				if e.Full.Runs == 0 && (e.Concurrent.Runs < settle || e.Concurrent.Took > f.LockTimeout/boundShare) || e.Full.Took > f.LockTimeout/boundShare {
					t.Fatalf("readers would wait for %s beside %s: %s", e.Full.Took, f.LockTimeout, reason)
				}
				recent := f.Past[:min(len(f.Past), remembered)]
				for _, run := range recent {
					if run.Method == Full && run.ReadersWaiting > 0 {
						t.Fatalf("readers waited: %s", reason)
					}
				}
				explored := len(recent) == remembered && Weigh(recent[1:]).streak == remembered-1 && recent[1].Method == Full
				if history[0].Method == Concurrent && concurrent < settle && !explored {
					t.Fatalf("it flips after %d runs: %s", concurrent, reason)
				}
			}
			if concurrent++; method == Full {
				concurrent = 0
			}
			run := catalog.Measured{
				Method: method, Took: calm, WALBytes: rapid.Int64Range(0, 1<<20).Draw(t, "wal"), Rows: new(rapid.Int64Range(0, 1000).Draw(t, "rows")),
				SizeBytes: rapid.Int64Range(0, 1<<22).Draw(t, "size"),
			}
			if rapid.Bool().Draw(t, "restless") {
				run.Took = took.Draw(t, "took")
			}
			if method == Full && readers > 0 && n%readers == 0 {
				run.ReadersWaiting = 1
			}
			history = append([]catalog.Measured{run}, history...)
		}
	})
}

func TestOnlyWhatWasChosenIsGivenUp(t *testing.T) {
	t.Parallel()
	full, concurrent := Result{Method: Full, chosen: true}, Result{Method: Concurrent, chosen: true}
	tooLarge := &SizeError{Size: 2, Limit: 1}
	require.True(t, givesUp(full, raised("55P03"), 500*ms, 500*ms))
	require.True(t, givesUp(full, raised("57014"), 500*ms, 501*ms))
	require.False(t, givesUp(full, raised("57014"), 500*ms, 100*ms), "somebody cancelled it")
	require.False(t, givesUp(full, tooLarge, 500*ms, 100*ms))
	require.True(t, givesUp(concurrent, tooLarge, 500*ms, time.Minute))
	require.False(t, givesUp(concurrent, raised("55P03"), 500*ms, 500*ms))
	require.False(t, givesUp(concurrent, nil, 500*ms, 0))
	require.False(t, givesUp(Result{Method: Full}, raised("55P03"), 500*ms, 500*ms), "asked for")
}
