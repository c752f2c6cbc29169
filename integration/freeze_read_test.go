package integration

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// The days read the hours, and then the table of which old partitions have left: what they show of these they keep.
func TestAViewThatReadsALeftTableFromNowOnKeepsWhatItHas(t *testing.T) {
	heavy(t)
	t.Parallel()
	const dailyOfReadings = `SELECT date_trunc('day', ts) AS day, device, count(*)::numeric AS n, sum(value) AS total FROM readings WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`
	const dailyOfHourly = `SELECT date_trunc('day', ts) AS day, device, sum(n) AS n, sum(total) AS total FROM hourly WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`
	const old = `day < date_trunc('day', now(), 'UTC') - interval '4 days'`
	pruned := func(t *testing.T, daily string) *scene {
		t.Helper()
		s := newScene(t)
		s.readings(t, 9)
		s.incremental(t, "hourly", strings.Replace(hourlyReadings, "AS hour", "AS ts", 1), "time_column", "ts")
		pgtest.Exec(t, s.alice, `CREATE VIEW between_them AS SELECT ts, device, n::numeric, total FROM hourly WHERE mvscheduler.in_window(ts)`)
		s.incremental(t, "daily", daily, "time_column", "day", "bucket_width", "1 day")
		startSidecar(t, s.db)
		s.incremented(t, "hourly", "daily")
		s.snapshotOf(t, "daily", "before")
		pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '3 days')`)
		until(t, s.root, `SELECT count(*) > 0 FROM mvscheduler.run WHERE kind = 'prune' AND state = 'succeeded'`)
		require.NotZero(t, ask[int64](t, s.alice, `SELECT count(*) FROM before WHERE `+old))
		return s
	}
	followed := func(t *testing.T, s *scene) {
		t.Helper()
		pgtest.Exec(t, s.alice, `INSERT INTO readings VALUES (now(), 77, 5)`)
		s.incremented(t, "hourly", "daily")
		require.Zero(t, s.lost(t, "before", "daily", old))
		require.Zero(t, s.lost(t, "daily", "before", old))
		require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM daily WHERE device = 77`))
	}
	t.Run("by its query", func(t *testing.T) {
		t.Parallel()
		s := pruned(t, dailyOfHourly)
		_, err := s.alice.Exec(t.Context(), `UPDATE mvscheduler.views SET query = $1 WHERE name LIKE '%.daily'`, dailyOfReadings)
		require.ErrorContains(t, err, "daily cannot be built anew: what it showed before ")
		followed(t, s)
		pgtest.Exec(t, s.alice, `SELECT mvscheduler.restore_view('readings')`)
		s.incremented(t, "hourly", "daily") // by which all that has left is back
		_, err = s.alice.Exec(t.Context(), `UPDATE mvscheduler.views SET query = $1 WHERE name LIKE '%.daily'`, dailyOfReadings)
		require.NoError(t, err)
		s.incremented(t, "daily")
		same(t, s.alice, "daily")
	})
	t.Run("by a plain view that its query reads", func(t *testing.T) {
		t.Parallel()
		s := pruned(t, `SELECT date_trunc('day', ts) AS day, device, sum(n) AS n, sum(total) AS total FROM between_them GROUP BY 1, 2`)
		pgtest.Exec(t, s.alice, `CREATE OR REPLACE VIEW between_them AS SELECT ts, device, 1::numeric AS n, value AS total FROM readings WHERE mvscheduler.in_window(ts)`)
		followed(t, s)
	})
	t.Run("by a table above it", func(t *testing.T) {
		t.Parallel()
		s := pruned(t, `SELECT date_trunc('day', ts) AS day, device, sum(n) AS n, sum(total) AS total FROM between_them GROUP BY 1, 2`)
		pgtest.Exec(t, s.alice, `CREATE TABLE everywhere (ts timestamptz NOT NULL, device int NOT NULL, value numeric) PARTITION BY LIST (device)`, `ALTER TABLE everywhere ATTACH PARTITION readings DEFAULT`,
			`CREATE OR REPLACE VIEW between_them AS SELECT ts, device, 1::numeric AS n, value AS total FROM everywhere WHERE mvscheduler.in_window(ts)`)
		followed(t, s)
	})
	t.Run("by a view that was never built that far back", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		s.readings(t, 9)
		s.minutely(t, "mins", "retention_period", "3 days")
		pgtest.Exec(t, s.alice, `CREATE VIEW between_them AS SELECT ts, device, 1::numeric AS n FROM readings WHERE mvscheduler.in_window(ts)`)
		s.incremental(t, "daily", `SELECT date_trunc('day', ts) AS day, device, sum(n) AS n FROM between_them GROUP BY 1, 2`, "time_column", "day", "bucket_width", "1 day")
		startSidecar(t, s.db)
		s.incremented(t, "mins", "daily")
		s.snapshotOf(t, "daily", "before")
		pgtest.Exec(t, s.alice, `CREATE OR REPLACE VIEW between_them AS SELECT minute AS ts, device, n::numeric AS n FROM mins WHERE mvscheduler.in_window(minute)`, `INSERT INTO readings VALUES (now(), 77, 5)`)
		s.incremented(t, "mins", "daily")
		require.Zero(t, s.lost(t, "before", "daily", old))
		require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM daily WHERE device = 77`))
	})
	for name, again := range map[string]string{
		"of which the row was deleted":                   `SELECT`,
		"of which the row was deleted and inserted anew": `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '30 days')`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := pruned(t, `SELECT date_trunc('day', ts) AS day, device, sum(n) AS n, sum(total) AS total FROM between_them GROUP BY 1, 2`)
			pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.source_retention`, again)
			until(t, s.root, `SELECT count(*) = 0 FROM mvscheduler.kept`) // what belongs to it was forgotten
			_, err := s.alice.Exec(t.Context(), `UPDATE mvscheduler.views SET query = $1 WHERE name LIKE '%.daily'`, dailyOfReadings)
			require.ErrorContains(t, err, "daily cannot be built anew: what it showed before ")
			pgtest.Exec(t, s.alice, `CREATE OR REPLACE VIEW between_them AS SELECT ts, device, 1::numeric AS n, value AS total FROM readings WHERE mvscheduler.in_window(ts)`)
			followed(t, s)
			pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.source_retention`, `DROP TABLE readings CASCADE`)
			until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.frozen WHERE target < 0)`)
		})
	}
	t.Run("and when it reads what has everything instead", func(t *testing.T) {
		t.Parallel()
		s := pruned(t, `SELECT date_trunc('day', ts) AS day, device, sum(n) AS n, sum(total) AS total FROM between_them GROUP BY 1, 2`)
		pgtest.Exec(t, s.alice, `CREATE OR REPLACE VIEW between_them AS SELECT ts, device, 1::numeric AS n, value AS total FROM readings WHERE mvscheduler.in_window(ts)`)
		followed(t, s)
		pgtest.Exec(t, s.alice, `CREATE TABLE archive AS SELECT ts, 5 AS device, n::numeric AS n, total FROM hourly`,
			`CREATE OR REPLACE VIEW between_them AS SELECT ts, device, n, total FROM archive WHERE mvscheduler.in_window(ts)`)
		s.incremented(t, "daily")
		require.Zero(t, s.lost(t, "before", "daily", old), "frozen is frozen")
		require.Equal(t, "5", ask[string](t, s.alice, `SELECT string_agg(DISTINCT device::text, ' ') FROM daily WHERE day >= date_trunc('day', now(), 'UTC') - interval '1 day'`), "what comes after is of the archive")
		_, err := s.alice.Exec(t.Context(), `UPDATE mvscheduler.views SET query = $1 WHERE name LIKE '%.daily'`, strings.NewReplacer("readings", "archive", "count(*)", "sum(n)", "sum(value)", "sum(total)").Replace(dailyOfReadings))
		require.ErrorContains(t, err, "daily cannot be built anew: what it showed before ")
	})
	t.Run("with columns more", func(t *testing.T) {
		t.Parallel()
		s := pruned(t, dailyOfHourly)
		_, err := s.alice.Exec(t.Context(), `UPDATE mvscheduler.views SET query = $1 WHERE name LIKE '%.daily'`,
			`SELECT date_trunc('day', ts) AS day, device, count(*)::numeric AS n, sum(value) AS total, max(value) AS most FROM readings WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`)
		require.ErrorContains(t, err, "daily cannot be built anew: what it showed before ")
		s.incremented(t, "daily")
		require.Zero(t, s.lost(t, "before", "daily", old))
	})
}

// It has no bucket of what had left before it was made: there is nothing to lose, until more leaves.
func TestAViewThatIsYoungerThanWhatHasLeftCanBeBuiltAnew(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	startSidecar(t, s.db)
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '5 days')`)
	until(t, s.root, `SELECT count(*) > 0 FROM mvscheduler.run WHERE kind = 'prune' AND state = 'succeeded'`)
	const more = `SELECT date_trunc('hour', ts) AS hour, device, count(*) AS n, sum(value) AS total, max(value) AS most FROM readings WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`
	days := `SELECT (ts AT TIME ZONE 'Europe/Berlin')::date AS day, count(*) AS n FROM readings WHERE mvscheduler.in_window(ts) GROUP BY 1`
	s.incremental(t, "hourly", hourlyReadings)
	s.incremental(t, "daily", days, "time_column", "day", "bucket_width", "1 day", "timezone", "Europe/Berlin")
	s.incremented(t, "hourly", "daily")
	until(t, s.root, `SELECT count(*) = 2 FROM mvscheduler.frozen WHERE times > '-infinity'`) // as every reader is

	pgtest.Exec(t, s.alice, `INSERT INTO readings SELECT min(ts), 1, 1000 FROM readings`)
	s.incremented(t, "hourly", "daily")
	same(t, s.alice, "hourly") // the bucket at the edge is complete
	edit := func(view, query string) error {
		_, err := s.alice.Exec(t.Context(), `UPDATE mvscheduler.views SET query = $2 WHERE name LIKE '%.' || $1`, view, query)
		return err
	}
	require.NoError(t, edit("hourly", more))
	require.NoError(t, edit("daily", strings.Replace(days, "count(*) AS n", "count(*) AS n, max(value) AS most", 1)))
	s.incremented(t, "hourly", "daily")
	for _, view := range []string{"hourly", "daily"} {
		same(t, s.alice, view)
		require.True(t, ask[bool](t, s.alice, `SELECT min(most) > 0 FROM `+view), "it is in place")
	}
	require.NoError(t, edit("hourly", hourlyReadings), "and again")
	s.incremented(t, "hourly")
	same(t, s.alice, "hourly")

	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET retention_period = '1 day'`)
	until(t, s.root, `SELECT count(DISTINCT run_id) > 1 FROM mvscheduler.pruning WHERE action = 'detach'`)
	s.pruned(t)
	require.ErrorContains(t, edit("hourly", more), "hourly cannot be built anew: what it showed before ")
	require.ErrorContains(t, edit("daily", days), "daily cannot be built anew: what it showed before ")
	s.snapshotOf(t, "hourly", "before")
	pgtest.Exec(t, s.root, `INSERT INTO mvscheduler.dirt (view_id, lo, hi) SELECT view_id, '-infinity', 'infinity' FROM mvscheduler.view_state`)
	s.incremented(t, "hourly")
	require.Zero(t, s.lost(t, "before", "hourly", "true"))
}
