package retention

import (
	"fmt"
	"time"
)

// clockChange is how far the label of a bucket can be from its true start on a day when clocks are changed.
const clockChange = hour

// marginOf is how much later than its row a label of the reader can be. Between times with and without zone it
// is what a zone can differ from UTC by; in a chain of views it is a day, too, which covers one zone and eight
// changes of clocks; for other methods it is by how much their border lags behind (cutoff_at).
func (p *planner) marginOf(r Reader) time.Duration {
	if r.Direct && r.Method == Incremental && r.Label == TypeTimestamptz && p.key == TypeTimestamptz {
		return clockChange
	}
	return zoneless
}

// blocked looks for views that need a partition, says why the first does, and names the others.
func (p *planner) blocked(d Decision) (blocker, why string, others []string) {
	for _, r := range p.Readers {
		switch need := p.need(r, d); {
		case need == "":
		case blocker == "":
			blocker, why = r.Name, need
		default:
			others = append(others, r.Name)
		}
	}
	return blocker, why, others
}

// need says why a view needs a partition that is old enough to leave; empty = it does not.
//
// When a partition leaves, everything older is frozen in the views that read it, and so is the bucket that its
// end lies in. So it is not enough that the view has taken the partition: all that is older has to be settled,
// and that bucket too, whose last row has to be older than the horizon.
func (p *planner) need(r Reader, d Decision) string {
	margin, kept := p.marginOf(r), p.kept(r)
	settled := d.Bound.To.Add(margin)
	switch anyRow := r.Through != "" || r.Direct && !r.Windowed; {
	case settled <= kept && !anyRow:
		return ""
	case r.Method != Incremental:
		return p.needOfOthers(r)
	case r.Lost:
		return fmt.Sprintf("view %s reads it, and its query was dropped: when that is made again it is computed anew", r.Name)
	case r.Through != "":
		return fmt.Sprintf("view %s reads it through %s, of which %s is a part, and would lose its rows", r.Name, r.Through, p.Relation.Name)
	case anyRow && r.FilledFrom == nil: // until then nobody has recorded how it reads it
		return fmt.Sprintf("view %s reads it and was never filled: mvscheduler refresh %[1]s", r.Name)
	case anyRow:
		return fmt.Sprintf("the query of view %s reads it not only within in_window, so that it may need all rows", r.Name)
	}
	start, frozen := max(p.oldest, kept), NegInfinity
	if r.Direct { // the others can be computed again from what lies between
		frozen = p.frozen
		if r.Left != nil {
			frozen = max(frozen, *r.Left)
		}
		start = max(start, frozen.Add(margin))
		settled = settled.Add(r.BucketWidth.longest() + clockChange) // a day can have 25 hours
	}
	never := p.neverGot(r)
	switch {
	case r.Paused != "":
		return fmt.Sprintf("view %s reads it and is paused (%s)", r.Name, r.Paused)
	case r.Failures > 0:
		return fmt.Sprintf("view %s reads it and its last %s failed", r.Name, runs(r.Failures))
	case r.Tracking == "counters":
		return fmt.Sprintf("view %s reads it and finds changes by the server's counters, which come late, so that rows may be missing in it", r.Name)
	case r.Tracking != "trigger":
		return fmt.Sprintf("view %s reads it without tracking changes, so that rows that came late may be missing in it", r.Name)
	case r.FilledFrom == nil || r.MaterializedUntil == nil:
		return fmt.Sprintf("view %s reads it and was never filled: mvscheduler refresh %[1]s", r.Name)
	case d.Bound.From < frozen && d.Partition.RestoredAt == nil:
		return fmt.Sprintf("view %s is not recomputed below %s any more and may never have seen its rows: when they are not needed, drop it by hand", r.Name, frozen)
	case *r.FilledFrom > start:
		return fmt.Sprintf("view %s reads it and is filled from %s only: its first fill goes on by itself", r.Name, *r.FilledFrom)
	case never != "" && r.UnbuiltBy == "": // of what left now it would lose what it has when it is made anew
		return fmt.Sprintf("view %[1]s may lack rows of %[2]s, which it would keep: what it read when it was filled went back to %[3]s only, and what that has got since it does not follow. "+
			"DELETE its row and INSERT it again; or, when nobody needs what it lacks, detach it by hand", r.Name, never, *r.Unbuilt)
	case never != "" && r.UnbuiltBy == r.Name:
		return fmt.Sprintf("view %[1]s lacks rows of %[2]s, which it would keep, since it was filled from %[3]s only, by the retention_period of then: "+
			"UPDATE its query with a column more; or, when nobody needs what it lacks, detach it by hand", r.Name, never, *r.Unbuilt)
	case never != "":
		return fmt.Sprintf("view %[1]s may lack rows of %[2]s, which it would keep, since view %[3]s, through which it reads them, was filled from %[4]s only: "+
			"UPDATE %[3]s, its query with a column more and without retention_period until %[1]s has taken that; or, when nobody needs what it lacks, detach it by hand", r.Name, never, r.UnbuiltBy, *r.Unbuilt)
	case r.Direct && settled > p.horizon:
		return fmt.Sprintf("it ends in a bucket of view %s (%s wide) that may last until %s, past the horizon %s", r.Name, r.BucketWidth, settled, p.horizon.second())
	case *r.MaterializedUntil < settled:
		return fmt.Sprintf("view %s reads it and has materialized until %s, where %s is needed", r.Name, *r.MaterializedUntil, settled)
	}
	if r.Direct { // what is written to a partition that is back comes to the view, until a younger one leaves
		for _, back := range p.back {
			if back.Bound.From >= frozen && back.Bound.From < d.Bound.From {
				return fmt.Sprintf("view %s follows what is written to %s, which is older, was restored and stays until %s, and would not when this has left",
					r.Name, back.Partition.Name, p.graceEnd(*back.Partition.RestoredAt).second())
			}
		}
	}
	for _, dirt := range r.Dirt {
		if dirt.From < settled && dirt.To >= frozen && dirt.To.Add(margin) >= kept {
			return fmt.Sprintf("view %s has not taken %s", r.Name, dirt.untaken())
		}
	}
	if why := p.unready(d); r.Direct && why != "" {
		return fmt.Sprintf("view %s reads it, and %s itself %s", r.Name, p.Relation.Name, why)
	}
	return ""
}

// neverGot is the youngest attached partition that a view keeps and has not got all of, since it or what it reads was never built so far
// back. What was restored has left once, and was not missed then; but what has been written to it since may be.
func (p *planner) neverGot(r Reader) (name string) {
	if r.Unbuilt == nil {
		return ""
	}
	margin, kept, youngest := p.marginOf(r), p.kept(r), NegInfinity
	for _, d := range p.attached {
		if max(d.Bound.From, kept) < *r.Unbuilt && d.Bound.To.Add(margin) > kept && d.Bound.To > youngest {
			name, youngest = d.Partition.Name, d.Bound.To
		}
	}
	return name
}

// kept is from when on a view keeps its buckets.
func (p *planner) kept(r Reader) Timestamp {
	kept := NegInfinity
	if r.RetentionPeriod != nil && r.RetentionPeriod.Positive() {
		kept = r.RetentionPeriod.Before(p.now, r.Zone)
	}
	if r.Relied { // a change that it has not taken would not come to those that read it
		gone := NegInfinity
		if r.Gone != nil {
			gone = *r.Gone
		}
		kept = min(kept, gone)
	}
	return kept
}

// needOfOthers is need for views that are computed anew at each refresh. What has left their source leaves
// them too: for a view that is what its retention_period says, for a table it would be a loss. What reads the stored rows of an
// incremental view loses nothing, whatever becomes of it: that one has to have taken what leaves, or has let go of it, and is
// frozen with it.
func (p *planner) needOfOthers(r Reader) string {
	switch {
	case p.Relation.Kind == View, r.Stored:
		return ""
	case r.Method == "":
		return fmt.Sprintf("materialized view %s reads it, is not managed and would lose its rows at the next refresh", r.Name)
	}
	return fmt.Sprintf("view %s reads it and is not incremental (method %s): it would lose its rows at the next refresh", r.Name, r.Method)
}

// freezes says which views are to be told that partitions below frozen have left, the last of them by a decision (nil = before). To
// one that reads all rows for any bucket, and so was made after these have left, the times of the rows mean nothing.
func (p *planner) freezes(frozen Timestamp, d *Decision) []Freeze {
	if frozen == NegInfinity {
		return nil
	}
	var all []Freeze
	for _, r := range p.Readers {
		if !r.Direct || !r.Windowed || r.Method != Incremental {
			continue
		}
		margin := p.marginOf(r)
		freeze := Freeze{View: r.Name, Below: frozen.Add(margin), Horizon: frozen}
		if d != nil && r.FilledFrom != nil && d.Bound.To.Add(margin) <= p.kept(r) {
			settled := d.Bound.To.Add(margin)
			freeze.Unasked = &settled
		}
		if freeze.Unasked != nil || r.Frozen == nil || *r.Frozen < freeze.Below {
			all = append(all, freeze)
		}
	}
	return all
}

// notes says what follows besides.
func (p *planner) notes(out Outcome) []string {
	if out.Total(Detach).Partitions == 0 {
		return nil
	}
	var all []string
	for _, d := range out.Decisions {
		if d.Bound.Default && d.Partition.DetachedAt == nil {
			all = append(all, fmt.Sprintf("%s is a DEFAULT partition: rows that come late for what has left stay there, and may be in the way when it is restored", d.Partition.Name))
		}
	}
	for _, r := range p.Readers {
		switch {
		case p.Relation.Kind != View || r.Method == Incremental || r.Stored:
		case r.Method == "":
			all = append(all, fmt.Sprintf("materialized view %s is not managed: at its next REFRESH it shows only what %s still has", r.Name, p.Relation.Name))
		default:
			all = append(all, fmt.Sprintf("view %s is not incremental: at its next refresh it shows only what %s still has", r.Name, p.Relation.Name))
		}
	}
	return all
}

// unready says why the view whose data the relation is cannot let go of what a reader of it keeps: what it has not taken itself
// that one would never have. It is frozen where what it reads has left.
func (p *planner) unready(d Decision) string {
	if p.self == nil {
		return ""
	}
	settled := d.Bound.To.Add(p.self.BucketWidth.longest() + zoneless + clockChange)
	for _, dirt := range p.self.Dirt {
		if dirt.From < settled && (p.self.Frozen == nil || dirt.To >= *p.self.Frozen) {
			why := "has not taken " + dirt.untaken()
			switch {
			case p.self.Lost:
				why += ": its query was dropped, and when that is made again it is computed anew"
			case p.self.Paused != "":
				why += fmt.Sprintf(": it is paused (%s)", p.self.Paused)
			case p.self.Failures > 0:
				why += fmt.Sprintf(": its last %s failed", runs(p.self.Failures))
			}
			return why
		}
	}
	return ""
}

// untaken names changes that a view has not taken.
func (r Range) untaken() string {
	if r.From == NegInfinity && r.To == Infinity {
		return "changes yet that may concern all of it, of a table that it joins, of a query, or an UPDATE that moved rows to other partitions, say"
	}
	return fmt.Sprintf("the changes from %s to %s yet", r.From, r.To)
}

func runs(n int) string {
	if n == 1 {
		return "run"
	}
	return fmt.Sprintf("%d runs", n)
}
