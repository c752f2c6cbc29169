package optimizer

import (
	"fmt"
	"math"
	"time"
)

// Rebuilt is a materialized view with a time_column that each refresh computes as a whole.
type Rebuilt struct {
	Name          string
	TimeColumn    string  // of the row
	Full          float64 // what a refresh costs, refresh-seconds
	Runs          int     // that this is known of
	Refreshes     float64 // a day
	ChangedShare  float64 // of its rows between two refreshes: it stands for that of the time buckets
	Counted       bool    // by concurrent refreshes; else it is no more than so: a row that is written below it changes one of its rows at most
	Level, Source string
}

// Incremental advises to compute the buckets that changed and no others, where they are few (spec 3g). What that costs is
// estimated: the changed share of a refresh twice, since rows are computed and compared, and what every step costs.
func (r Rebuilt) Incremental() (Recommendation, bool) {
	share, expected := r.ChangedShare, r.expected()
	if r.Reasons() != nil {
		return Recommendation{}, false
	}
	changed := fmt.Sprintf("%.2g %% of its rows change between two refreshes", 100*share)
	if !r.Counted {
		changed = fmt.Sprintf("between two refreshes no more rows are written below it than %.2g %% of its own", 100*share)
	}
	day := map[string]any{"before": round(r.Full*r.Refreshes, 1), "after": round(expected*r.Refreshes, 1)}
	return Recommendation{
		Kind: "method", Current: "every refresh computes all of it", Proposed: "compute only the time buckets that changed",
		Reason: fmt.Sprintf("%s: method = 'incremental'. A refresh costs %.1f s, and %s: computing those alone would cost about %.1f s. Its query has to give one row per bucket of %s and key, and to ask mvscheduler.in_window about the time in the table (docs/incremental.md). Evidence: %s.",
			r.Name, r.Full, changed, expected, r.TimeColumn, r.Source),
		Command:   "UPDATE mvscheduler.views SET method = 'incremental', bucket_width = '<width of a bucket>', query = '<the query, with WHERE mvscheduler.in_window(...)>' WHERE name = %s; where that is refused, the hint of the error has the statements that make the view anew",
		Evidence:  map[string]any{"level": r.Level, "sources": r.Source, "refresh_seconds": round(r.Full, 3), "runs": r.Runs, "changed_share": round(share, 6)},
		Predicted: map[string]any{"refresh_seconds": map[string]any{"before": round(r.Full, 3), "after": round(expected, 3)}, "refresh_seconds_a_day": day},
	}, true
}

func (r Rebuilt) expected() float64 { return stepSeconds + 2*r.ChangedShare*r.Full }

// Reasons says why computing the changed buckets alone is not advised; nil = it is.
func (r Rebuilt) Reasons() []string {
	switch {
	case r.Runs < minRunsOfMethod:
		return []string{fmt.Sprintf("method: %d refreshes, %d are needed to know what one costs", r.Runs, minRunsOfMethod)}
	case r.Full < slowRefresh:
		return []string{fmt.Sprintf("method: a refresh takes %.1f s, which is quick", r.Full)}
	case r.ChangedShare >= incrementalBuckets, r.expected() >= incrementalCost*r.Full:
		return []string{fmt.Sprintf("method: %.2g %% of its rows change between two refreshes, or may do", 100*r.ChangedShare)}
	}
	return nil
}

// Written is how many rows are written below the view in the mean of so long a time, by the last two weeks. The second
// result is false where that is not known of half of them, or of less than a week.
func (h History) Written(between time.Duration) (rows float64, known bool) {
	recent := h.Changes[max(0, len(h.Changes)-h.Grid.Bins(modeWindow)):]
	n := 0
	for _, c := range recent {
		if !math.IsNaN(c) {
			rows += c
			n++
		}
	}
	if n == 0 || 2*n < len(recent) || len(recent) < h.Grid.Bins(evidenceWindow) {
		return 0, false
	}
	return rows / float64(n) * between.Seconds() / h.Grid.seconds(), true
}
