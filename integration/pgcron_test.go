package integration

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgserver"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// withPgCron returns a database on a server where pg_cron itself keeps its jobs in database home; "" is this one,
// where everybody may schedule some.
func withPgCron(t *testing.T, home string) *pgtest.DB {
	t.Helper()
	if ask[int](t, pgtest.NewEmpty(t).Conn(t, ""), `SELECT count(*)::int FROM pg_available_extensions WHERE name = 'pg_cron'`) == 0 {
		t.Skip("this PostgreSQL comes without pg_cron (package postgresql-NN-cron)")
	}
	db := pgtest.Dedicated(t, map[string]string{"shared_preload_libraries": "pg_cron"})
	if home == "" {
		db.Exec(t, `ALTER SYSTEM SET cron.database_name = '`+db.Name+`'`)
		require.NoError(t, db.Server(t).Restart(t.Context(), pgserver.Fast))
		db.Exec(t, `CREATE EXTENSION pg_cron`)
		db.Exec(t, `GRANT USAGE ON SCHEMA cron TO PUBLIC`)
		home = db.Name
	}
	require.Equal(t, home, ask[string](t, db.Conn(t, ""), `SHOW cron.database_name`))
	return db
}

func TestPgCronItselfIsReadAndHandsItsJobsOver(t *testing.T) {
	t.Parallel()
	db := withPgCron(t, "")
	user := db.User(t, "alice")
	alice := db.Conn(t, user)
	pgtest.Exec(t, alice, `CREATE MATERIALIZED VIEW nightly AS SELECT 1 AS a`, `CREATE MATERIALIZED VIEW hourly AS SELECT 1 AS a`,
		`SELECT cron.schedule('night', '30 3 * * *', 'REFRESH MATERIALIZED VIEW `+user+`.nightly')`,
		`SELECT cron.schedule('@hourly', 'REFRESH MATERIALIZED VIEW CONCURRENTLY `+user+`.hourly')`)
	root := db.Conn(t, "")
	pgtest.Exec(t, root, `SELECT cron.schedule('0 4 * * *', 'VACUUM')`)
	bob := db.User(t, "bob") // who sees no job of alice's

	r := mvscheduler(t, db, bob, "", "adopt", "--from-pg-cron", "--dry-run", "-o", "json")
	require.Zero(t, r.code, r.stderr)
	require.NotContains(t, r.stdout, "nightly")
	var plans []struct{ View, Schedule, Timezone, Today, Stop, Result string }
	r = mvscheduler(t, db, user, "", "adopt", "--from-pg-cron", "--dry-run", "-o", "json")
	require.Zero(t, r.code, r.stderr)
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &plans))
	require.Len(t, plans, 2)
	for _, p := range plans {
		require.Equal(t, "would be adopted", p.Result)
		require.Equal(t, "UTC", p.Timezone, "cron.timezone is GMT")
	}
	require.Contains(t, plans[0].Today, "pg_cron job night")
	r = mvscheduler(t, db, user, "", "adopt", "--from-pg-cron")
	require.Zero(t, r.code, r.stderr)
	require.Equal(t, "hourly 0 * * * *, nightly 30 3 * * *", ask[string](t, alice, `SELECT string_agg(split_part(name, '.', 2) || ' ' || cron, ', ' ORDER BY name) FROM mvscheduler.views WHERE timezone = 'UTC'`))

	for _, role := range []string{"", user} {
		found, code := examine(t, db, role)
		require.Equal(t, 5, code)
		require.Len(t, about(found, "scheduler"), 2)
	}
	found, _ := examine(t, db, user)
	for _, f := range about(found, "scheduler") {
		require.Contains(t, f.What, "pg_cron refreshes it too")
		pgtest.Exec(t, alice, f.Fix)
	}
	found, _ = examine(t, db, "")
	require.Empty(t, about(found, "scheduler"), "the fixes stopped the jobs")
	require.Equal(t, 1, ask[int](t, root, `SELECT count(*)::int FROM cron.job`), "and no other")
}

func TestTheDoctorSaysWhereAPgCronIsThatItCannotSee(t *testing.T) {
	t.Parallel()
	db := withPgCron(t, "postgres")
	found, _ := examine(t, db, "")
	hidden := about(found, "scheduler")
	require.Len(t, hidden, 1)
	require.Equal(t, "note", hidden[0].Severity)
	require.Contains(t, hidden[0].What, "keeps its jobs in database postgres")
	require.Equal(t, `psql -d postgres -c 'SELECT jobid, database, schedule, command FROM cron.job'`, hidden[0].Fix)
	found, _ = examine(t, db, db.User(t, "alice"))
	require.Empty(t, about(found, "scheduler"), "only who may read all settings sees this one")
}

// The launcher of pg_cron is a session that is never idle as others are, and writes nothing but its own history.
func TestRunsAreSkippedWherePgCronKeepsItsJobs(t *testing.T) {
	heavy(t)
	t.Parallel()
	db := withPgCron(t, "")
	alice := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, alice, `CREATE TABLE t (a int)`, `INSERT INTO t VALUES (1)`, `INSERT INTO mvscheduler.views (name, query, refresh_interval) VALUES ('v', 'SELECT a FROM t', '4 hours')`)
	root := db.Conn(t, "")
	until(t, root, `SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pg_cron launcher'`)
	startSidecar(t, db)
	refreshed(t, alice, "v")
	require.Eventually(t, func() bool { // by a refresh it would be before its end
		pgtest.Exec(t, root, makeDue)
		return ask[bool](t, root, `SELECT h.data_as_of > (SELECT max(finished_at) FROM mvscheduler.run WHERE state = 'succeeded') FROM mvscheduler.view_health AS h`)
	}, 90*time.Second, time.Second, "no skip proves anything")

	pgtest.Exec(t, root, `CREATE VIEW last_jobs AS SELECT max(end_time) FROM cron.job_run_details`) // what it writes matters now
	const ended = `SELECT count(*)::int FROM mvscheduler.run WHERE state = 'skipped'`
	asOf := func() time.Time {
		skips := ask[int](t, root, ended)
		pgtest.Exec(t, root, makeDue)
		until(t, root, `SELECT (`+ended+`) > $1`, skips)
		return ask[time.Time](t, root, `SELECT data_as_of FROM mvscheduler.view_health`)
	}
	require.Eventually(t, func() bool { return asOf().Equal(asOf()) }, time.Minute, 100*time.Millisecond, "a session that may hide something is left out") // as soon as the sidecar has looked
}
