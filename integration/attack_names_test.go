package integration

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A statement looks its names up itself, and after it has waited once more. Who owns the schema of somebody else's view may
// drop and rename there, so a look-alike can be in the place of what was meant.

// lent registers a view of alice in a schema of mallory; more are columns of its query.
func (a *arena) lent(t testing.TB, more string) (alice func(statements ...string)) {
	t.Helper()
	pgtest.Exec(t, a.root, `GRANT CREATE ON DATABASE `+a.db.Name+` TO `+a.mallory)
	a.as(`CREATE SCHEMA lent`, `GRANT ALL ON SCHEMA lent TO alice`, `GRANT USAGE ON SCHEMA lent TO mvscheduler_worker`)
	conn := a.db.Conn(t, a.alice)
	alice = func(statements ...string) { pgtest.Exec(t, conn, statements...) }
	alice(`CREATE TABLE slowly (s float8)`, `CREATE TABLE metrics (ts timestamptz, value int)`, `INSERT INTO metrics SELECT t, 1 FROM generate_series('2026-01-01'::timestamptz, '2026-06-01', '10 days') AS t`,
		`CREATE FUNCTION slow(seconds float8) RETURNS int LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(seconds); RETURN 1; END'`,
		`INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width, refresh_on, max_attempts) VALUES ('lent.v', 'SELECT date_trunc(''hour'', ts) AS hour, count(*) AS n`+more+` FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1', 'incremental', 'hour', '1 hour', 'manual', 1)`)
	return alice
}

// slowBuckets are slow to compute once there is a row in slowly.
const slowBuckets = `, slow(CASE WHEN EXISTS (SELECT FROM slowly) THEN 0.3 ELSE 0 END) AS s`

// lookAlike stands for the relation called name, whatever its columns.
func lookAlike(name string) []string {
	return []string{`CREATE VIEW lent.` + name + ` AS SELECT g AS hour, mallory.steal('` + name + `')::bigint AS n, 1 AS s FROM generate_series('2026-01-01'::timestamptz, '2026-06-01', '1 day') AS g`,
		`GRANT ALL ON lent.` + name + ` TO PUBLIC`}
}

const (
	sleeps = `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE 'mvscheduler run%' AND wait_event = 'PgSleep' AND datname = current_database())`
	ended  = `SELECT state NOT IN ('queued', 'running') FROM mvscheduler.run WHERE id = $1`
)

// waits says whether a session of this role, or with this name, waits for a lock.
const waits = `SELECT EXISTS (SELECT FROM pg_locks AS l JOIN pg_stat_activity AS p USING (pid) WHERE NOT l.granted AND p.datname = current_database() AND (p.application_name LIKE $1 OR p.usename = $1 AND p.application_name <> 'second'))`

// dropMeanwhile has mallory replace lent.v__query while somebody, who is started by f, waits for it. twice: only the second DROP in the
// queue is committed, whose lock comes between two statements of the one who waits.
func (a *arena) dropMeanwhile(t *testing.T, who string, twice bool, f func()) {
	t.Helper()
	replace := append([]string{`DROP VIEW lent.v__query`}, lookAlike("v__query")...)
	if !twice {
		a.as(append([]string{`BEGIN`}, replace...)...)
		f()
		until(t, a.root, waits, who)
		a.as(`COMMIT`)
		return
	}
	second := a.db.Conn(t, a.mallory)
	a.as(`BEGIN`, replace[0])
	f()
	until(t, a.root, waits, who)
	done := make(chan error, 1)
	go func() {
		for _, s := range append([]string{`SET application_name = 'second'`, `BEGIN`}, replace...) {
			if _, err := second.Exec(context.WithoutCancel(t.Context()), a.sql(s)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	until(t, a.root, waits, "second")
	a.as(`ROLLBACK`)
	require.NoError(t, <-done)
	until(t, a.root, `SELECT (`+waits+`) OR NOT EXISTS (SELECT FROM pg_stat_activity AS p WHERE p.datname = current_database() AND p.state <> 'idle' AND (p.application_name LIKE $1 OR p.usename = $1))`, who)
	pgtest.Exec(t, second, `COMMIT`)
}

func TestABuildReadsNoLookAlikeOfAQueryThatWasDroppedMeanwhile(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	alice := a.lent(t, slowBuckets)
	alice(`INSERT INTO slowly VALUES (1)`)
	run := ask[int64](t, a.db.Conn(t, a.alice), `SELECT mvscheduler.refresh_view('lent.v')`)
	startSidecar(t, a.db)
	until(t, a.root, sleeps)
	a.as(`BEGIN`, `DROP VIEW lent.v__query`) // waits for the step that builds a partition
	a.as(lookAlike("v__query")...)
	until(t, a.root, waits, "mvscheduler run%")
	a.as(`COMMIT`)
	until(t, a.root, ended, run)
	require.Equal(t, "failed", ask[string](t, a.root, `SELECT state FROM mvscheduler.run WHERE id = $1`, run))
	a.nothingStolen(a.mallory)
}

// The step looks at the text of the query first, and from 16 on it lets go of the lock that this takes.
func TestAnIncrementReadsNoLookAlikeOfAQueryThatWasDroppedMeanwhile(t *testing.T) {
	t.Parallel()
	for _, twice := range []bool{false, true} {
		t.Run(fmt.Sprint(twice), func(t *testing.T) {
			t.Parallel()
			a := newArena(t)
			alice := a.lent(t, "")
			startSidecar(t, a.db)
			conn := a.db.Conn(t, a.alice)
			refreshed(t, conn, "lent.v")
			alice(`INSERT INTO metrics VALUES ('2026-02-01 10:00+00', 1)`)
			var run int64
			a.dropMeanwhile(t, "mvscheduler run%", twice, func() { run = ask[int64](t, conn, `SELECT mvscheduler.refresh_view('lent.v')`) })
			until(t, a.root, ended, run)
			if !twice { // else it may have been faster than the second
				require.Equal(t, "failed", ask[string](t, a.root, `SELECT state FROM mvscheduler.run WHERE id = $1`, run))
			}
			a.nothingStolen(a.mallory)
		})
	}
}

func TestVerifyReadsNoLookAlikeOfAQueryThatWasDroppedMeanwhile(t *testing.T) {
	t.Parallel()
	for _, twice := range []bool{false, true} {
		t.Run(fmt.Sprint(twice), func(t *testing.T) {
			t.Parallel()
			a := newArena(t)
			a.lent(t, "")
			startSidecar(t, a.db)
			refreshed(t, a.db.Conn(t, a.alice), "lent.v")
			verified := make(chan result, 1)
			a.dropMeanwhile(t, a.alice, twice, func() { go func() { verified <- mvscheduler(t, a.db, a.alice, "", "verify", "lent.v", "--all") }() })
			if r := <-verified; !twice {
				require.NotZero(t, r.code, r.stdout)
			}
			a.nothingStolen(a.mallory)
		})
	}
}

// The schema is renamed while a step computes, which no lock prevents, and look-alikes of all that it could go on with
// are there.
func TestAStepReadsNoLookAlikeInASchemaThatTookTheNameMeanwhile(t *testing.T) {
	heavy(t)
	t.Parallel()
	for name, prepare := range map[string]string{
		"staged":  `UPDATE mvscheduler.view_health SET rows_estimate = 10000000`,
		"at once": `SELECT`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newArena(t)
			alice := a.lent(t, slowBuckets)
			startSidecar(t, a.db)
			conn := a.db.Conn(t, a.alice)
			refreshed(t, conn, "lent.v")
			alice(`INSERT INTO slowly VALUES (1)`)
			pgtest.Exec(t, a.root, prepare)
			run := ask[int64](t, conn, `SELECT mvscheduler.refresh_view('lent.v')`)
			until(t, a.root, sleeps)
			a.as(`ALTER SCHEMA lent RENAME TO taken`, `CREATE SCHEMA lent`, `GRANT ALL ON SCHEMA lent TO PUBLIC`)
			for _, taken := range ask[[]string](t, a.root, `SELECT array_agg(DISTINCT n) FROM (SELECT quote_ident(relname) AS n FROM pg_class WHERE relnamespace = 'taken'::regnamespace UNION SELECT unnest('{v__data__fresh,v__data__differ}'::text[])) AS t`) {
				a.as(lookAlike(taken)...)
			}
			require.True(t, ask[bool](t, a.root, sleeps), "it is under way")
			until(t, a.root, ended, run)
			a.nothingStolen(a.mallory)
		})
	}
}

// A schema that nobody else can change costs nothing: no view is made.
func TestNamesThatNobodyElseCanChangeAreReadAsTheyAre(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	a.lent(t, "")
	conn := a.db.Conn(t, a.alice)
	ours := func(relation string) bool {
		return ask[bool](t, conn, `SELECT mvscheduler.is_name_ours($1::regclass)`, a.sql(relation))
	}
	require.True(t, ours("alice.metrics"))
	require.False(t, ours("lent.v__query"), "the schema is mallory's")
	pgtest.Exec(t, a.root, a.sql(`ALTER SCHEMA lent OWNER TO alice`))
	require.True(t, ours("lent.v__query"))
	pgtest.Exec(t, a.root, a.sql(`GRANT CREATE ON SCHEMA lent TO mallory`))
	require.False(t, ours("lent.v__query"), "mallory may create in it")
	pgtest.Exec(t, a.root, a.sql(`REVOKE ALL ON SCHEMA lent FROM mallory`))
	pgtest.Exec(t, a.root, a.sql(`ALTER VIEW lent.v__query OWNER TO mallory`))
	require.False(t, ours("lent.v__query"), "mallory can rename it")
}

func TestAViewInASchemaOfSomebodyElseIsWrittenAndComparedAsAnyOther(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	alice := a.lent(t, ", sum(value) AS s")
	startSidecar(t, a.db)
	conn := a.db.Conn(t, a.alice)
	refreshed(t, conn, "lent.v")
	alice(`CREATE FUNCTION positive(int8) RETURNS bool LANGUAGE sql IMMUTABLE RETURN $1 > 0`, `ALTER TABLE lent.v__data ADD CONSTRAINT by_hand CHECK (positive(n))`, `ALTER TABLE lent.v__data ALTER s SET NOT NULL`,
		`INSERT INTO metrics VALUES ('2026-01-01', 5), ('2026-01-05', 1), ('2027-03-01', 1)`, `UPDATE metrics SET value = 7 WHERE ts = '2026-01-11'`, `DELETE FROM metrics WHERE ts = '2026-01-21'`)
	refreshed(t, conn, "lent.v")
	const differ = `SELECT count(*) FROM ((TABLE lent.v EXCEPT ALL TABLE lent.v__query) UNION ALL (TABLE lent.v__query EXCEPT ALL TABLE lent.v)) AS d`
	require.Zero(t, ask[int64](t, conn, differ))
	require.True(t, ask[bool](t, conn, `SELECT bool_and(EXISTS (SELECT FROM pg_constraint AS n WHERE n.conrelid = i.inhrelid AND n.conname = 'by_hand' AND n.convalidated)) AND count(*) > 5 FROM pg_inherits AS i WHERE i.inhparent = 'lent.v__data'::regclass`))
	pgtest.Exec(t, a.root, `UPDATE mvscheduler.view_health SET rows_estimate = 10000000`) // now it is staged
	alice(`UPDATE metrics SET value = 8 WHERE ts = '2026-01-11'`, `DELETE FROM metrics WHERE ts = '2026-01-31'`, `INSERT INTO metrics VALUES ('2027-05-01', 1)`)
	refreshed(t, conn, "lent.v")
	require.Zero(t, ask[int64](t, conn, differ))

	alice(`ALTER TABLE lent.v__data DROP CONSTRAINT by_hand, ALTER s DROP NOT NULL`, `UPDATE mvscheduler.views SET unique_key = '{}' WHERE name = 'lent.v'`, `INSERT INTO metrics SELECT ts, 1 FROM metrics`)
	refreshed(t, conn, "lent.v")
	require.Zero(t, ask[int64](t, conn, differ))
	r := mvscheduler(t, a.db, a.alice, "", "verify", "lent.v", "--all")
	require.Zero(t, r.code, r.stdout+r.stderr)
	alice(`DELETE FROM lent.v__data WHERE hour < '2026-02-01'`)
	require.NotZero(t, mvscheduler(t, a.db, a.alice, "", "verify", "lent.v", "--all").code)

	alice(`INSERT INTO mvscheduler.views (name, query, refresh_on) VALUES ('lent.w', 'SELECT ts, value FROM metrics', 'manual')`)
	refreshed(t, conn, "lent.w")
	require.Zero(t, mvscheduler(t, a.db, a.alice, "", "verify", "lent.w").code)
	alice(`UPDATE mvscheduler.views SET time_column = 'ts', retention_period = '1 year' WHERE name = 'lent.w'`)
	require.Positive(t, ask[int64](t, conn, `SELECT bytes FROM mvscheduler.prune_view('lent.w', true, '1 day')`))
	require.Zero(t, ask[int64](t, a.root, `SELECT count(*) FROM pg_class WHERE relname LIKE 'mvscheduler %'`), "nothing is left")
}
