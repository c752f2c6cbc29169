package optimizer

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Leaving is what a shorter retention would take away.
type Leaving struct {
	Partitions    int
	Rows, Bytes   int64  // estimated
	Aside         string // how long it can be restored, in words
	Blocked       string // views that keep partitions all the same; empty = none does
	CurrentPeriod string // as the row has it; empty = NULL
}

// Proposed is the period that is worth a recommendation, in whole days; zero = none.
func (d RetentionDecision) Proposed(v RetentionView) time.Duration {
	period := d.Period
	if v.Current == 0 {
		period = d.Advice
	}
	const day = 24 * time.Hour
	if period = (period + day - 1).Truncate(day); v.Max > 0 {
		period = min(period, v.Max)
	}
	if v.Current > 0 && period >= v.Current {
		return 0
	}
	return period
}

// RecommendRetention puts a shorter retention into words, for a person to decide. Reads are those that v rests on.
func RecommendRetention(name string, v RetentionView, d RetentionDecision, reads []LookedBackOn, leaving Leaving, sources string) (Recommendation, bool) {
	period := d.Proposed(v)
	if period <= 0 || leaving.Partitions == 0 {
		return Recommendation{}, false
	}
	q := fineQuantile
	if v.LookBacks.Effective < fineReads {
		q = coarseQuantile
	}
	current := "everything is kept"
	if v.Current > 0 {
		current = leaving.CurrentPeriod + " are kept"
	}
	limit, _ := v.LookBacks.UpperLimit(q)
	missed := MissedBy(reads, period)
	var counted float64
	for _, r := range reads {
		counted += r.Reads
	}
	sentence := fmt.Sprintf("%s: keep %s. Of %.0f reads in 13 months, which count as %.0f, %.1f %% look back %s at most (95 %% confidence)",
		name, words(period), counted, v.LookBacks.Effective, 100*q, words(seconds(limit)))
	if missed > 0 {
		sentence += fmt.Sprintf("; %.2g %% of those that were seen looked back further than what would be kept", 100*missed)
	}
	sentence += fmt.Sprintf(". %d partitions leave, %s; they can be restored for %s.", leaving.Partitions, size(float64(leaving.Bytes)), leaving.Aside)
	if need := d.Need.Round(24 * time.Hour); need < period {
		sentence += fmt.Sprintf(" Readers need %s: the next step can follow 30 days later.", words(need))
	}
	if leaving.Blocked != "" {
		sentence += " More would leave, but it is needed by " + leaving.Blocked + "."
	}
	return Recommendation{
		Kind: "retention", Current: current, Proposed: "keep " + words(period), Reason: sentence + " Evidence: " + sources + ".",
		Basis:  map[string]string{"retention_period": leaving.CurrentPeriod},
		Change: map[string]string{"retention_period": words(period)},
		Evidence: map[string]any{"level": "partitions", "sources": sources, "days": math.Round(v.Age.Hours() / 24), "reads": math.Round(counted), "effective_reads": math.Round(v.LookBacks.Effective),
			"entire_share": round(v.LookBacks.Unbounded, 4), "look_back_days": round(limit/86400, 1), "quantile": q, "furthest_days": math.Round(v.LookBacks.Longest.Hours() / 24),
			"need_days": math.Round(d.Need.Hours() / 24), "weeks": d.State.WeeksBelow, "reasons": strings.Join(d.Why, "; ")},
		Predicted: map[string]any{"bytes_freed": leaving.Bytes, "rows_leaving": leaving.Rows, "partitions_leaving": leaving.Partitions, "reads_missed_share": round(missed, 6), "reads_missed_share_at_most": round(1-q, 3)},
	}, true
}
