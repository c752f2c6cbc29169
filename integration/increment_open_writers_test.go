package integration

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// The triggers of a view that is gone stay. When the next view of the table is registered, none is made, and nobody waits for a
// writer who wrote in between.
func TestWhatAnOpenWriterWroteBetweenTwoViewsIsNotMissed(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.views WHERE name LIKE '%.v'`)
	pgtest.Exec(t, s.root, `DELETE FROM mvscheduler.view_source AS v WHERE v.view_id NOT IN (SELECT view_id FROM mvscheduler.view_state)`) // the housekeeper
	writer := s.db.Conn(t, s.owner)
	pgtest.Exec(t, writer, `BEGIN`, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100)`)
	s.incremental(t, "v", hourly)
	s.incremented(t, "v")
	pgtest.Exec(t, writer, `COMMIT`)
	s.incremented(t, "v")
	t.Log(s.last(t, "v", "reason"))
	same(t, s.alice, "v")
}

// A writer at READ COMMITTED has written, and not committed, when a view by another column is registered and filled. With
// triggers that are right for any column none is made anew, so nobody waits for the writer.
func TestWhatAnOpenWriterWroteBeforeAViewByAnotherColumnIsNotMissed(t *testing.T) {
	t.Parallel()
	s, writer := openWriter(t)
	s.incremental(t, "by_seen", fmt.Sprintf(byDay, "seen"), "bucket_width", "1 day")
	s.incremented(t, "by_seen")
	pgtest.Exec(t, writer, `COMMIT`)
	s.incremented(t, "by_seen", "by_ts", "by_sold")
	t.Log(s.last(t, "by_seen", "reason"))
	same(t, s.alice, "by_ts")
	same(t, s.alice, "by_sold")
	same(t, s.alice, "by_seen")
}

// As before, by a change of the query.
func TestWhatAnOpenWriterWroteBeforeAViewChangedItsColumnIsNotMissed(t *testing.T) {
	t.Parallel()
	s, writer := openWriter(t)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = `+quote(fmt.Sprintf(byDay, "seen"))+` WHERE name LIKE '%.by_ts'`)
	s.incremented(t, "by_ts")
	pgtest.Exec(t, writer, `COMMIT`)
	s.incremented(t, "by_ts")
	t.Log(s.last(t, "by_ts", "reason"))
	same(t, s.alice, "by_ts")
}

// It is dirt once he commits and not before, of the partition alone that he wrote to; savepoints have numbers of their own.
func TestWhatAnOpenWriterWroteIsDirtWhenHeCommits(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE raw (ts timestamptz, k int) PARTITION BY RANGE (ts)`, `CREATE TABLE jan PARTITION OF raw FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')`,
		`CREATE TABLE feb PARTITION OF raw FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')`, `INSERT INTO raw VALUES ('2026-01-10 10:00+00', 1), ('2026-02-10 10:00+00', 1)`)
	const query = `SELECT date_trunc('hour', ts) AS hour, sum(k) AS n FROM raw WHERE mvscheduler.in_window(ts) GROUP BY 1`
	startSidecar(t, s.db)
	s.incremental(t, "v", query)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.views WHERE name LIKE '%.v'`)
	pgtest.Exec(t, s.root, `DELETE FROM mvscheduler.view_source AS v WHERE v.view_id NOT IN (SELECT view_id FROM mvscheduler.view_state)`) // the housekeeper
	writer := s.db.Conn(t, s.owner)
	pgtest.Exec(t, writer, `BEGIN`, `SAVEPOINT a`, `INSERT INTO raw VALUES ('2026-02-11 10:05+00', 5)`, `SAVEPOINT b`, `INSERT INTO raw VALUES ('2026-02-12 10:05+00', 5)`)
	s.incremental(t, "v", query)
	s.incremented(t, "v", "v")
	require.Contains(t, s.last(t, "v", "reason"), "nothing changed below")
	same(t, s.alice, "v")
	pgtest.Exec(t, writer, `RELEASE a`)
	s.incremented(t, "v")
	require.Contains(t, s.last(t, "v", "reason"), "nothing changed below")
	pgtest.Exec(t, writer, `COMMIT`)
	s.incremented(t, "v")
	require.Contains(t, s.last(t, "v", "reason"), "changed: 2026-02-01 00:00:00 to 2026-03-01 00:00:00 UTC ("+s.owner+".feb was written to by a transaction that did not know of the view yet)")
	same(t, s.alice, "v")
	s.incremented(t, "v")
	require.Contains(t, s.last(t, "v", "reason"), "nothing changed below")
}

// Nobody is connected any more who could be asked.
func TestWhatAPreparedTransactionWroteIsNotMissed(t *testing.T) {
	t.Parallel()
	s := sceneOn(t, pgtest.Dedicated(t, map[string]string{"max_prepared_transactions": "5"}))
	s.metrics(t)
	s.incremental(t, "v", hourly)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	writer := s.db.Conn(t, s.owner)
	pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.views WHERE name LIKE '%.v'`)
	pgtest.Exec(t, s.root, `DELETE FROM mvscheduler.view_source AS v WHERE v.view_id NOT IN (SELECT view_id FROM mvscheduler.view_state)`) // the housekeeper
	pgtest.Exec(t, writer, `BEGIN`, `SAVEPOINT a`, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100)`, `PREPARE TRANSACTION 'loader'`)
	s.incremental(t, "v", hourly)
	s.incremented(t, "v")
	pgtest.Exec(t, writer, `COMMIT PREPARED 'loader'`)
	s.incremented(t, "v")
	require.Contains(t, s.last(t, "v", "reason"), "did not know of the view yet")
	same(t, s.alice, "v")
}

// byDay is a query by one of the columns of raw.
const byDay = `SELECT %[1]s::date AS hour, sum(k) AS n FROM raw WHERE mvscheduler.in_window(%[1]s) GROUP BY 1`

// openWriter has written to raw, which two views by other columns follow, and has not committed.
func openWriter(t testing.TB) (*scene, *pgx.Conn) {
	t.Helper()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE raw (ts timestamptz, sold date, seen timestamptz, k int)`, `INSERT INTO raw VALUES ('2026-03-01 10:00+00', '2026-03-01', '2026-03-01 10:00+00', 1)`)
	startSidecar(t, s.db)
	for _, c := range []string{"ts", "sold"} {
		s.incremental(t, "by_"+c, fmt.Sprintf(byDay, c), "bucket_width", "1 day")
		s.incremented(t, "by_"+c)
	}
	s.incremented(t, "by_ts")
	writer := s.db.Conn(t, s.owner)
	pgtest.Exec(t, writer, `BEGIN`, `INSERT INTO raw VALUES ('2026-03-02 10:00+00', '2026-03-03', '2026-03-05 10:00+00', 10)`)
	return s, writer
}
