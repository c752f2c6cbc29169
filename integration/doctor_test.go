package integration

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// finding as `mvscheduler doctor --json` prints it.
type finding struct{ Severity, Check, Subject, What, Fix string }

func examine(t *testing.T, db *pgtest.DB, role string) (found []finding, code int) {
	t.Helper()
	r := mvscheduler(t, db, role, "", "doctor", "--json")
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &found), r.stderr)
	return found, r.code
}

// about are the findings of a check.
func about(found []finding, check string) []finding {
	var of []finding
	for _, f := range found {
		if f.Check == check {
			of = append(of, f)
		}
	}
	return of
}

func TestTheDoctorFindsNothingWhereAllIsWell(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, alice, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT count(*) FROM pg_class')`)
	startSidecar(t, db)
	until(t, alice, `SELECT freshness = 'fresh' FROM mvscheduler.status`)
	found, code := examine(t, db, "")
	for _, f := range found {
		require.Equal(t, "note", f.Severity, f)
	}
	require.Zero(t, code)
	r := mvscheduler(t, db, "", "", "doctor")
	require.Zero(t, r.code)
}

func TestTheDoctorNamesWhatIsWrongAndTheFixMendsIt(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	user := db.User(t, "alice")
	alice := db.Conn(t, user)
	pgtest.Exec(t, alice, `CREATE TABLE t (a int)`, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT a FROM t')`,
		`CREATE MATERIALIZED VIEW lonely AS SELECT 1 AS a`, `CREATE MATERIALIZED VIEW cared_for AS SELECT 1 AS a`)
	db.Exec(t, `INSERT INTO mvscheduler.views (name, query) VALUES ('public.mighty', 'SELECT 1 AS a')`)
	db.Exec(t, `CREATE SCHEMA cron`)
	db.Exec(t, `CREATE TABLE cron.job (jobid bigint, schedule text, command text, nodename text, nodeport int, database text, username text, active boolean, jobname text)`)
	db.Exec(t, `INSERT INTO cron.job VALUES (7, '*/5 * * * *', 'REFRESH MATERIALIZED VIEW CONCURRENTLY `+user+`.V', '', 0, current_database(), 'alice', true, 'night'),
		(8, '@daily', 'refresh materialized view cared_for', '', 0, current_database(), 'alice', true, NULL),
		(9, '@daily', 'refresh materialized view lonely', '', 0, 'elsewhere', 'alice', true, NULL)`)
	switch {
	case db.Version() >= 170000:
		pgtest.Exec(t, alice, `REVOKE MAINTAIN ON v FROM mvscheduler_worker`)
	default:
		db.Exec(t, `REVOKE `+user+` FROM mvscheduler_worker`)
	}
	pgtest.Exec(t, alice, `REVOKE USAGE ON SCHEMA `+user+` FROM mvscheduler_worker`)

	found, code := examine(t, db, "")
	require.Equal(t, 5, code)
	require.Equal(t, "error", found[0].Severity, "the worst come first")
	require.Contains(t, about(found, "sidecar")[0].What, "no sidecar is connected")
	require.Contains(t, about(found, "owner")[0].Subject, "public.mighty")
	require.Contains(t, about(found, "index")[0].What, "no unique index")
	scheduler := about(found, "scheduler")
	require.Len(t, scheduler, 1)
	require.Equal(t, user+".v", scheduler[0].Subject)
	require.Contains(t, scheduler[0].Fix, "cron.unschedule(7)")
	unmanaged := about(found, "unmanaged")
	require.Len(t, unmanaged, 1, "pg_cron refreshes the other")
	require.Contains(t, unmanaged[0].Subject, "lonely")
	grants := about(found, "grants")
	require.Len(t, grants, 2)
	for _, f := range grants {
		db.Exec(t, f.Fix)
	}
	found, _ = examine(t, db, "")
	require.Empty(t, about(found, "grants"), "the fixes were what was missing")

	bob := db.User(t, "bob")
	found, _ = examine(t, db, bob)
	for _, f := range found {
		require.NotContains(t, f.Subject, user, "bob sees nothing of alice's views")
	}
}

func TestTheDoctorSeesASuperuserAtWorkAndADatabaseWithoutSchema(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	startSidecarAs(t, db, "postgres", "--allow-superuser")
	found, code := examine(t, db, "")
	require.Equal(t, 5, code)
	require.Contains(t, about(found, "login")[0].What, "superuser")
	found, code = examine(t, pgtest.NewEmpty(t), "")
	require.Equal(t, 5, code)
	require.Equal(t, "mvscheduler migrate up", about(found, "schema")[0].Fix)
}

func TestTheDoctorFindsLeftoversAndStarvedTables(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	user := db.User(t, "alice")
	alice := db.Conn(t, user)
	pgtest.Exec(t, alice, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT 1 AS a')`)
	admin := db.Conn(t, "")
	pgtest.Exec(t, admin, `SET session_replication_role = replica`, `DELETE FROM mvscheduler.views`, `DELETE FROM mvscheduler.view_state`, `SET session_replication_role = origin`,
		`ALTER TABLE mvscheduler.run SET (autovacuum_enabled = off)`,
		`INSERT INTO mvscheduler.run (view_id, view_name, owner, cause, slot, due_at, state) SELECT 1, 'x', 'postgres', 'manual', now(), now(), 'succeeded' FROM generate_series(1, 21000)`,
		`DELETE FROM mvscheduler.run`, `SELECT pg_stat_force_next_flush()`, `SELECT 1`)
	found, _ := examine(t, db, "")
	leftover := about(found, "leftover")
	require.Len(t, leftover, 1)
	require.Contains(t, leftover[0].Subject, "v__query")
	require.Contains(t, leftover[0].Fix, "adopt_view", "the view needs it")
	require.Contains(t, about(found, "vacuum")[0].Subject, "mvscheduler.run")
	require.True(t, strings.HasPrefix(about(found, "vacuum")[0].Fix, "VACUUM"))
}
