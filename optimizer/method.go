package optimizer

import (
	"fmt"
	"time"
)

// Methods is what is known of the two ways to refresh a materialized view as a whole.
type Methods struct {
	Name          string
	Wanted        string // method of its row: auto, full or concurrent
	Now           string // in force: full or concurrent
	Unique        bool   // there is a unique index, which concurrent needs
	Full, Conc    MethodCost
	Waits         int           // of the last full refreshes, those for which readers were seen waiting
	Undisturbed   int           // last refreshes in a row in whose time it is known that nobody read it
	Quiet         time.Duration // that those took
	Every         time.Duration // between two refreshes, at the shortest; zero = it has no clock
	Standby       bool          // there is one: full refreshes cancel its readers
	Reads         float64       // in seven days
	Kappa, Rate   float64       // see [Blocking]
	Level, Source string
}

// MethodCost is what a refresh by one method takes; no runs = unknown.
type MethodCost struct {
	Runs    int
	Took    time.Duration
	Seconds float64 // refresh-seconds, WAL included
}

// Advise says that the other method is better, or that a unique index is needed for it, or why neither.
//
// A row that says full gets concurrent where readers wait; what that costs is estimated where it never ran. A view that is
// refreshed concurrently gets full where that costs half and nobody came in its time. The method auto weighs the two by
// itself, but takes no lock that a reader would notice, so that it too can be told that there are none.
func (m Methods) Advise() (r Recommendation, why []string) {
	blocked := Blocking(m.Kappa, m.Rate, m.Full.Took.Seconds())
	if !m.Unique || m.Wanted == "full" {
		return m.unlock(blocked)
	}
	if m.Now != "concurrent" {
		return r, []string{"method: auto weighs full and concurrent by itself"}
	}
	return m.lock()
}

// unlock is for readers who wait behind full refreshes.
func (m Methods) unlock(blocked float64) (r Recommendation, why []string) {
	conc, known := m.Conc, "as measured"
	if conc.Runs == 0 {
		conc = MethodCost{Took: time.Duration(concurrentTimes * float64(m.Full.Took)), Seconds: concurrentTimes * m.Full.Seconds}
		known = "as it is elsewhere: it never ran"
	}
	waits := m.Waits >= waitsSeen && m.Full.Took >= waitNoticed
	switch {
	case m.Full.Runs < minRunsOfMethod:
		return r, []string{fmt.Sprintf("method: %d full refreshes, %d are needed to know what one costs", m.Full.Runs, minRunsOfMethod)}
	case m.Every > 0 && conc.Took > m.Every:
		return r, []string{fmt.Sprintf("method: a concurrent refresh would take %s, longer than there is between two", shortly(conc.Took.Seconds()))}
	case m.Unique && !waits && !(m.Conc.Runs > 0 && m.Conc.Seconds < m.Full.Seconds+blocked),
		!m.Unique && !waits && !(m.Reads >= minReads && blocked >= minGain*m.Full.Seconds):
		return r, []string{fmt.Sprintf("method: readers were seen waiting for %d of %d full refreshes of %s, which costs them %.2g refresh-seconds", m.Waits, m.Full.Runs, shortly(m.Full.Took.Seconds()), blocked)}
	}
	r = Recommendation{
		Kind: "method", Current: "full refreshes", Proposed: "refresh it concurrently",
		Basis: map[string]string{"method": m.Wanted}, Change: map[string]string{"method": "concurrent"},
		Evidence:  m.evidence(map[string]any{"full_refreshes": m.Full.Runs, "readers_waited_for": m.Waits, "full_seconds": round(m.Full.Took.Seconds(), 3)}),
		Predicted: map[string]any{"refresh_seconds": map[string]any{"before": round(m.Full.Seconds, 3), "after": round(conc.Seconds, 3)}, "locked_seconds": map[string]any{"before": round(m.Full.Took.Seconds(), 3), "after": 0}},
	}
	does := "method = 'concurrent'"
	if !m.Unique {
		r.Kind, r.Current, r.Proposed = "unique_index", "full refreshes, without a unique index", "add a unique index, so that it can be refreshed concurrently"
		r.Basis, r.Change = nil, nil
		r.Command = "UPDATE mvscheduler.views SET unique_key = '{<columns that tell its rows apart>}' WHERE name = %s"
		if does = "add a key (unique_key), so that it can be refreshed concurrently"; m.Wanted == "full" {
			does += " and set method = 'concurrent'"
			r.Command = "UPDATE mvscheduler.views SET unique_key = '{<columns that tell its rows apart>}', method = 'concurrent' WHERE name = %s"
		}
	}
	r.Reason = fmt.Sprintf("%s: %s. A full refresh locks readers out for %s, and they were seen waiting for %d of the last %d. A concurrent one takes some %s (%s), and nobody waits for it. Evidence: %s.",
		m.Name, does, lasts(m.Full.Took), m.Waits, m.Full.Runs, lasts(conc.Took), known, m.Source)
	return r, nil
}

// lock is for concurrent refreshes that nobody needs.
func (m Methods) lock() (r Recommendation, why []string) {
	if why := m.needed(); why != "" {
		return r, []string{why}
	}
	if m.Undisturbed < undisturbedRuns {
		return r, []string{fmt.Sprintf("method: nobody read it during the last %d refreshes, as far as it is known; it takes %d of them", m.Undisturbed, undisturbedRuns)}
	}
	return Recommendation{
		Kind: "method", Current: "concurrent refreshes", Proposed: "refresh it fully",
		Reason: fmt.Sprintf("%s: method = 'full'. A concurrent refresh costs %.1f refresh-seconds, a full one %.1f, and nobody read it during the last %d refreshes. It would lock out who comes meanwhile for %s. Evidence: %s.",
			m.Name, m.Conc.Seconds, m.Full.Seconds, m.Undisturbed, lasts(m.Full.Took), m.Source),
		Basis: map[string]string{"method": m.Wanted}, Change: map[string]string{"method": "full"},
		Evidence:  m.evidence(map[string]any{"concurrent_refreshes": m.Conc.Runs, "full_refreshes": m.Full.Runs, "undisturbed_refreshes": m.Undisturbed}),
		Predicted: map[string]any{"refresh_seconds": map[string]any{"before": round(m.Conc.Seconds, 3), "after": round(m.Full.Seconds, 3)}, "locked_seconds": map[string]any{"before": 0, "after": round(m.Full.Took.Seconds(), 3)}},
	}, nil
}

// needed is why concurrent refreshes are, whoever reads the view; empty = they may not be.
func (m Methods) needed() string {
	cost := m.Full.Seconds
	if m.Quiet > 0 { // readers may come all the same: as many as nobody in that time allows for
		cost += Blocking(m.Kappa, poissonLimit(0)/m.Quiet.Seconds(), m.Full.Took.Seconds())
	}
	switch {
	case m.Standby:
		return "method: a standby is attached, where a full refresh cancels readers"
	case m.Full.Runs == 0 || m.Conc.Runs < minRunsOfMethod:
		return "method: what a full refresh costs is not known, or what a concurrent one does"
	case m.Waits > 0:
		return fmt.Sprintf("method: readers waited for %d of the last full refreshes", m.Waits)
	case m.Conc.Seconds < slowRefresh:
		return fmt.Sprintf("method: a refresh takes %s, which is quick", lasts(m.Conc.Took))
	case cost > fullShare*m.Conc.Seconds:
		return fmt.Sprintf("method: a full refresh would cost %.1f refresh-seconds, a concurrent one costs %.1f", cost, m.Conc.Seconds)
	}
	return ""
}

// DependsOnReaders says that the advice depends on Undisturbed and Quiet.
func (m Methods) DependsOnReaders() bool { return m.Now == "concurrent" && m.needed() == "" }

func (m Methods) evidence(more map[string]any) map[string]any {
	more["level"], more["sources"] = m.Level, m.Source
	return more
}

// lasts writes the time that a lock is held: also below a second.
func lasts(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.2g s", d.Seconds())
	}
	return shortly(d.Seconds())
}

// Undisturbed says how many of the last refreshes, the newest first, went by without a read, as far as reads are known, and
// how long those took.
func (h History) Undisturbed(began []time.Time, took []time.Duration) (runs int, quiet time.Duration) {
	for i, at := range began {
		from, to := int(at.Sub(h.Grid.Start)/h.Grid.Width), int(at.Add(took[i]).Sub(h.Grid.Start)/h.Grid.Width)
		if at.Before(h.Grid.Start) || to >= len(h.Reads) {
			break
		}
		for _, reads := range h.Reads[from : to+1] {
			if !(reads == 0) { // unknown, too
				return runs, quiet
			}
		}
		runs++
		quiet += took[i]
	}
	return runs, quiet
}
