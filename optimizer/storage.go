package optimizer

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Advice is something that a person may do about a view. DDL always waits for a person.
type Advice struct {
	Kind     string // unused, plain_view, method, rebuild, index, drop_index, unique_index, bucket
	Proposed string // in a few words
	Why      []string
}

// Reasons says why.
func (a Advice) Reasons() []string { return a.Why }

func advise(kind, proposed, why string, args ...any) (Advice, bool) {
	return Advice{Kind: kind, Proposed: proposed, Why: []string{fmt.Sprintf(why, args...)}}, true
}

// Usage is how a view was used.
type Usage struct {
	Now          time.Time
	CreatedAt    time.Time
	LastRead     time.Time     // on any server, own refreshes left out; zero = never
	LongestPause time.Duration // between reads before LastRead
	RateBefore   float64       // reads per second while it was read
	Servers      int           // that read it and whose counters are known
	ServersAll   int           // that could
	Dependants   int           // objects that depend on it
	Published    bool          // in a publication or a list of dumps
	// OnDemand says that refreshes were stopped because nobody read it, and Since when.
	OnDemand bool
	Since    time.Time
	Bytes    float64
	// RefreshSeconds that it costs a day.
	RefreshSeconds float64
}

// Unused finds views that nobody reads (spec 3g): no read for 30 days and for three times the longest pause
// before, on all servers, and nothing that depends on it. First its refreshes are stopped, 30 days later it may
// be dropped.
func (u Usage) Unused() (Advice, bool) {
	since := later(u.LastRead, u.CreatedAt)
	silent := u.Now.Sub(since)
	switch {
	case silent < max(unusedFor, unusedGaps*u.LongestPause), u.Now.Sub(u.CreatedAt) < unusedFor:
		return Advice{}, false
	case u.Servers < u.ServersAll, u.Dependants > 0, u.Published:
		return Advice{}, false
	}
	proposed := "refresh it on demand only"
	if u.OnDemand {
		if u.Now.Sub(u.Since) < unusedFor {
			return Advice{}, false
		}
		proposed = "drop it; its row stays in the audit log"
	}
	a, _ := advise("unused", proposed, "not read for %s; storing it takes %s", shortly(silent.Seconds()), size(u.Bytes))
	if u.RefreshSeconds > 0 {
		a.Why = append(a.Why, fmt.Sprintf("refreshing it takes %.0f s a day", u.RefreshSeconds))
	}
	if u.RateBefore > 0 {
		a.Why = append(a.Why, fmt.Sprintf("at the former rate, such a silence would happen by chance with a probability of %.2g", math.Exp(-u.RateBefore*silent.Seconds())))
	}
	return a, true
}

// Worth is what a view saves its readers.
type Worth struct {
	Span         time.Duration // that was observed
	Reads        float64       // a day
	SavedPerRead float64       // seconds, compared with running the query itself
	Refreshes    float64       // a day
	Cost         float64       // of a refresh, in refresh-seconds
}

// PlainView finds views whose refreshes cost more than their readers save (spec 3g).
func (w Worth) PlainView() (Advice, bool) {
	saved, spent := w.Reads*w.SavedPerRead, w.Refreshes*w.Cost
	if w.Span < unprofitableFor || saved >= spent {
		return Advice{}, false
	}
	return advise("plain_view", "make it an ordinary view", "in %s, %.1f reads a day saved %.0f s, and refreshes took %.0f s", shortly(w.Span.Seconds()), w.Reads, saved, spent)
}

// Methods is what the ways to refresh a view would cost.
type Methods struct {
	Now     string // full, concurrent or incremental
	Runs    int    // so far
	Unique  bool   // there is a unique index, which concurrent needs
	Full    float64
	Conc    float64 // in refresh-seconds, WAL included; zero = never tried
	Incr    IncrementalCost
	Changed float64 // rows, between two refreshes
	Buckets float64 // share of the time buckets that change between two refreshes; zero = not incremental

	Kappa, Rate  float64 // see [Blocking]
	FullDuration float64 // seconds of the exclusive lock
}

// Choose is the cheapest method, with the price of blocked readers on the full one, and why. A method that was
// never tried is worth a run in exploreEvery; explore says that it is its turn.
func (m Methods) Choose() (method string, explore bool, why []string) {
	blocked := Blocking(m.Kappa, m.Rate, m.FullDuration)
	full := m.Full + blocked
	method, best := "full", full
	why = []string{fmt.Sprintf("full: %.1f refresh-seconds and %.1f for readers who wait for its lock", m.Full, blocked)}
	if m.Unique && m.Conc > 0 {
		why = append(why, fmt.Sprintf("concurrent: %.1f refresh-seconds", m.Conc))
		if m.Conc < best {
			method, best = "concurrent", m.Conc
		}
	}
	if incr := m.Incr.Fixed + m.Incr.PerRow*m.Changed; m.Buckets > 0 && m.Buckets < incrementalBuckets && incr > 0 {
		why = append(why, fmt.Sprintf("incremental: %.1f refresh-seconds for the %.0f %% of the buckets that change", incr, 100*m.Buckets))
		if incr < incrementalCost*m.Full && incr < best {
			method = "incremental"
		}
	}
	explore = m.Unique && m.Conc == 0 && m.Runs > 0 && m.Runs%exploreEvery == 0
	return method, explore, why
}

// UniqueIndex advises a unique index where readers wait for full refreshes.
func (m Methods) UniqueIndex() (Advice, bool) {
	blocked := Blocking(m.Kappa, m.Rate, m.FullDuration)
	if m.Unique || blocked < minGain*m.Full {
		return Advice{}, false
	}
	return advise("unique_index", "add a unique index, so that it can be refreshed concurrently",
		"a refresh locks readers out for %s, which is worth %.1f refresh-seconds to them; the refresh itself takes %.1f", shortly(m.FullDuration), blocked, m.Full)
}

// Bloated says that concurrent refreshes have left too many dead rows.
func Bloated(live, dead float64) bool {
	return live > 0 && dead >= bloatLeast && dead/live > bloatShare
}

// Rebuild advises one full refresh in the quietest hour when concurrent ones have left too many dead rows.
func Rebuild(live, dead float64, reads [hoursOfWeek]float64) (Advice, bool) {
	if !Bloated(live, dead) {
		return Advice{}, false
	}
	h := slices.Index(reads[:], slices.Min(reads[:]))
	return advise("rebuild", fmt.Sprintf("refresh it fully once, %s %02d:00 is its quietest hour", Days(1<<(h/24)), h%24),
		"%.0f dead rows for %.0f live ones", dead, live)
}

// UnusedIndex advises to drop an index that no read used for 30 days.
func UnusedIndex(name string, unique bool, silent time.Duration, bytes float64) (Advice, bool) {
	if unique || silent < unusedFor {
		return Advice{}, false
	}
	return advise("drop_index", "drop index "+name, "%s was not used for %s; it takes %s, and time at each refresh. What the column indexes of the row names is taken out there", name, shortly(silent.Seconds()), size(bytes))
}

// ByHourOfWeek is how many reads an hour of the week has in the mean; infinite where that was never seen.
func (h History) ByHourOfWeek() (rates [hoursOfWeek]float64) {
	var bins [hoursOfWeek]float64
	for i, reads := range h.Reads {
		if !math.IsNaN(reads) {
			rates[h.Grid.hourOfWeek(i)] += reads
			bins[h.Grid.hourOfWeek(i)]++
		}
	}
	for hour, n := range bins {
		rates[hour] *= time.Hour.Seconds() / h.Grid.seconds() / n
		if n == 0 {
			rates[hour] = math.Inf(1)
		}
	}
	return rates
}
