package optimizer

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Coarsened is an incremental view of which old data may be kept in coarser buckets.
type Coarsened struct {
	Name, Coarse string // as rows of views have it; Coarse is the view to make
	TimeColumn   string // quoted where needed, as the others; ColumnName is not
	ColumnName   string
	Keys, Values []string // its other columns: those of its key, and the rest
	Timezone     string
	Bucket, Kept time.Duration
	LookBacks    LookBacks
	BytesPerDay  float64
	Worth        float64 // bytes from which it is worth it; zero = the default
	Source       string
}

// Unit is what the coarser buckets are cut by.
func (c Coarsened) Unit() string {
	if c.Bucket >= 24*time.Hour {
		return "month"
	}
	return "day"
}

// Coarser advises to keep coarser buckets beyond what readers of the fine ones look back to: that saves more than a shorter
// retention, and nothing is lost but the detail (spec 3f).
func (c Coarsened) Coarser() (Recommendation, bool) {
	limit, ok := c.LookBacks.UpperLimit(coarseQuantile)
	if !ok || math.IsInf(limit, 1) || c.LookBacks.Unbounded > unboundedShare {
		return Recommendation{}, false
	}
	const day = 24 * time.Hour
	unit, coarse := c.Unit(), day
	if unit == "month" {
		coarse = 30 * day
	}
	beyond := (max(seconds(coarseFactor*limit), retentionFloor) + c.Bucket + day - 1).Truncate(day)
	saved := c.BytesPerDay * (c.Kept - beyond).Hours() / 24 * (1 - float64(c.Bucket)/float64(coarse))
	worth := c.Worth
	if worth == 0 {
		worth = savedBytes
	}
	if c.Bucket <= 0 || c.Bucket >= coarse || c.Kept <= beyond || saved < worth {
		return Recommendation{}, false
	}
	columns := append([]string{fmt.Sprintf("date_trunc('%s', %s) AS %s", unit, c.TimeColumn, c.TimeColumn)}, c.Keys...)
	groups := make([]string, len(columns))
	for i := range groups {
		groups[i] = fmt.Sprint(i + 1)
	}
	for _, v := range c.Values {
		columns = append(columns, fmt.Sprintf("sum(%s) AS %s", v, v))
	}
	query := fmt.Sprintf("SELECT %s FROM %s WHERE mvscheduler.in_window(%s) GROUP BY %s", strings.Join(columns, ", "), c.Name, c.TimeColumn, strings.Join(groups, ", "))
	literal := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	percent := func(s string) string { return strings.ReplaceAll(s, "%", "%%") }
	return Recommendation{
		Kind: "bucket", Current: fmt.Sprintf("buckets of %s are kept for %s", words(c.Bucket), days(c.Kept)), Proposed: fmt.Sprintf("keep buckets of 1 %s beyond %s", unit, days(beyond)),
		Reason: fmt.Sprintf("%s: keep buckets of 1 %s for what is older than %s. 99 %% of the reads look back at most %s (95 %% confidence), and buckets of %s are kept for %s: coarser ones beyond twice what is read save some %s. First the coarser view, and when it is fresh the shorter retention of this one. sum() is right for counts and sums: a minimum takes min(), a maximum max(), a mean needs its count as weight. Evidence: %s.",
			c.Name, unit, days(beyond), days(seconds(limit)), words(c.Bucket), days(c.Kept), size(saved), c.Source),
		Command: percent("INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width, timezone, refresh_on) VALUES ("+literal(c.Coarse)+", "+literal(query)+", 'incremental', "+literal(c.ColumnName)+", '1 "+unit+"', "+literal(c.Timezone)+", 'upstream'); ") +
			"when that is fresh: UPDATE mvscheduler.views SET retention_period = '" + words(beyond) + "' WHERE name = %s",
		Evidence: map[string]any{"level": "partitions", "sources": c.Source, "effective_reads": math.Round(c.LookBacks.Effective), "look_back_days": round(limit/86400, 1), "quantile": coarseQuantile,
			"entire_share": round(c.LookBacks.Unbounded, 4), "kept_days": math.Round(c.Kept.Hours() / 24)},
		Predicted: map[string]any{"bytes_freed": math.Round(saved), "days_in_fine_buckets": map[string]any{"before": math.Round(c.Kept.Hours() / 24), "after": math.Round(beyond.Hours() / 24)}},
	}, true
}

func days(d time.Duration) string { return words(d.Round(24 * time.Hour)) }
