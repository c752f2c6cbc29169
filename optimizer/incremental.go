package optimizer

import "fmt"

// Rebuilt is a materialized view with a time_column that each refresh computes as a whole.
type Rebuilt struct {
	Name          string
	TimeColumn    string  // of the row
	Full          float64 // what a refresh costs, refresh-seconds
	Runs          int     // that this is known of
	Refreshes     float64 // a day
	ChangedShare  float64 // of its rows between two refreshes, as concurrent ones counted: it stands for that of the time buckets
	Level, Source string
}

// Incremental advises to compute the buckets that changed and no others, where they are few (spec 3g). What that costs is
// estimated: the changed share of a refresh twice, since rows are computed and compared, and what every step costs.
func (r Rebuilt) Incremental() (Recommendation, bool) {
	share := r.ChangedShare
	expected := stepSeconds + 2*share*r.Full
	if r.Runs < minRunsOfMethod || share >= incrementalBuckets || r.Full < slowRefresh || expected >= incrementalCost*r.Full {
		return Recommendation{}, false
	}
	day := map[string]any{"before": round(r.Full*r.Refreshes, 1), "after": round(expected*r.Refreshes, 1)}
	return Recommendation{
		Kind: "method", Current: "every refresh computes all of it", Proposed: "compute only the time buckets that changed",
		Reason: fmt.Sprintf("%s: method = 'incremental'. A refresh costs %.1f s, and %.2g %% of its rows change between two refreshes: computing those alone would cost about %.1f s. Its query has to give one row per bucket of %s and key, and to ask mvscheduler.in_window about the time in the table (docs/incremental.md). Evidence: %s.",
			r.Name, r.Full, 100*share, expected, r.TimeColumn, r.Source),
		Command:   "UPDATE mvscheduler.views SET method = 'incremental', bucket_width = '<width of a bucket>', query = '<the query, with WHERE mvscheduler.in_window(...)>' WHERE name = %s; where that is refused, the hint of the error has the statements that make the view anew",
		Evidence:  map[string]any{"level": r.Level, "sources": r.Source, "refresh_seconds": round(r.Full, 3), "runs": r.Runs, "changed_share": round(share, 6)},
		Predicted: map[string]any{"refresh_seconds": map[string]any{"before": round(r.Full, 3), "after": round(expected, 3)}, "refresh_seconds_a_day": day},
	}, true
}
