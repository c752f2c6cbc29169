package integration

import (
	"encoding/json"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A partition that its owner detaches while a run waits to put it aside was not put aside: nothing says that it was, and no view is
// frozen for it.
func TestAPartitionThatItsOwnerDetachesFirstWasNotPutAside(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.oldYear(t)
	s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM raw WHERE mvscheduler.in_window(ts) GROUP BY 1`)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	hand := s.db.Conn(t, s.owner)
	pgtest.Exec(t, hand, `SET TimeZone = 'UTC'`, `BEGIN`, `LOCK TABLE old IN ACCESS SHARE MODE`) // the DETACH of the run waits, and its plan for nothing
	pgtest.Exec(t, s.alice, keepAYear)
	until(t, s.root, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'REFRESH%' AND wait_event_type = 'Lock')`)
	pgtest.Exec(t, hand, `ALTER TABLE raw DETACH PARTITION old`, `COMMIT`)
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'prune') AND NOT EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'prune' AND state IN ('queued', 'running'))`)
	if state, reason := s.last(t, "raw", "state"), s.last(t, "raw", "reason"); state == "succeeded" {
		require.Contains(t, reason, "old is not what it was any more")
	} else { // on a machine that stood still the run has given up before
		t.Log(state, reason)
	}
	require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.pruning`))
	require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.kept`))
	require.True(t, ask[bool](t, s.root, nothingFrozen))
}

// Who has dropped a partition holds locks until the transaction ends, also on tables that it has foreign keys to. What it reads then
// takes no longer for all the partitions that stay.
func TestUnderTheLocksOfADropTheOtherPartitionsAreNotReadAgain(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.oldYear(t)
	pgtest.Exec(t, s.alice, keepAYear)
	partitions := func(q catalog.Querier) int {
		target, err := catalog.LoadPruneTarget(t.Context(), q, ask[int64](t, s.root, `SELECT id FROM mvscheduler.source_state`))
		require.NoError(t, err)
		var facts struct {
			Relation struct{ Partitions []struct{ Name string } }
		}
		require.NoError(t, json.Unmarshal(target.Facts, &facts))
		return len(facts.Relation.Partitions)
	}
	conn := s.db.Conn(t, "")
	require.NoError(t, pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
		require.Equal(t, 1, partitions(tx))
		gone, err := catalog.Dropped(t.Context(), tx, catalog.Attempt{}, catalog.Moved{})
		require.True(t, gone)
		require.Zero(t, partitions(tx))
		return err
	}))
	require.Equal(t, 1, partitions(conn), "it ends with the transaction")
}
