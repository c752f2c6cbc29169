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
	leaves map[int64]map[uint32]catalog.Leaf // below each reader now
	marks  map[uint32]string                 // of them, from before they were read
	unseen map[int64][]retention.Range       // what they tell that each reader has not seen
}

// planPruning reads the facts and plans. before is an earlier plan, of before a partition was put aside in this very
// transaction; nil = there is none. Now is the database's clock, and ours is the witness.
func planPruning(ctx context.Context, q catalog.Querier, id int64, before *pruning) (*pruning, error) {
	target, err := catalog.LoadPruneTarget(ctx, q, id)
	if err != nil || target == nil {
		return nil, err
	}
	facts, ids, err := decode(target)
	if err != nil {
		return nil, err
	}
	p := &pruning{PruneTarget: *target, ids: ids, leaves: make(map[int64]map[uint32]catalog.Leaf), unseen: make(map[int64][]retention.Range)}
	if p.marks, err = catalog.LoadLeafMarks(ctx, q, slices.Collect(maps.Values(ids))); err != nil {
		return nil, err
	}
	same := before != nil && p.sameLeaves(before)
	for name, view := range ids {
		dirt, known := []retention.Range(nil), false
		if same {
			dirt, known = before.unseen[view]
		}
		if !known {
			if dirt, err = p.leafChanges(ctx, q, view, before); err != nil {
				return nil, err
			}
		}
		p.unseen[view] = dirt
		for i := range facts.Readers {
			if facts.Readers[i].Name == name && facts.Readers[i].Method == retention.Incremental {
				facts.Readers[i].Dirt = append(facts.Readers[i].Dirt, dirt...)
			}
		}
	}
	if before != nil { // those that are attached still are as they were, and were not read again
		for _, part := range before.facts.Relation.Partitions {
			if part.DetachedAt == nil && !slices.ContainsFunc(facts.Relation.Partitions, func(now retention.Partition) bool { return now.OID == part.OID }) {
				facts.Relation.Partitions = append(facts.Relation.Partitions, part)
			}
		}
	}
	p.facts, p.plan = facts, retention.Plan(facts)
	return p, nil
}

// decode reads the facts and our clock.
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
	p.leaves[view] = now
	if before != nil { // what left since then is what we put aside ourselves
		maps.DeleteFunc(seen, func(oid uint32, _ catalog.Leaf) bool {
			_, was := before.leaves[view][oid]
			_, is := now[oid]
			return was && !is
		})
	}
	var ranges []retention.Range
	for _, d := range refresh.LeafChanges(seen, now, false) {
		r := retention.Range{From: retention.NegInfinity, To: retention.Infinity}
		if d.Lo != nil {
			r.From = retention.At(*d.Lo)
		}
		if d.Hi != nil { // which does not belong to the leaf
			r.To = retention.At(*d.Hi).Add(-time.Microsecond)
		}
		ranges = append(ranges, r)
	}
	return ranges, nil
}

// decision about one partition; nil when it is not among them.
func (p *pruning) decision(partition uint32) *retention.Decision {
	i := slices.IndexFunc(p.plan.Decisions, func(d retention.Decision) bool { return d.Partition.OID == partition })
	if i < 0 {
		return nil
	}
	return &p.plan.Decisions[i]
}

// keptError says that a partition stays, by what the plan under its lock has found.
type keptError struct{ reason string }

func (e *keptError) Error() string { return e.reason }
