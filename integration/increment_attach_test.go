package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// PostgreSQL shows others what a transaction wrote before it tells them of the partitions that it attached. A refresh within that moment, which
// a debugger makes last, would take what it does not read for computed.
func TestWhatAnUnfinishedCommitBringsOrTakesIsNotTakenForComputed(t *testing.T) {
	heavy(t)
	t.Parallel()
	const (
		detach  = `ALTER TABLE raw DETACH PARTITION old CONCURRENTLY`
		attach  = `ALTER TABLE raw ATTACH PARTITION coming FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')`
		replace = `CREATE OR REPLACE FUNCTION times(n bigint) RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT 2 * n'`
		query   = `SELECT date_trunc('hour', ts) AS hour, %s AS n FROM raw WHERE %s GROUP BY 1`
	)
	for name, c := range map[string]struct{ count, method, tracking, sql, end string }{
		"a partition, full":            {"count(*)", "full", "auto", attach, "COMMIT"}, // a function of a user's keeps runs from being skipped anyway
		"a partition, triggers":        {"count(*)", "incremental", "trigger", attach, "COMMIT"},
		"a partition, counters":        {"count(*)", "incremental", "counters", attach, "COMMIT"},
		"a function":                   {"times(count(*))", "incremental", "auto", replace, "COMMIT"},
		"a partition, prepared":        {"count(*)", "incremental", "counters", attach, "COMMIT PREPARED"},
		"a partition leaves, full":     {"count(*)", "full", "auto", "", detach},
		"a partition leaves, triggers": {"count(*)", "incremental", "trigger", "", detach},
		"a partition leaves, counters": {"count(*)", "incremental", "counters", "", detach},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			pgtest.Exec(t, s.root, `UPDATE mvscheduler.settings SET max_skips = 100`)
			pgtest.Exec(t, s.alice, `CREATE TABLE raw (ts timestamptz NOT NULL) PARTITION BY RANGE (ts)`, `CREATE TABLE old PARTITION OF raw FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')`,
				`CREATE TABLE coming (ts timestamptz NOT NULL)`, `INSERT INTO coming VALUES ('2026-02-02 10:00')`, `INSERT INTO old VALUES ('2026-01-02 10:00')`,
				`CREATE FUNCTION times(n bigint) RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT n'`, `SELECT pg_stat_force_next_flush()`, `SELECT 1`)
			if c.method == "full" {
				s.manage(t, "v", fmt.Sprintf(query, c.count, "true"))
			} else {
				s.manage(t, "v", fmt.Sprintf(query, c.count, "mvscheduler.in_window(ts)"), "method", c.method, "time_column", "hour", "bucket_width", "1 hour", "change_tracking", c.tracking)
			}
			startSidecar(t, s.db)
			until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE state = 'succeeded')`)
			// Every session of the sidecar that runs work knows the table as it is, and so do those that it keeps for later.
			pgtest.Exec(t, s.alice, `INSERT INTO old VALUES ('2026-01-02 10:00')`, `SELECT pg_stat_force_next_flush()`, `SELECT 1`)
			pgtest.Exec(t, s.root, makeDue)
			until(t, s.alice, `SELECT sum(n) = 2 FROM v`)

			writer := s.db.Conn(t, s.owner)
			moment := "AtEOXact_Inval"
			if c.sql != "" { // else it has transactions of its own
				pgtest.Exec(t, writer, `BEGIN`, c.sql)
			}
			end := c.end
			if end == "COMMIT PREPARED" {
				end += " '" + s.owner + "'"
				pgtest.Exec(t, writer, `PREPARE TRANSACTION '`+s.owner+`'`)
				pgtest.Exec(t, s.db.Conn(t, s.owner), `BEGIN`, `SELECT pg_current_xact_id()`) // and somebody else writes
				moment = "SendSharedInvalidMessages"
			}
			stopped, resume := pgtest.StopAt(t, writer, moment)
			committed := make(chan error, 1)
			go func() {
				_, err := writer.Exec(t.Context(), end)
				committed <- err
			}()
			stopped()
			const asks = "array_agg(k.transactionid" // whether somebody is within COMMIT
			asked := s.executed(t, asks)[0]
			runs := s.dueAgain(t)
			require.Eventually(t, func() bool { return runs() || s.executed(t, asks)[0] > asked }, time.Minute, 100*time.Millisecond)
			resume()
			require.NoError(t, <-committed)
			require.Eventually(t, runs, time.Minute, 10*time.Millisecond)
			require.Eventually(t, s.dueAgain(t), time.Minute, 10*time.Millisecond)
			whole := ask[int64](t, s.alice, `SELECT coalesce(sum(n), 0)::bigint FROM (`+fmt.Sprintf(query, c.count, "true")+`) AS q`)
			require.Equal(t, whole, ask[int64](t, s.alice, `SELECT coalesce(sum(n), 0)::bigint FROM v`), "nothing is skipped that was not read")
		})
	}
}

// dueAgain makes every view due and returns whether the run of that has ended.
func (s *scene) dueAgain(t *testing.T) (ended func() bool) {
	t.Helper()
	const last = `SELECT coalesce(max(id), 0) FROM mvscheduler.run WHERE state IN ('succeeded', 'skipped')`
	before := ask[int64](t, s.root, last)
	pgtest.Exec(t, s.root, makeDue)
	return func() bool { return ask[int64](t, s.root, last) > before }
}
