package refresh

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
)

func TestWhatHasToBeComputedSinceTheLastRefresh(t *testing.T) {
	t.Parallel()
	leaves := map[uint32]Leaf{5: {OID: 5, Name: "p", Kind: "r", Lo: at(0), Hi: at(24), Counters: "7", Covered: true}}
	written := map[uint32]Leaf{5: {OID: 5, Name: "p", Kind: "r", Lo: at(0), Hi: at(24), Counters: "8", Covered: true}}
	changes := []catalog.Change{{Lo: at(3), Hi: at(4)}}
	noted := Dirt{Lo: at(3), Hi: at(4)}
	counted := Dirt{at(0), at(24), "rows of p were written"}
	late := func(hour int) Dirt { return Dirt{Lo: at(hour), Why: "what is no older than lateness"} }
	for name, c := range map[string]struct {
		before   string // tracking at the last refresh
		tracking string
		change   func(*catalog.Incremental)
		now      map[uint32]Leaf
		clock    int
		want     []Dirt
	}{
		"nothing but what was noted":               {ByTrigger, ByTrigger, nil, leaves, 50, []Dirt{noted}},
		"counters do not matter":                   {ByTrigger, ByTrigger, nil, written, 50, []Dirt{noted}},
		"counters":                                 {ByCounters, ByCounters, nil, written, 50, []Dirt{noted, counted}},
		"counters, for the last time":              {ByCounters, ByTrigger, nil, written, 50, []Dirt{noted, counted}},
		"counters, for the first time":             {ByTrigger, ByCounters, nil, written, 50, []Dirt{noted, counted}},
		"lateness counts from the last refresh":    {ByLateness, ByLateness, nil, written, 50, []Dirt{noted, late(40 - 10 - 2)}},
		"unless the clock was put back":            {ByLateness, ByLateness, nil, leaves, 35, []Dirt{noted, late(35 - 10 - 2)}},
		"lateness, for the first time":             {ByTrigger, ByLateness, nil, leaves, 50, []Dirt{noted, late(40 - 10 - 2)}},
		"lateness, for the last time":              {ByLateness, ByTrigger, nil, leaves, 50, []Dirt{Everything("what changed before was not looked for")}},
		"lateness, for the last time, to counters": {ByLateness, ByCounters, nil, leaves, 50, []Dirt{Everything("what changed before was not looked for")}},
		"never filled":                             {ByTrigger, ByTrigger, func(i *catalog.Incremental) { i.Leaves = nil }, leaves, 50, []Dirt{Everything("it is filled for the first time")}},
		"without in_window, being filled":          {ByTrigger, ByTrigger, func(i *catalog.Incremental) { i.Fill, i.Bound = new("{}"), false }, leaves, 50, []Dirt{Everything("it is filled for the first time")}},
		"filled step by step":                      {ByTrigger, ByTrigger, func(i *catalog.Incremental) { i.Fill = new("{}") }, leaves, 50, []Dirt{noted}},
		"another cluster":                          {ByTrigger, ByTrigger, func(i *catalog.Incremental) { i.Seen = false }, leaves, 50, []Dirt{Everything("it was restored, or upgraded, into another cluster")}},
	} {
		state := catalog.Incremental{
			Bound: true, Lateness: 10 * time.Hour, Width: 2 * time.Hour,
			LastRefresh: catalog.LastRefresh{
				Seen: true, SeenAt: at(40), Tracking: &c.before,
				Leaves: new(`[{"oid": 5, "name": "p", "kind": "r", "lo": "2026-03-01T00:00:00Z", "hi": "2026-03-02T00:00:00Z", "counters": "7", "covered": true}]`),
			},
		}
		if c.change != nil {
			c.change(&state)
		}
		got, err := Unseen(state, changes, c.now, c.tracking, *at(c.clock))
		require.NoError(t, err, name)
		require.Equal(t, c.want, got, name)
	}
}

// Triggers are no help where nobody can have any, or not in time.
func TestWhatNobodyNotesIsDirt(t *testing.T) {
	t.Parallel()
	leaf := Leaf{Name: "p", Kind: "r", Counters: "7", Covered: true}
	with := func(change func(*Leaf)) map[uint32]Leaf {
		other := leaf
		change(&other)
		return map[uint32]Leaf{5: other}
	}
	foreign, sequence, stored := func(l *Leaf) { l.Kind = "f" }, func(l *Leaf) { l.Kind = "S" }, func(l *Leaf) { l.Kind = "m" }
	for why, c := range map[string]struct{ before, now map[uint32]Leaf }{
		"p is a foreign table, of which nobody knows what changed": {with(foreign), with(foreign)},
		"p is a sequence, of which nobody knows what changed":      {with(sequence), with(sequence)},
		"rows of p were written":                                   {with(stored), with(func(l *Leaf) { stored(l); l.Counters = "8" })},
		"p was watched in another way":                             {with(func(l *Leaf) { l.Hidden = true }), with(func(*Leaf) {})},
	} {
		require.Equal(t, []Dirt{Everything(why)}, LeafChanges(c.before, c.now, false))
	}
	require.Equal(t, []Dirt{Everything("p was watched in another way")}, LeafChanges(with(func(*Leaf) {}), with(func(l *Leaf) { l.Covered = false }), false))
	require.Empty(t, LeafChanges(with(stored), with(stored), false))
}

// Who wrote to what is watched from now on may not have known.
func TestWhatIsWatchedFromNowOnIsCovered(t *testing.T) {
	t.Parallel()
	is := func(covered bool, identity, kind string) map[uint32]Leaf {
		return map[uint32]Leaf{5: {OID: 5, Covered: covered, Identity: identity, Kind: kind}}
	}
	require.True(t, Covered(is(false, "1", "r"), is(true, "1", "r")), "it was not watched")
	require.True(t, Covered(is(true, "1", "r"), is(true, "2", "r")), "not all the time")
	require.False(t, Covered(is(true, "1", "r"), is(true, "1", "r")))
	require.False(t, Covered(is(true, "1", "r"), is(false, "2", "r")), "nor is it now")
	require.False(t, Covered(is(false, "1", "v"), is(true, "2", "v")), "a plain view")
	require.False(t, Covered(nil, is(true, "1", "r")), "what is new is computed anyway")
}
