package refresh

import (
	"fmt"
	"slices"
	"time"

	"github.com/mvscheduler/mvscheduler/catalog"
)

// Methods of a refresh.
const (
	Full       = "full"       // REFRESH MATERIALIZED VIEW: locks readers out while it runs
	Concurrent = "concurrent" // REFRESH MATERIALIZED VIEW CONCURRENTLY: readers go on
)

// What auto goes by. Readers come first: a full refresh has to be short, cheap and unnoticed, a
// concurrent one only has to be possible. See design.md section 5 and what research/reliability.md B.3
// measured: a plain REFRESH of a tiny view takes 0.3 times as long as a concurrent one, and cancels
// readers on a standby.
const (
	// A full refresh is chosen only while its expected time is at most this part of lock_timeout. Waiting
	// and running together it is cut off at lock_timeout itself, so readers never wait longer than that.
	boundShare = 4

	// What a method costs is the median of its last runs, so that two outliers change nothing.
	costRuns = 5

	// So many concurrent runs in a row come before a full one, so that their cost is known anew and the
	// method does not flip.
	settle = costRuns

	// Full is chosen when it is so many times cheaper; once it is in force it only must not be dearer.
	cheaper = 2

	// From this part of the rows on a concurrent refresh replaces the view rather than brings it up to date.
	mostRows = 0.5

	// A full run that somebody suffered from is remembered for so many runs. After so many full runs in a
	// row the cost of a concurrent one is taken for unknown and measured again.
	remembered = catalog.RememberedRuns

	// A view is bloated when dead rows are more than the live ones, or it is this many times as large as a
	// full refresh would leave it; below these numbers that is not worth a lock. Fifty is
	// autovacuum_vacuum_threshold's default.
	bloatFactor = 2
	bloatRows   = 50
	bloatBytes  = 1 << 20
)

// Facts are what the choice of a method depends on.
type Facts struct {
	Wanted    string // auto, full or concurrent
	Populated bool   // the view has contents
	UniqueKey bool   // it has a unique index that CONCURRENTLY can use

	// Only auto looks at the others.
	LockTimeout  time.Duration
	MaxSizeBytes int64              // zero = no limit
	Standby      bool               // physical replication is attached
	GaveUp       string             // method that this attempt has tried in vain; empty = none
	Storage      catalog.Storage    // of the view, now
	Past         []catalog.Measured // the last refreshes, the newest first
}

// choice says whether both methods are possible and neither was asked for.
func (f Facts) choice() bool { return f.Wanted == "auto" && f.Populated && f.UniqueKey }

// ChooseMethod picks the method and says why. The reason is empty where there was nothing to choose. The
// error is a [PreconditionError] when the wanted method is impossible.
func ChooseMethod(f Facts) (method, reason string, err error) {
	switch {
	case f.Wanted == Full:
		return Full, "", nil
	case !f.Populated:
		return Full, "full: the first refresh fills the view", nil
	case f.UniqueKey && f.Wanted == Concurrent:
		return Concurrent, "", nil
	case f.UniqueKey:
		method, reason = weigh(f)
		return method, method + ": " + reason, nil
	case f.Wanted == Concurrent:
		return "", "", &PreconditionError{
			Reason: "method concurrent needs a unique index that is valid and has neither a predicate nor an expression, and the view has none",
			Advice: "Set unique_key to the columns that identify a row, or use method auto.",
		}
	}
	return Full, "full: there is no unique index for a concurrent refresh; readers wait while it runs", nil
}

// weigh chooses between two methods that are possible.
func weigh(f Facts) (method, why string) {
	e := Weigh(f.Past)
	full, concurrent := e.Full, e.Concurrent
	full.Took = time.Duration(float64(full.Took) * growth(f))
	bound := f.LockTimeout / boundShare
	harm, harmed := hurt(f.Past)
	sag, bloated := bloat(f)
	tooLarge := -1 // runs since a concurrent one would have been
	if e.last == Full {
		tooLarge = slices.IndexFunc(f.Past[:min(e.streak, remembered-1)], func(run catalog.Measured) bool { return run.GaveUp == Concurrent })
	}
	switch {
	case f.GaveUp == Full:
		return Concurrent, fmt.Sprintf("a full refresh was given up, since readers would have waited for longer than lock_timeout (%s)", span(f.LockTimeout))
	case f.Standby:
		return Concurrent, "a standby is attached, where a full refresh cancels readers"
	case full.Runs == 0 && harmed:
		return Concurrent, harm
	case full.Runs == 0 && e.streak >= settle && concurrent.Took <= bound: // of a view that came with contents: it does no more than these, but for indexes
		return Full, fmt.Sprintf("how long it takes is measured after %d concurrent refreshes that took %s, and readers wait for no longer than lock_timeout (%s)", e.streak, span(concurrent.Took), span(f.LockTimeout))
	case full.Runs == 0:
		return Concurrent, "how long a full refresh takes is not known"
	case full.Took > bound:
		return Concurrent, fmt.Sprintf("a full refresh would lock readers out for about %s, more than 1/%d of lock_timeout (%s)", span(full.Took), boundShare, span(f.LockTimeout))
	case f.GaveUp == Concurrent:
		return Full, fmt.Sprintf("a concurrent refresh needs more than max_size_bytes (%s), and this one takes %s", size(f.MaxSizeBytes), span(full.Took))
	case f.MaxSizeBytes > 0 && tooLarge >= 0:
		return Full, fmt.Sprintf("a concurrent refresh needed more than max_size_bytes (%s) %s ago, and this one takes %s", size(f.MaxSizeBytes), runs(tooLarge+1), span(full.Took))
	case harmed:
		return Concurrent, harm
	case concurrent.Runs == 0:
		return Concurrent, "what it costs is not known yet"
	case e.last == Full && e.streak >= remembered:
		return Concurrent, fmt.Sprintf("what it costs is measured again after %d full refreshes", e.streak)
	case e.last == Concurrent && e.streak < settle && !confirmed(f.Past, full, e.replacesMost()):
		return Concurrent, fmt.Sprintf("%d of %d runs in a row by which its cost is known", e.streak+1, settle)
	case isCheaper(full, concurrent, e.last == Full && e.streak > 1 || e.replacesMost()):
		return Full, fmt.Sprintf("it takes %s and %s of WAL where concurrent takes %s and %s%s, and no reader waited for it",
			span(full.Took), size(full.WALBytes), span(concurrent.Took), size(concurrent.WALBytes), e.replaced())
	case bloated:
		return Full, fmt.Sprintf("%s, and it takes %s", sag, span(full.Took))
	}
	return Concurrent, fmt.Sprintf("it takes %s and %s of WAL where full takes %s and %s, which is not %d times as cheap",
		span(concurrent.Took), size(concurrent.WALBytes), span(full.Took), size(full.WALBytes), cheaper)
}

// replacesMost says whether a concurrent refresh replaces so many rows that it does the work of a full one and leaves
// as many dead rows behind: then full need only be cheaper, and not so many times.
func (e Evidence) replacesMost() bool { return e.ChangeRatio != nil && *e.ChangeRatio >= mostRows }

func (e Evidence) replaced() string {
	if !e.replacesMost() {
		return ""
	}
	return fmt.Sprintf(" and replaces %.0f %% of the rows", 100**e.ChangeRatio)
}

// confirmed says whether one concurrent run after many full ones has shown that those are still cheaper.
func confirmed(past []catalog.Measured, full Cost, replacesMost bool) bool {
	newest := Cost{Runs: 1, Took: past[0].Took, WALBytes: past[0].WALBytes}
	return len(past) >= remembered && isCheaper(full, newest, replacesMost) &&
		!slices.ContainsFunc(past[1:remembered], func(run catalog.Measured) bool { return run.Method != Full })
}

// isCheaper compares time and WAL: one has to be so many times less, and the other no more; lenient, both no more.
func isCheaper(full, concurrent Cost, lenient bool) bool {
	if full.Took > concurrent.Took || full.WALBytes > concurrent.WALBytes {
		return false
	}
	return lenient || cheaper*full.Took <= concurrent.Took || cheaper*full.WALBytes <= concurrent.WALBytes
}

// hurt looks for a full refresh, among the last runs, that readers suffered from.
func hurt(past []catalog.Measured) (why string, found bool) {
	for n, run := range past[:min(len(past), remembered)] {
		switch {
		case run.Method == Full && run.ReadersWaiting > 0:
			return fmt.Sprintf("readers waited for a full refresh (%d of them, %s) %s ago, which is remembered for %d", run.ReadersWaiting, span(run.Took), runs(n+1), remembered), true
		case run.GaveUp == Full:
			return fmt.Sprintf("a full refresh was given up for the readers' sake %s ago, which is remembered for %d", runs(n+1), remembered), true
		}
	}
	return "", false
}

// growth is how many times as large as at the last full refresh the view is now, at least 1. Rows do not
// know of bloat, and bytes do not make a view of few rows grow a thousandfold: the less of the two counts.
func growth(f Facts) float64 {
	last := lastFull(f.Past)
	if last == nil {
		return 1
	}
	times := float64(f.Storage.SizeBytes) / float64(max(last.SizeBytes, 1))
	if rows, known := rowGrowth(f.Past, last); known {
		times = min(times, rows)
	}
	return max(1, times)
}

func rowGrowth(past []catalog.Measured, last *catalog.Measured) (float64, bool) {
	now := past[0].Rows
	if now == nil || last.Rows == nil || *last.Rows == 0 {
		return 0, false
	}
	return float64(*now) / float64(*last.Rows), true
}

func lastFull(past []catalog.Measured) *catalog.Measured {
	n := slices.IndexFunc(past, func(run catalog.Measured) bool { return run.Method == Full })
	if n < 0 {
		return nil
	}
	return &past[n]
}

// bloat says what the view is bloated by.
func bloat(f Facts) (what string, found bool) {
	if f.Storage.DeadRows > max(f.Storage.LiveRows, bloatRows) {
		return fmt.Sprintf("it has %d dead rows beside %d live ones", f.Storage.DeadRows, f.Storage.LiveRows), true
	}
	last := lastFull(f.Past)
	if last == nil || f.Storage.SizeBytes < bloatBytes {
		return "", false
	}
	rows, known := rowGrowth(f.Past, last)
	fresh := float64(last.SizeBytes) * max(1, rows)
	if !known || float64(f.Storage.SizeBytes) <= bloatFactor*fresh {
		return "", false
	}
	return fmt.Sprintf("it has %s where a full refresh leaves %s", size(f.Storage.SizeBytes), size(int64(fresh))), true
}

// Cost is the median of the last runs of a method.
type Cost struct {
	Runs     int // that it is the median of; zero = unknown
	Took     time.Duration
	WALBytes int64
}

// Evidence is what the last runs of a view say.
type Evidence struct {
	Full, Concurrent Cost
	ChangeRatio      *float64 // of the last concurrent run: 0 nothing, 1 every row was replaced; nil = unknown
	ReadersWaited    int      // full runs, of the last 20, for which readers were seen waiting

	last   string // method of the newest run; empty = there is none
	streak int    // runs of that method in a row
}

// Weigh draws the evidence from the last runs, the newest first.
func Weigh(past []catalog.Measured) Evidence {
	var (
		e    Evidence
		took = map[string][]time.Duration{}
		wal  = map[string][]int64{}
	)
	for n, run := range past {
		if n == 0 {
			e.last = run.Method
		}
		if e.streak == n && run.Method == e.last {
			e.streak++
		}
		if len(took[run.Method]) < costRuns {
			took[run.Method] = append(took[run.Method], run.Took)
			wal[run.Method] = append(wal[run.Method], run.WALBytes)
		}
		if run.Method == Concurrent && len(took[Concurrent]) == 1 && run.Changed != nil && run.Rows != nil {
			// A row that is replaced counts twice, as deleted and as inserted.
			e.ChangeRatio = new(min(1, float64(*run.Changed)/float64(max(2**run.Rows, 1))))
		}
		if run.Method == Full && run.ReadersWaiting > 0 {
			e.ReadersWaited++
		}
	}
	e.Full = Cost{Runs: len(took[Full]), Took: median(took[Full]), WALBytes: median(wal[Full])}
	e.Concurrent = Cost{Runs: len(took[Concurrent]), Took: median(took[Concurrent]), WALBytes: median(wal[Concurrent])}
	return e
}

func median[T time.Duration | int64](of []T) T {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}

func runs(n int) string {
	if n == 1 {
		return "1 run"
	}
	return fmt.Sprintf("%d runs", n)
}

func span(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", d.Seconds()*1000)
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func size(bytes int64) string {
	switch {
	case bytes < 1<<20:
		return fmt.Sprintf("%d kB", (bytes+1023)>>10)
	case bytes < 1<<30:
		return fmt.Sprintf("%.1f MB", float64(bytes)/(1<<20))
	}
	return fmt.Sprintf("%.1f GB", float64(bytes)/(1<<30))
}

// PreconditionError says that the view is not in a state in which it can be refreshed as wanted.
type PreconditionError struct {
	Reason string
	Advice string // what to do about it
}

func (e *PreconditionError) Error() string { return e.Reason }

// ChangedMuch says whether the planner's statistics of a view with so many rows are out of date, when
// they were gathered at the given number of rows (nil = never) and one refresh changed so many: more than
// a tenth and more than 50, as autovacuum_analyze_scale_factor and _threshold have it by default.
func ChangedMuch(analyzed *int64, rows, changed int64) bool {
	if analyzed == nil {
		return true
	}
	delta := max(rows-*analyzed, *analyzed-rows, changed)
	return delta > 50+rows/10
}
