package integration

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Buckets that are called after their end are called after later times than all their rows: of what had left, or is lacking in a view
// in its turn, they keep that one, too, with whose end it ended.
func TestABucketThatIsCalledAfterItsEndKeepsWhatHadLeftBefore(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	const ends = `SELECT date_trunc('hour', ts) + interval '1 hour' AS hour, device, count(*) AS n FROM readings WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`
	s.incremental(t, "hourly", hourlyReadings)
	s.incremental(t, "early", ends)
	pgtest.Exec(t, s.alice, `CREATE VIEW between_them AS SELECT hour AS ts, device, n FROM hourly WHERE mvscheduler.in_window(hour)`,
		`CREATE VIEW between_ends AS SELECT hour AS ts, device, n FROM early WHERE mvscheduler.in_window(hour)`)
	s.incremental(t, "of_rows", `SELECT date_trunc('hour', ts) + interval '1 hour' AS hour, device, sum(n) AS n FROM between_them GROUP BY 1, 2`)
	s.incremental(t, "of_ends", `SELECT date_trunc('hour', ts) + interval '1 hour' AS hour, device, sum(n) AS n FROM between_ends GROUP BY 1, 2`)
	startSidecar(t, s.db)
	s.incremented(t, "hourly", "early", "of_rows", "of_ends")
	s.snapshotOf(t, "of_rows", "rows_before")
	s.snapshotOf(t, "of_ends", "ends_before")
	s.readingsLeave(t, 84, 5)
	s.incremental(t, "late", ends)
	s.incremented(t, "late")
	pgtest.Exec(t, s.alice, `CREATE OR REPLACE VIEW between_them AS SELECT ts, device, 1::bigint AS n FROM readings WHERE mvscheduler.in_window(ts)`,
		`CREATE OR REPLACE VIEW between_ends AS SELECT hour AS ts, device, n FROM late WHERE mvscheduler.in_window(hour)`)
	s.incremented(t, "of_rows", "of_ends")
	const complete = `hour < date_trunc('day', now(), 'UTC')`
	require.Zero(t, s.lost(t, "rows_before", "of_rows", complete))
	require.Zero(t, s.lost(t, "ends_before", "of_ends", complete))
}

// What a view lacks stays noted among its labels. Those that have no zone can be as much later than the rows as the zone is ahead.
func TestTheHoursKeepWhatAViewOfAZoneThatIsAheadNeverHad(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	const ahead = "Pacific/Tongatapu" // by 13 hours, all the year
	s.readings(t, 9)
	s.incremental(t, "hourly", hourlyReadings)
	pgtest.Exec(t, s.alice, `CREATE VIEW between_them AS SELECT hour AS ts, device, n FROM hourly WHERE mvscheduler.in_window(hour)`)
	s.incremental(t, "there", `SELECT date_trunc('hour', ts) AS hour, device, sum(n) AS n FROM between_them GROUP BY 1, 2`, "timezone", ahead)
	startSidecar(t, s.db)
	s.incremented(t, "hourly", "there")
	s.snapshotOf(t, "there", "before")
	s.readingsLeave(t, 84, 5)
	s.incremental(t, "bare", `SELECT date_trunc('hour', ts AT TIME ZONE '`+ahead+`') AS hour, device, count(*) AS n FROM readings WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, "timezone", ahead)
	s.incremented(t, "bare")
	pgtest.Exec(t, s.alice, `CREATE OR REPLACE VIEW between_them AS SELECT hour AT TIME ZONE '`+ahead+`' AS ts, device, n FROM bare WHERE mvscheduler.in_window(hour)`)
	s.incremented(t, "there")
	require.Zero(t, s.lost(t, "before", "there", `hour < date_trunc('hour', now())`))
}

// A view that was filled when partitions of the table had left has had them since by another one: when it reads the table again it keeps them.
func TestAViewKeepsWhatItHasGotElsewhereOfWhatHadLeftBeforeItWasFilled(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.incremental(t, "hourly", hourlyReadings)
	startSidecar(t, s.db)
	s.incremented(t, "hourly")
	s.readingsLeave(t, 84, 5)
	const ofReadings = ` VIEW between_them AS SELECT ts, device, 1::bigint AS n FROM readings WHERE mvscheduler.in_window(ts)`
	pgtest.Exec(t, s.alice, `CREATE`+ofReadings)
	s.incremental(t, "again", `SELECT date_trunc('hour', ts) AS hour, device, sum(n) AS n FROM between_them GROUP BY 1, 2`)
	s.incremented(t, "again")
	young := ask[int64](t, s.alice, `SELECT count(*) FROM again`)
	pgtest.Exec(t, s.alice, `CREATE OR REPLACE VIEW between_them AS SELECT hour AS ts, device, n FROM hourly WHERE mvscheduler.in_window(hour)`)
	s.incremented(t, "again")
	require.Greater(t, ask[int64](t, s.alice, `SELECT count(*) FROM again`), young)
	s.snapshotOf(t, "again", "before")
	pgtest.Exec(t, s.alice, `CREATE OR REPLACE`+ofReadings)
	s.incremented(t, "again")
	require.Zero(t, s.lost(t, "before", "again", `hour < date_trunc('day', now(), 'UTC')`))
}

// What the view that the days begin to read was not built for does not come back with the partitions that it has lost besides.
func TestTheDaysKeepWhatAViewWasNotBuiltForWhenItsPartitionsAreBack(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.daysByView(t)
	s.minutely(t, "mins", "retention_period", "6 days")
	s.incremented(t, "mins")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '3 days' WHERE name LIKE '%.mins'`)
	until(t, s.root, `SELECT count(*) >= 2 FROM mvscheduler.kept WHERE detached_at IS NOT NULL`)
	s.pruned(t)
	pgtest.Exec(t, s.alice, toMins)
	s.incremented(t, "daily")
	require.Zero(t, s.lost(t, "before", "daily", completeDays))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = NULL WHERE name LIKE '%.mins'`)
	until(t, s.root, `SELECT count(*) = 0 FROM mvscheduler.kept WHERE detached_at IS NOT NULL`)
	pgtest.Exec(t, s.alice, `INSERT INTO readings VALUES (now() - interval '5 days', 77, 1)`)
	s.incremented(t, "mins", "daily")
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM daily WHERE device = 77`), "what is back is followed")
	require.Zero(t, s.lost(t, "before", "daily", completeDays))
}

// A view begins to read another one while a partition of that one is put aside, by a run that has looked who reads it already; and the other
// way round.
func TestAViewThatBeginsToReadWhatIsBeingPutAsideWaitsAndKeepsIt(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.incremental(t, "hourly", hourlyReadings)
	s.minutely(t, "mins")
	views := []string{"first", "second", "third"}
	for _, view := range views {
		pgtest.Exec(t, s.alice, `CREATE VIEW below_`+view+` AS SELECT hour AS ts, device, n FROM hourly WHERE mvscheduler.in_window(hour)`)
		s.incremental(t, view, `SELECT date_trunc('hour', ts) AS hour, device, sum(n) AS n FROM below_`+view+` GROUP BY 1, 2`)
	}
	sidecar := startSidecar(t, s.db)
	s.incremented(t, append([]string{"hourly", "mins"}, views...)...)
	require.Zero(t, sidecar.stop())
	id := func(view string) int64 {
		return ask[int64](t, s.root, `SELECT view_id FROM mvscheduler.view_state WHERE name LIKE '%.' || $1`, view)
	}
	mins := id("mins")
	require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.frozen WHERE target = $1`, mins))
	asides, reads := s.db.Conn(t, ""), s.db.Conn(t, "")
	putAside := func(tx pgx.Tx) error {
		_, err := catalog.IsAside(context.WithoutCancel(t.Context()), tx, mins, 0)
		return err
	}
	read := func(view string) func(pgx.Tx) error {
		pgtest.Exec(t, s.alice, `CREATE OR REPLACE VIEW below_`+view+` AS SELECT minute AS ts, device, n FROM mins WHERE mvscheduler.in_window(minute)`)
		reader := id(view)
		return func(tx pgx.Tx) error { return catalog.SyncSources(context.WithoutCancel(t.Context()), tx, reader) }
	}
	// waits has a session do something first, in a transaction that ends once another one waits for it.
	waits := func(holder *pgx.Conn, first func(pgx.Tx) error, more func(pgx.Tx) error, waiter *pgx.Conn, then func(pgx.Tx) error) {
		t.Helper()
		tx, err := holder.Begin(t.Context())
		require.NoError(t, err)
		require.NoError(t, first(tx))
		done := make(chan error, 1)
		go func() { done <- pgx.BeginFunc(context.WithoutCancel(t.Context()), waiter, then) }()
		until(t, s.root, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Lock')`, waiter.PgConn().PID())
		require.NoError(t, more(tx))
		require.NoError(t, tx.Commit(t.Context()))
		require.NoError(t, <-done)
	}
	for n, view := range views[:2] { // the first partition that leaves, and another one
		border := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, n-6)
		waits(asides, putAside, func(tx pgx.Tx) error {
			return catalog.Detached(t.Context(), tx, catalog.Attempt{}, catalog.Moved{Target: mins}, border)
		}, reads, read(view))
		require.Equal(t, border.Add(time.Hour), ask[time.Time](t, s.root, `SELECT times FROM mvscheduler.frozen WHERE target = $1`, id(view)).UTC())
	}
	waits(reads, read("third"), func(pgx.Tx) error { return nil }, asides, putAside)
}
