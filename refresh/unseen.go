package refresh

import (
	"time"

	"github.com/mvscheduler/mvscheduler/catalog"
)

// Unseen is what has to be computed of an incremental view since the last refresh: by what that has left behind (state)
// and the entries of the change log that it has not seen, both of one snapshot. Leaves and tracking are as of now. Lateness
// counts from the last refresh, which has seen what came before: now is the time where a clock was put back since.
func Unseen(state catalog.Incremental, changes []catalog.Change, leaves map[uint32]Leaf, tracking string, now time.Time) ([]Dirt, error) {
	switch {
	case state.Leaves == nil, state.Seen && state.Fill != nil && !state.Bound:
		return []Dirt{Everything("it is filled for the first time")}, nil
	case !state.Seen:
		return []Dirt{Everything("it was restored, or upgraded, into another cluster")}, nil
	case *state.Tracking == ByLateness && tracking != ByLateness:
		return []Dirt{Everything("what changed before was not looked for")}, nil
	}
	var dirt []Dirt
	for _, c := range changes {
		dirt = append(dirt, Dirt{Lo: c.Lo, Hi: c.Hi, Why: c.Why})
	}
	if tracking == ByLateness {
		return append(dirt, Dirt{Lo: new(earlier(*state.SeenAt, now).Add(-state.Lateness - state.Width)), Why: "what is no older than lateness"}), nil
	}
	before, err := state.Before()
	if err != nil {
		return nil, err
	}
	counters := tracking == ByCounters || *state.Tracking == ByCounters // what triggers have not noted until now
	return append(dirt, LeafChanges(before, leaves, counters)...), nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
