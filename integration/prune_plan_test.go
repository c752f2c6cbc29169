package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// What is below the readers takes seconds to read where it is much, and while a DETACH holds its locks nobody reads or
// writes the table. So a partition that is attached between the plan and the lock has the lock given back.
func TestWhatTheReadersReadIsNotReadWhileAPruneHoldsTheTable(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 6)
	s.incremental(t, "hourly", hourlyReadings)
	startSidecar(t, s.db)
	s.incremented(t, "hourly")
	reader := s.db.Conn(t, s.owner)
	pgtest.Exec(t, s.alice, `CREATE TABLE ahead (LIKE readings)`)
	pgtest.Exec(t, reader, `BEGIN`, `SELECT count(*) FROM readings`)
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '3 days')`)
	until(t, s.root, dropWaits)
	pgtest.Exec(t, s.alice, `ALTER TABLE readings ATTACH PARTITION ahead FOR VALUES FROM ('2050-01-01') TO ('2050-01-02')`)
	pgtest.Exec(t, reader, `COMMIT`)
	until(t, s.root, `SELECT count(*) >= 2 FROM mvscheduler.kept`)
	s.pruned(t)
	require.Equal(t, "succeeded", ask[string](t, s.root, `SELECT string_agg(state, ' ') FROM mvscheduler.run WHERE kind = 'prune'`), "the same run has put them aside")

	detached, read, within := 0, 0, make(map[int]bool) // by PID: between the REFRESH of the gate and the end of its transaction
	for _, line := range s.db.Log(t) {
		switch sql := line.Executed(); {
		case line.Application != "mvscheduler run":
		case strings.Contains(sql, "REFRESH MATERIALIZED VIEW") && strings.Contains(sql, "readings__gate"):
			within[line.PID] = true
			detached++
		case strings.HasPrefix(strings.ToLower(sql), "commit"), strings.HasPrefix(strings.ToLower(sql), "rollback"):
			within[line.PID] = false
		case within[line.PID] && strings.Contains(sql, "tables_below"):
			read++
		}
	}
	require.Greater(t, detached, 2)
	require.Zero(t, read)
}

// Nor does what is older leave before a view has the rows that were attached meanwhile: they would be frozen with it.
func TestRowsThatAreAttachedWhileAPruneWaitsAreNotFrozenBeforeTheViewHasThem(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 6)
	s.incremental(t, "hourly", hourlyReadings)
	startSidecar(t, s.db)
	s.incremented(t, "hourly")
	reader := s.db.Conn(t, s.owner)
	pgtest.Exec(t, s.alice, `CREATE TABLE ancient (LIKE readings)`, `INSERT INTO ancient VALUES ('2001-01-01 12:00+00', 1, 1)`)
	pgtest.Exec(t, reader, `BEGIN`, `SELECT count(*) FROM readings`)
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '3 days')`)
	until(t, s.root, dropWaits)
	pgtest.Exec(t, s.alice, `ALTER TABLE readings ATTACH PARTITION ancient FOR VALUES FROM ('2001-01-01') TO ('2001-01-02')`)
	pgtest.Exec(t, reader, `COMMIT`)
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'prune' AND finished_at IS NOT NULL)`)
	s.incremented(t, "hourly")
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM hourly WHERE hour < '2002-01-01'`))
}

// Who begins to read the table while a DETACH waits keeps what it was to put aside, and is named.
func TestAViewThatIsMadeWhileAPruneWaitsKeepsThePartitionsAndIsNamed(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 6)
	startSidecar(t, s.db)
	reader := s.db.Conn(t, s.owner)
	pgtest.Exec(t, reader, `BEGIN`, `SELECT count(*) FROM readings`)
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '3 days')`)
	until(t, s.root, dropWaits)
	s.incremental(t, "late", hourlyReadings)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.pause_view('late')`)
	pgtest.Exec(t, reader, `COMMIT`)
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'prune' AND finished_at IS NOT NULL)`)
	require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.kept`))
	require.Contains(t, ask[string](t, s.root, `SELECT reason FROM mvscheduler.run WHERE kind = 'prune' ORDER BY id LIMIT 1`), "view "+s.owner+".late reads it and ")
}

// The sidecar can be quicker than who asks: a run that ends after the facts were read, and before anything was asked for, is what was waited for.
func TestPruneDoesNotWaitForWhatIsDoneAlready(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 5)
	pgtest.Exec(t, s.alice, fmt.Sprintf(leaveReadings, "2 days"))
	facts := s.db.Conn(t, "")
	pgtest.Exec(t, facts, `BEGIN`, `LOCK mvscheduler.kept`)
	pruned := make(chan result, 1)
	go func() { pruned <- mvscheduler(t, s.db, s.owner, "", "prune", "readings", "--wait") }()
	until(t, s.root, `SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'mvscheduler.kept'::regclass)`)
	pgtest.Exec(t, s.root, `
INSERT INTO mvscheduler.run (view_id, view_name, owner, kind, cause, slot, due_at, state, started_at, finished_at, reason)
SELECT id, '`+s.owner+`.readings', '`+s.owner+`', 'prune', 'schedule', now(), now(), 'succeeded', now(), now(), 'done already' FROM mvscheduler.source_state`)
	pgtest.Exec(t, facts, `COMMIT`)
	out := <-pruned
	require.Zero(t, out.code, out.stderr)
	require.Contains(t, out.stderr, "done already")
}
