package optimizer

import (
	"fmt"
	"math"
	"time"
)

// Kept is a view with a retention, of which it is known how far back its readers asked.
type Kept struct {
	Name              string
	Period, RowPeriod string        // the retention in force, and as the row has it
	Current, Row, Max time.Duration // the same, and the owner's bound; zero = none
	Auto              bool          // a longer one is put in force by itself, up to Max, or twice that of the row
	Incremental       bool
	Cost              float64 // of a refresh, in refresh-seconds; zero = unknown
	Sources           string
}

// surely is a look-back that one of so many days, by [DaysBack], was longer than: it is rounded up to the end of a day, and to
// the next number of days.
func surely(days int) time.Duration {
	before := 0
	for step := 0; ; step++ {
		n := int(math.Ceil(math.Exp2(float64(step)/4) - 1e-9))
		if n >= days {
			return time.Duration(max(0, before-1)) * 24 * time.Hour
		}
		before = n
	}
}

// Longer advises a longer retention where readers asked for what has left by it, on missedDays days at least: they got
// less than they asked for, and no error. A lower bound of ten years or more is one that means everything (spec 3f).
func (k Kept) Longer(asked []LookedBackOn) (Recommendation, bool) {
	const day = 24 * time.Hour
	var reads, all float64
	var furthest time.Duration
	on := make(map[time.Time]bool)
	for _, r := range asked {
		all += r.Reads
		if back := time.Duration(r.LookedBack.Days) * day; !r.Entire && back < askedEverything && surely(r.LookedBack.Days) > k.Current {
			reads += r.Reads
			furthest = max(furthest, back)
			on[r.At] = true
		}
	}
	period := (time.Duration(missFactor*float64(furthest)) + day - 1).Truncate(day)
	if k.Max > 0 {
		period = min(period, k.Max)
	}
	if k.Current <= 0 || len(on) < missedDays || period <= k.Current {
		return Recommendation{}, false
	}
	most := k.Max
	if most == 0 {
		most = longerAtMost * k.Row
	}
	var keep time.Duration
	if k.Auto && most > k.Current {
		keep = min(period, most)
		period = keep
	}
	cost := k.Cost
	if !k.Incremental { // which computes all that is kept
		cost *= float64(period) / float64(k.Current)
	}
	r := Recommendation{
		Kind: "retention", Current: k.Period + " are kept", Proposed: "keep " + words(period),
		Reason: fmt.Sprintf("%s: keep %s. On %d days %.0f reads of %.0f asked for what is older than the %s that are kept, as far back as %s: they got less than they asked for.", k.Name, words(period), len(on), reads, all, k.Period, words(furthest)),
		Basis:  map[string]string{"retention_period": k.RowPeriod}, Change: map[string]string{"retention_period": words(period)},
		Evidence:  map[string]any{"level": "L2", "sources": k.Sources, "reads_missed": math.Round(reads), "reads": math.Round(all), "days_with_misses": len(on), "furthest_days": math.Round(furthest.Hours() / 24)},
		Predicted: map[string]any{"reads_missed": 0, "refresh_seconds": round(cost, 3)},
		Keep:      keep,
	}
	if k.Incremental {
		r.Reason += " What was put aside comes back with mvscheduler restore " + k.Name + "."
	} else {
		r.Reason += " The next refresh computes it, as far as the tables below have it."
	}
	r.Reason += " Evidence: " + k.Sources + "."
	return r, true
}
