package optimizer

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Advice is something that a person may do about a view. DDL always waits for a person.
type Advice struct {
	Kind     string // unused, plain_view, rebuild or drop_index
	Proposed string // in a few words
	Why      []string
}

func advise(kind, proposed, why string, args ...any) (Advice, bool) {
	return Advice{Kind: kind, Proposed: proposed, Why: []string{fmt.Sprintf(why, args...)}}, true
}

// Usage is how a view was used.
type Usage struct {
	Now          time.Time
	CreatedAt    time.Time
	LastRead     time.Time     // on any server, own refreshes left out; zero = never
	LongestPause time.Duration // between reads before LastRead
	Unknown      time.Duration // of the time since LastRead, for which reads are not known
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
// before, as far as reads are known, on all servers, and nothing that depends on it. First its refreshes are stopped, 30 days later it may
// be dropped.
func (u Usage) Unused() (Advice, bool) {
	since := later(u.LastRead, u.CreatedAt)
	silent := u.Now.Sub(since) - u.Unknown
	switch {
	case silent < max(unusedFor, unusedGaps*u.LongestPause):
		return Advice{}, false
	case u.Servers < u.ServersAll, u.Dependants > 0, u.Published:
		return Advice{}, false
	}
	proposed := "refresh it on demand only"
	if u.OnDemand {
		if u.Now.Sub(u.Since)-u.Unknown < unusedFor {
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
