package optimizer

import (
	"fmt"
	"math"
	"time"
)

// Rebuilt is a materialized view with a time_column that each refresh computes as a whole.
type Rebuilt struct {
	Name, Method  string        // in force: full or concurrent
	TimeColumn    string        // of the row
	Bucket        time.Duration // bucket_width of the row; zero = it has none
	Full          float64       // what a refresh costs, refresh-seconds
	Runs          int           // that this is known of
	Refreshes     float64       // a day
	ChangedShare  float64       // of its rows between two refreshes, as concurrent ones counted; negative = not known
	ChangedBelow  float64       // rows written below it between two refreshes; negative = not known
	Kept          time.Duration // how much time it covers; zero = not known
	Level, Source string
}

// Buckets is the share of the time buckets that change between two refreshes, as far as it is known, and by what. A row
// that was written below changes one bucket at most.
func (r Rebuilt) buckets() (share float64, why string, ok bool) {
	switch {
	case r.ChangedShare >= 0:
		return r.ChangedShare, fmt.Sprintf("%.2g %% of its rows change between two refreshes", 100*r.ChangedShare), true
	case r.ChangedBelow >= 0 && r.Bucket > 0 && r.Kept > r.Bucket:
		all := r.Kept.Seconds() / r.Bucket.Seconds()
		return min(1, r.ChangedBelow/all), fmt.Sprintf("%.0f rows are written below it between two refreshes, so at most as many of its %.0f buckets change", math.Ceil(r.ChangedBelow), all), true
	}
	return 0, "", false
}

// Incremental advises to compute the buckets that changed and no others, where they are few (spec 3g). What that costs is
// estimated: the changed share of a refresh twice, since rows are computed and compared, and what every step costs.
func (r Rebuilt) Incremental() (Recommendation, bool) {
	share, why, ok := r.buckets()
	expected := stepSeconds + 2*share*r.Full
	if !ok || r.Runs < minRunsOfMethod || share >= incrementalBuckets || r.Full < slowRefresh || expected >= incrementalCost*r.Full {
		return Recommendation{}, false
	}
	width := "<width of a bucket>"
	if r.Bucket > 0 {
		width = words(r.Bucket)
	}
	day := map[string]any{"before": round(r.Full*r.Refreshes, 1), "after": round(expected*r.Refreshes, 1)}
	return Recommendation{
		Kind: "method", Current: "every refresh computes all of it", Proposed: "compute only the time buckets that changed",
		Reason: fmt.Sprintf("%s: method = 'incremental'. A refresh costs %s, and %s: computing those alone would cost about %s. Its query has to give one row per bucket of %s and key, and to ask mvscheduler.in_window about the time in the table (docs/incremental.md). Evidence: %s.",
			r.Name, shortly(r.Full), why, shortly(expected), r.TimeColumn, r.Source),
		Command: "UPDATE mvscheduler.views SET method = 'incremental', bucket_width = '" + width + "', query = '<the query, with WHERE mvscheduler.in_window(...)>' WHERE name = %s; where that is refused, the hint of the error has the statements that make the view anew",
		Evidence: map[string]any{"level": r.Level, "sources": r.Source, "refresh_seconds": round(r.Full, 3), "runs": r.Runs, "changed_share": round(share, 6),
			"changed": why},
		Predicted: map[string]any{"refresh_seconds": map[string]any{"before": round(r.Full, 3), "after": round(expected, 3)}, "refresh_seconds_a_day": day},
	}, true
}
