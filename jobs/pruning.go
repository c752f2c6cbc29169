package jobs

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/refresh"
	"github.com/mvscheduler/mvscheduler/retention"
)

// pruning is a target, the plan for it, and what the plan does not say.
type pruning struct {
	catalog.PruneTarget

	facts  retention.Facts
	plan   retention.Outcome
	ids    map[string]int64                  // views.id of the readers
	leaves map[int64]map[uint32]catalog.Leaf // below each reader, now or at an earlier plan of the run
	marks  map[uint32]string                 // of them, from before they were read
	unseen map[int64][]retention.Range       // what they tell that each reader has not seen
	took   time.Duration                     // to read the facts and the marks
}

// errLeaves says that a plan does not hold any more: it has to be made anew, without locks.
var errLeaves = errors.New("tables or partitions that its readers read were attached or rewritten, or it has new readers")

// planPruning reads the facts and plans. before is an earlier plan of the same run; nil = there is none. Reading the leaves
// takes seconds where they are many, so the caller holds no lock for which others wait.
func planPruning(ctx context.Context, q catalog.Querier, id int64, before *pruning) (*pruning, error) {
	p, err := loadPruning(ctx, q, id)
	if err != nil || p == nil {
		return nil, err
	}
	if err := p.lookBelow(ctx, q, before); err != nil {
		return nil, err
	}
	p.decide()
	return p, nil
}

// lookBelow finds out what each reader has not seen of what is below it.
func (p *pruning) lookBelow(ctx context.Context, q catalog.Querier, before *pruning) (err error) {
	for _, view := range p.ids {
		if p.unseen[view], err = p.leafChanges(ctx, q, view, before); err != nil {
			return err
		}
	}
	return nil
}

// planAgain plans after a partition was put aside in this very transaction. Everybody who uses the table waits meanwhile:
// what a plan of before the locks has read is not read again, the change log neither, and where leaves are not the same any more that is [errLeaves].
func planAgain(ctx context.Context, tx pgx.Tx, before *pruning) (*pruning, error) {
	if err := catalog.OnlySince(ctx, tx, before.Seen); err != nil {
		return nil, err
	}
	p, err := loadPruning(ctx, tx, before.ID)
	if err != nil || p == nil {
		return nil, err
	}
	for i, r := range p.facts.Readers { // what that plan knew, too: a horizon that has moved back since lets it count
		if was := slices.IndexFunc(before.facts.Readers, func(b retention.Reader) bool { return b.Name == r.Name }); was >= 0 {
			p.facts.Readers[i].Dirt = append(r.Dirt, before.facts.Readers[was].Dirt...)
		}
	}
	if !p.sameLeaves(before) {
		return nil, errLeaves
	}
	for _, view := range p.ids {
		dirt, known := before.unseen[view]
		if !known {
			return nil, errLeaves
		}
		p.unseen[view] = dirt
	}
	for _, part := range before.facts.Relation.Partitions { // those that are attached still are as they were
		if part.DetachedAt == nil && !slices.ContainsFunc(p.facts.Relation.Partitions, func(now retention.Partition) bool { return now.OID == part.OID }) {
			p.facts.Relation.Partitions = append(p.facts.Relation.Partitions, part)
		}
	}
	p.decide()
	return p, nil
}

// loadPruning reads the facts, and of leaves the marks only; nil when the target is gone.
func loadPruning(ctx context.Context, q catalog.Querier, id int64) (*pruning, error) {
	began := time.Now()
	target, err := catalog.LoadPruneTarget(ctx, q, id)
	if err != nil || target == nil {
		return nil, err
	}
	p := &pruning{PruneTarget: *target, leaves: make(map[int64]map[uint32]catalog.Leaf), unseen: make(map[int64][]retention.Range)}
	if p.facts, p.ids, err = decode(target); err != nil {
		return nil, err
	}
	if p.marks, err = catalog.LoadLeafMarks(ctx, q, slices.Collect(maps.Values(p.ids))); err != nil {
		return nil, err
	}
	p.took = time.Since(began)
	return p, nil
}

// AddUnseen adds to the facts about a target what its readers, of which ids are the numbers, have not seen yet of tables and
// partitions that came, went or were rewritten, as far as the caller may know it.
func AddUnseen(ctx context.Context, q catalog.Querier, facts *retention.Facts, ids map[string]int64) error {
	p := &pruning{facts: *facts, ids: ids, leaves: make(map[int64]map[uint32]catalog.Leaf), unseen: make(map[int64][]retention.Range)}
	if err := p.lookBelow(ctx, q, nil); err != nil {
		return err
	}
	p.addUnseen()
	*facts = p.facts
	return nil
}

func (p *pruning) addUnseen() {
	for i, r := range p.facts.Readers {
		if view, known := p.ids[r.Name]; known && r.Method == retention.Incremental {
			p.facts.Readers[i].Dirt = append(r.Dirt, p.unseen[view]...)
		}
	}
}

// decide plans, once it is known what the readers have not seen.
func (p *pruning) decide() {
	p.addUnseen()
	p.plan = retention.Plan(p.facts)
}

// decode reads the facts. Now is the database's clock, and ours is the witness.
func decode(t *catalog.PruneTarget) (retention.Facts, map[string]int64, error) {
	facts, ids, err := retention.Decode(t.Facts)
	facts.Witness = new(retention.At(time.Now()))
	return facts, ids, err
}

// sameLeaves says whether nothing below the readers came or was changed since the plan before. What left is what we put
// aside ourselves. A reader that was refreshed meanwhile has seen more than that plan knows, and not less.
func (p *pruning) sameLeaves(before *pruning) bool {
	for oid, mark := range p.marks {
		if was, known := before.marks[oid]; !known || was != mark {
			return false
		}
	}
	return true
}

// leafChanges are what a reader has not seen yet of tables and partitions that came, went or were rewritten.
func (p *pruning) leafChanges(ctx context.Context, q catalog.Querier, view int64, before *pruning) ([]retention.Range, error) {
	state, err := catalog.LoadIncremental(ctx, q, view)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil // it was dropped meanwhile
	}
	if err != nil {
		return nil, err
	}
	seen, err := state.Before()
	if err != nil || seen == nil {
		return nil, err
	}
	now, err := catalog.LoadLeaves(ctx, q, view)
	if err != nil {
		return nil, err
	}
	var tracking string
	if state.Tracking != nil {
		tracking = *state.Tracking
	}
	p.leaves[view] = maps.Clone(now)
	if before != nil { // what left since then is what we put aside ourselves
		maps.DeleteFunc(seen, func(oid uint32, _ catalog.Leaf) bool {
			_, was := before.leaves[view][oid]
			_, is := now[oid]
			return was && !is
		})
		maps.Copy(p.leaves[view], before.leaves[view])
	}
	if p.itself(view) { // its own partitions would stay for ever, for what nobody knows, and nobody can, of what its last refresh has read
		maps.DeleteFunc(now, func(oid uint32, leaf catalog.Leaf) bool {
			unknowable := (leaf.Kind == "f" || leaf.Kind == "S") && seen[oid].Kind == leaf.Kind
			if unknowable {
				delete(seen, oid)
			}
			return unknowable
		})
	}
	var ranges []retention.Range
	for _, d := range refresh.LeafChanges(seen, now, tracking == refresh.ByCounters) {
		r := retention.Range{From: retention.NegInfinity, To: retention.Infinity}
		if d.Lo != nil {
			r.From = retention.At(*d.Lo)
		}
		if d.Hi != nil { // which does not belong to the leaf
			r.To = retention.At(*d.Hi).Add(-time.Microsecond)
		}
		ranges = append(ranges, r)
	}
	if p.itself(view) && state.SeenAt != nil && tracking == refresh.ByLateness {
		ranges = append(ranges, retention.Range{From: p.lookedFrom(state), To: retention.Infinity})
	}
	return ranges, nil
}

// lookedFrom is from when on the next refresh of a view computes everything that does not track changes: see [refresh.Unseen]. What is as old as
// leaves by then anyway counts for nothing, or it would stay for ever where lateness is longer than the retention period.
func (p *pruning) lookedFrom(state catalog.Incremental) retention.Timestamp {
	from := retention.At(state.SeenAt.Add(-state.Lateness - state.Width))
	if kept := p.facts.Policy.RetentionPeriod; kept != nil {
		from = max(from, kept.Before(retention.At(*state.SeenAt), p.facts.Policy.Zone))
	}
	return from
}

// itself says whether the data of a view are what is planned for.
func (p *pruning) itself(view int64) bool {
	return slices.ContainsFunc(p.facts.Readers, func(r retention.Reader) bool { return r.Self && p.ids[r.Name] == view })
}

// decision about one partition; nil when it is not among them.
func (p *pruning) decision(partition uint32) *retention.Decision {
	i := slices.IndexFunc(p.plan.Decisions, func(d retention.Decision) bool { return d.Partition.OID == partition })
	if i < 0 {
		return nil
	}
	return &p.plan.Decisions[i]
}

// staying says why the first partition stays that an earlier plan put aside; empty = none does.
func (p *pruning) staying(before *pruning) string {
	for _, was := range before.plan.Decisions {
		if now := p.decision(was.Partition.OID); was.Action == retention.Detach && now != nil && now.Action != retention.Detach && now.Partition.DetachedAt == nil {
			return now.Reason
		}
	}
	return ""
}

// keptError says that a partition stays, by what the plan under its lock has found.
type keptError struct{ reason string }

func (e *keptError) Error() string { return e.reason }
