package integration

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A view that follows others waits for one of them that is being refreshed, and not for ever; and views that are
// stopped take no place from those that are not.
func TestAFollowerWaitsForWhatItReadsAndNotForEver(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	alice := a.db.Conn(t, a.alice)
	a.as(`INSERT INTO mvscheduler.views (name, query, refresh_interval) VALUES ('mallory.m', 'SELECT 1 AS id', '1 hour')`, `GRANT SELECT ON mallory.m TO alice`)
	pgtest.Exec(t, alice, a.sql(`INSERT INTO mvscheduler.views (name, query, refresh_interval, refresh_on) VALUES ('alice.a', 'SELECT 1 AS id', NULL, 'manual')`),
		a.sql(`INSERT INTO mvscheduler.views (name, query, refresh_interval, refresh_on) VALUES ('alice.d', 'SELECT a.id FROM alice.a AS a JOIN mallory.m AS m USING (id)', NULL, 'upstream')`))
	sidecar := startSidecar(t, a.db)
	refreshed(t, alice, a.sql("alice.a"))
	until(t, a.root, `SELECT count(*) = 3 FROM mvscheduler.view_health WHERE refreshes > 0`)
	until(t, a.root, `SELECT count(*) = 0 FROM mvscheduler.run WHERE state IN ('queued', 'running')`)
	sidecar.stop()
	claimed := func(after time.Duration) bool {
		t.Helper()
		tx, err := a.root.Begin(t.Context())
		require.NoError(t, err)
		defer func() { require.NoError(t, tx.Rollback(t.Context())) }()
		found, err := catalog.LockDue(t.Context(), tx, ask[time.Time](t, a.root, `SELECT clock_timestamp()`).Add(after), 6, 100)
		require.NoError(t, err)
		for _, d := range found {
			if d.Name == a.sql("alice.d") {
				return true
			}
		}
		return false
	}
	// alice.a was refreshed, and mallory.m does not end.
	pgtest.Exec(t, a.root, a.sql(`UPDATE mvscheduler.view_state SET upstream_seen = upstream_seen - 1 WHERE name = 'alice.d'`),
		a.sql(`INSERT INTO mvscheduler.run (view_id, view_name, owner, cause, slot, due_at, state, finished_at) SELECT view_id, name, owner, 'manual', now(), now(), 'succeeded', now() FROM mvscheduler.view_state WHERE name = 'alice.a'`))
	require.True(t, claimed(0))
	pgtest.Exec(t, a.root, a.sql(`INSERT INTO mvscheduler.run (view_id, view_name, owner, cause, slot, due_at, state, started_at) SELECT view_id, name, owner, 'schedule', now(), now(), 'running', now() FROM mvscheduler.view_state WHERE name = 'mallory.m'`))
	require.False(t, claimed(0), "it waits")
	require.False(t, claimed(4*time.Minute))
	require.True(t, claimed(6*time.Minute), "for five minutes at most")

	pgtest.Exec(t, a.root, `DELETE FROM mvscheduler.run WHERE state = 'running'`,
		a.sql(`UPDATE mvscheduler.view_state SET refresh_on = 'schedule', refresh_interval = '1 hour', next_due = now() - interval '1 minute', next_slot = now() - interval '1 minute' WHERE name = 'alice.d'`),
		a.sql(`DO $$ DECLARE r mvscheduler.view_state; BEGIN
		           SELECT * INTO r FROM mvscheduler.view_state WHERE name = 'alice.d';
		           FOR i IN 1..1000 LOOP
		               r.view_id := 100000 + i; r.name := 'alice.x' || i; r.priority := 1; r.enabled := false;
		               r.relation := (1000000 + i)::oid::regclass; r.query_relation := (2000000 + i)::oid::regclass; r.next_due := now() - interval '1 day';
		               INSERT INTO mvscheduler.view_state SELECT r.*;
		           END LOOP; END $$`))
	require.True(t, claimed(0), "beside a thousand that are disabled")
}
