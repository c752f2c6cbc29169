package retention

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// Clocks that disagree by more than this stop everything: one of them is wrong, and a clock that runs ahead
	// makes all data look old. Of two clocks that agree the earlier one counts.
	maxSkew = 10 * time.Minute

	// A time without a zone can stand in any zone, and none is 16 hours from UTC (PostgreSQL allows no more).
	zoneless = day
)

// Plan decides what happens to each partition of a relation, and why. It is pure, and it promises:
//
//   - a partition leaves as a whole, when its last row is older than the retention period;
//   - it leaves only when every view that reads it, directly or through others, has what it needs of it;
//   - it is kept aside for the grace period before it is dropped;
//   - what cannot be judged stays.
//
// Facts age: a plan is made again under the lock that DETACH takes, and only what both plans let go leaves.
func Plan(f Facts) Outcome {
	p := newPlanner(f)
	out := Outcome{Relation: f.Relation.Name}
	if p.held == "" {
		out.Horizon = &p.horizon
	}
	for _, partition := range f.Relation.Partitions {
		out.Decisions = append(out.Decisions, p.decide(partition))
	}
	slices.SortFunc(out.Decisions, func(a, b Decision) int {
		return cmp.Or(cmp.Compare(a.Bound.From, b.Bound.From), cmp.Compare(a.Bound.To, b.Bound.To),
			cmp.Compare(a.Partition.Name, b.Partition.Name), cmp.Compare(a.Partition.OID, b.Partition.OID))
	})
	out.Freezes = p.freezes(p.frozen, nil)
	frozen := p.frozen
	for i, d := range out.Decisions {
		if d.Action == Detach {
			frozen = max(frozen, d.Bound.To)
			out.Decisions[i].Freezes = p.freezes(frozen, &d)
		}
	}
	if f.Relation.Frozen != nil || frozen != NegInfinity {
		out.Frozen = &frozen
	}
	out.Notes = p.notes(out)
	return out
}

// planner is what holds for all partitions of a relation.
type planner struct {
	Facts
	now      Timestamp
	horizon  Timestamp
	oldest   Timestamp  // start of the oldest attached partition
	attached []Decision // partitions, without DEFAULT
	frozen   Timestamp  // below which partitions have left; NegInfinity = none has
	back     []Decision // attached partitions that were restored and stay for their grace period, the oldest first
	key      KeyType    // of the partition key; empty = there is none
	self     *Reader    // the view whose data the relation is; nil = a table
	held     string     // why nothing happens at all; empty = something may
}

func newPlanner(f Facts) *planner {
	p := &planner{Facts: f, now: f.Now, oldest: Infinity, frozen: NegInfinity}
	if f.Relation.Frozen != nil {
		p.frozen = *f.Relation.Frozen
	}
	if f.Witness != nil {
		p.now = min(p.now, *f.Witness)
	}
	if len(f.Relation.Key) > 0 {
		p.key = f.Relation.Key[0].Type
	}
	p.Readers = slices.SortedStableFunc(slices.Values(f.Readers), func(a, b Reader) int { return cmp.Compare(a.Name, b.Name) })
	if i := slices.IndexFunc(p.Readers, func(r Reader) bool { return r.Self }); i >= 0 {
		p.self = new(p.Readers[i])
		p.Readers = slices.Delete(p.Readers, i, i+1)
	}
	for _, partition := range f.Relation.Partitions {
		bound, err := ParseBound(partition.Bound, p.key)
		if err != nil || bound.Default {
			bound.From = NegInfinity
		}
		if partition.DetachedAt == nil {
			p.oldest = min(p.oldest, bound.From)
		}
		if err == nil && !bound.Default && partition.DetachedAt == nil {
			p.attached = append(p.attached, Decision{Partition: partition, Bound: bound})
		}
		if at := partition.RestoredAt; err == nil && partition.DetachedAt == nil && at != nil && p.now <= p.graceEnd(*at) {
			p.back = append(p.back, Decision{Partition: partition, Bound: bound})
		}
	}
	slices.SortFunc(p.back, func(a, b Decision) int {
		return cmp.Or(cmp.Compare(a.Bound.From, b.Bound.From), cmp.Compare(a.Partition.OID, b.Partition.OID))
	})
	if p.held = p.hold(); p.held != "" {
		return p
	}
	p.horizon = f.Policy.RetentionPeriod.Before(p.now, f.Policy.Zone)
	if p.key != TypeTimestamptz {
		p.horizon = p.horizon.Add(-zoneless)
	}
	return p
}

// hold says why nothing of the relation leaves.
func (p *planner) hold() string {
	relation, policy := p.Relation, p.Policy
	switch {
	case policy.LegalHold:
		return "there is a legal hold on " + relation.Name
	case relation.PartOf != "": // what is aside would come back without what has left it meanwhile
		return fmt.Sprintf("%s is a part of %s, which has a row in source_retention itself", relation.Name, relation.PartOf)
	case !policy.Enabled:
		return "retention of " + relation.Name + " is not enabled"
	case policy.RetentionPeriod == nil:
		return relation.Name + " has no retention_period"
	case !policy.RetentionPeriod.Positive():
		return fmt.Sprintf("the retention_period of %s, %s, is not positive", relation.Name, policy.RetentionPeriod)
	case !p.Now.Finite():
		return "the time is not known"
	case p.Witness != nil && (p.Now > p.Witness.Add(maxSkew) || p.Now < p.Witness.Add(-maxSkew)):
		return fmt.Sprintf("the clocks of the database (%s) and of mvscheduler (%s) disagree", p.Now, *p.Witness)
	}
	return unfit(relation)
}

// unfit says why the partitions of a relation tell nothing about the time of their rows.
func unfit(r Relation) string {
	switch {
	case r.Strategy == "":
		return r.Name + " is not partitioned"
	case r.Strategy == "l":
		return r.Name + " is partitioned by LIST and not by a range of time"
	case r.Strategy == "h":
		return r.Name + " is partitioned by HASH and not by a range of time"
	case r.Strategy != "r":
		return fmt.Sprintf("%s is partitioned in a way that is not known (%q)", r.Name, r.Strategy)
	case len(r.Key) != 1:
		return fmt.Sprintf("%s is partitioned by %d columns, so that a bound is no time", r.Name, len(r.Key))
	case r.Key[0].Name == "":
		return r.Name + " is partitioned by an expression and not by its time column " + r.TimeColumn
	case r.Key[0].Name != r.TimeColumn:
		why := fmt.Sprintf("%s is partitioned by %s and not by its time column %s", r.Name, r.Key[0].Name, r.TimeColumn)
		if r.Kind == Source {
			why += fmt.Sprintf(`; if that was renamed: UPDATE mvscheduler.source_retention SET time_column = %s WHERE "table" = %s::regclass`, literal(r.Key[0].Name), literal(r.Name))
		}
		return why
	case !r.Key[0].Type.known():
		return fmt.Sprintf("%s is partitioned by a column of type %s: a time column is timestamptz, timestamp or date", r.Name, r.Key[0].Type)
	}
	return ""
}

// decide judges one partition.
func (p *planner) decide(partition Partition) Decision {
	d := Decision{Partition: partition, Action: Keep}
	bound, err := ParseBound(partition.Bound, p.key)
	if err == nil {
		d.Bound = bound
	}
	var why string
	switch {
	case partition.DetachedAt != nil:
		why = p.decideAside(&d, err)
	case p.held != "":
		why = p.held
	default:
		why = p.decideAttached(&d, err)
	}
	d.Why, d.Reason = why, d.sentence(why, err == nil)
	return d
}

func (d Decision) sentence(why string, bounded bool) string {
	name := d.Partition.Name
	if bounded {
		name += " (" + d.Bound.String() + ")"
	}
	if d.Partition.SubPartitions > 0 {
		name += " with its " + plural(d.Partition.SubPartitions, "sub-partition")
	}
	verb := map[Action]string{Keep: "stays", Detach: "is put aside", Hold: "stays aside", Attach: "comes back", Drop: "is dropped"}[d.Action]
	return name + " " + verb + ": " + why
}

// decideAttached judges an attached partition; err says why its bound cannot be read.
func (p *planner) decideAttached(d *Decision, err error) string {
	bound, partition := d.Bound, d.Partition
	switch {
	case err != nil:
		return "its bound cannot be read: " + err.Error()
	case bound.Default:
		return "the DEFAULT partition holds rows of any time"
	case bound.To == Infinity:
		return "it has no upper bound"
	case bound.From > p.now:
		return "it is for rows to come"
	case bound.From >= p.horizon:
		return "it is younger than " + p.border()
	case bound.To > p.horizon:
		return "it holds rows on both sides of " + p.border()
	case partition.Held != "":
		return "there is a legal hold on " + partition.Held
	case partition.DetachPending:
		return "somebody's DETACH PARTITION ... CONCURRENTLY was interrupted: end it by ALTER TABLE ... DETACH PARTITION ... FINALIZE"
	case partition.Foreign:
		return "there is a foreign table in it, whose rows are elsewhere"
	case partition.OtherOwner != "":
		d.Blocker = partition.OtherOwner
		return "it belongs to " + partition.OtherOwner + " and not to the owner of " + p.Relation.Name
	case len(partition.ReferencedBy) > 0:
		tables, drops := referencing(partition.ReferencedBy)
		d.Blocker = tables[0]
		return "foreign keys of " + strings.Join(tables, ", ") + " point at it, and it can leave when none does: " + strings.Join(drops, "; ")
	}
	if partition.RestoredAt != nil {
		if until := p.graceEnd(*partition.RestoredAt); p.now <= until {
			return fmt.Sprintf("it was restored at %s and stays until %s at least; to keep it for longer, lengthen retention_period", partition.RestoredAt.second(), until.second())
		}
	}
	if blocker, why, others := p.blocked(*d); blocker != "" {
		d.Blocker = blocker
		if len(others) > 0 {
			why += fmt.Sprintf(", and %s it too", needed(others))
		}
		return why
	}
	d.Action, d.Until = Detach, new(p.graceEnd(p.now))
	why := "it is older than " + p.border()
	if len(p.Readers) > 0 {
		why += ", and no view needs it any more"
	}
	return fmt.Sprintf("%s; it can be restored until %s", why, d.Until.second())
}

// decideAside judges a partition that was put aside.
func (p *planner) decideAside(d *Decision, err error) string {
	d.Action = Hold
	until := p.graceEnd(*d.Partition.DetachedAt)
	// What a view has computed comes back by itself; what its owner has written, by its owner.
	comesBack := p.Relation.Kind == View && err == nil && !d.Bound.Default && !d.Partition.Altered && !d.Partition.Misfit && !d.Partition.Former
	inTheWay := p.inTheWay(d.Bound)
	switch {
	case comesBack && p.Policy.Enabled && p.Policy.RetentionPeriod == nil && unfit(p.Relation) == "" && inTheWay != "":
		return p.Relation.Name + " keeps everything now, but " + inTheWay
	case comesBack && p.Policy.Enabled && p.Policy.RetentionPeriod == nil && unfit(p.Relation) == "":
		d.Action = Attach
		return p.Relation.Name + " keeps everything now"
	case p.Relation.Kind == View && p.Policy.Enabled && p.Policy.RetentionPeriod == nil && d.Partition.Former:
		return p.Relation.Name + " keeps everything now" + p.former()
	case p.held != "":
		return p.held
	case d.Partition.Held != "":
		return "there is a legal hold on " + d.Partition.Held
	case err != nil:
		return "its bound cannot be read: " + err.Error()
	case d.Partition.Altered:
		return "it was altered since it was put aside, so that its owner may have other plans: when it is not needed, drop it by hand"
	case d.Bound.To > p.horizon && comesBack && inTheWay != "":
		return "it is not older any more than " + p.border() + ", but " + inTheWay
	case d.Bound.To > p.horizon && comesBack:
		d.Action = Attach
		return "it is not older any more than " + p.border()
	case d.Bound.To > p.horizon && d.Partition.Misfit:
		return "it is not older any more than " + p.border() + ", and its columns are not those of " + p.Relation.Name + " any more: when it is not needed, drop it by hand"
	case d.Bound.To > p.horizon && d.Partition.Former:
		return "it is not older any more than " + p.border() + p.former()
	case d.Bound.To > p.horizon:
		return "it is not older any more than " + p.border() + ": restore brings it back"
	case p.now <= until:
		d.Until = &until
		return fmt.Sprintf("it can be restored until %s, %s after it was put aside", until.second(), p.Policy.GracePeriod)
	}
	d.Action = Drop
	return fmt.Sprintf("it was put aside at %s and its grace_period of %s is over", *d.Partition.DetachedAt, p.Policy.GracePeriod)
}

// former says why what an earlier version of the view has computed stays aside.
func (p *planner) former() string {
	return ", but an earlier version of " + p.Relation.Name + " has computed it: restore brings it back as it is, and when it is not needed, drop it by hand"
}

// inTheWay says which attached partition keeps one with a bound from coming back by itself; empty = none does.
func (p *planner) inTheWay(bound Bound) string {
	var found []string
	for _, other := range p.Relation.Partitions {
		if other.DetachedAt != nil {
			continue
		}
		switch b, err := ParseBound(other.Bound, p.key); {
		case err != nil:
		case b.Default:
			found = append(found, "everybody would wait until the DEFAULT partition "+other.Name+" was searched for its rows: restore brings it back")
		case b.From < bound.To && bound.From < b.To:
			found = append(found, other.Name+" ("+b.String()+") is in its place")
		}
	}
	if len(found) == 0 {
		return ""
	}
	return slices.Min(found)
}

// border names the horizon.
func (p *planner) border() string {
	text := fmt.Sprintf("the horizon %s of retention_period %s", p.horizon.second(), p.Policy.RetentionPeriod)
	if p.key != TypeTimestamptz {
		text += fmt.Sprintf(" (and a day, since %s has no time zone)", p.Relation.TimeColumn)
	}
	return text
}

// graceEnd is when the grace period that begins at an instant is over.
func (p *planner) graceEnd(begin Timestamp) Timestamp {
	return max(begin, p.Policy.GracePeriod.After(begin, p.Policy.Zone))
}

// referencing are the tables of foreign keys, each once, and what drops these.
func referencing(keys []ForeignKey) (tables, drops []string) {
	for _, k := range keys {
		tables = append(tables, k.Table)
		drops = append(drops, "ALTER TABLE "+k.Table+" DROP CONSTRAINT "+k.Name)
	}
	slices.Sort(tables)
	slices.Sort(drops)
	return slices.Compact(tables), drops
}

// needed names a few views that need a partition, too.
func needed(views []string) string {
	const most = 3
	if len(views) == 1 {
		return "view " + views[0] + " needs"
	}
	if more := len(views) - most; more > 0 {
		return fmt.Sprintf("views %s and %d more need", strings.Join(views[:most], ", "), more)
	}
	return "views " + strings.Join(views[:len(views)-1], ", ") + " and " + views[len(views)-1] + " need"
}

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
