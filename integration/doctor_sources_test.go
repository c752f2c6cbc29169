package integration

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestTheDoctorNamesTablesThatEachRefreshReadsAsAWhole(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE "Events" (id bigint PRIMARY KEY, ts timestamptz NOT NULL)`,
		`CREATE TABLE few (ts timestamptz NOT NULL)`,
		`INSERT INTO "Events" SELECT n, now() - n * interval '1 s' FROM generate_series(1, 200000) AS n`, `INSERT INTO few VALUES (now())`, `ANALYZE`)
	s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM "Events" WHERE mvscheduler.in_window(ts) GROUP BY 1`)
	s.incremental(t, "w", `SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM few WHERE mvscheduler.in_window(ts) GROUP BY 1`)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	s.incremented(t, "w")

	found, _ := examine(t, s.db, s.owner)
	slow := about(found, "source")
	require.Len(t, slow, 1, "a small table is read as fast without one")
	require.Equal(t, s.owner+`."Events"`, slow[0].Subject)
	require.Contains(t, slow[0].What, "each refresh of "+s.owner+".v that finds a change reads all of its ")
	pgtest.Exec(t, s.alice, slow[0].Fix)
	found, _ = examine(t, s.db, s.owner)
	require.Empty(t, about(found, "source"))
}

func TestTheDoctorNamesTablesOfWhichThePartitionsRunOut(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `DO $$
DECLARE
    part record;
BEGIN
    FOR part IN SELECT t.name, t.type, t.until FROM (VALUES ('soon', 'timestamptz', 1), ('months', 'date', 35), ('ended', 'timestamp', -1), ('caught', 'timestamptz', 1), ('history', 'timestamptz', -400)) AS t(name, type, until) LOOP
        EXECUTE format('CREATE TABLE %I (ts %s NOT NULL) PARTITION BY RANGE (ts)', part.name, part.type);
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', part.name || '_one', part.name,
                       (now() AT TIME ZONE 'UTC')::date + part.until - 30, (now() AT TIME ZONE 'UTC')::date + part.until);
        EXECUTE format('INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width) VALUES (%L, %L, ''incremental'', ''hour'', ''1 hour'')',
                       'v_' || part.name, format('SELECT date_trunc(''hour'', ts) AS hour, count(*) AS n FROM %I WHERE mvscheduler.in_window(ts) GROUP BY 1', part.name));
    END LOOP;
    CREATE TABLE caught_rest PARTITION OF caught DEFAULT;
END $$`)
	startSidecar(t, s.db)
	for _, name := range []string{"soon", "months", "ended", "caught", "history"} {
		s.incremented(t, "v_"+name)
	}
	found, _ := examine(t, s.db, s.owner)
	out := about(found, "partition")
	require.Len(t, out, 2)
	require.Equal(t, s.owner+".ended", out[0].Subject)
	require.Contains(t, out[0].What, "rows since then are refused")
	require.Equal(t, s.owner+".soon", out[1].Subject)
	require.Contains(t, out[1].What, "rows from then on will be refused")
	for _, f := range out {
		pgtest.Exec(t, s.alice, f.Fix)
	}
	found, _ = examine(t, s.db, s.owner)
	require.Empty(t, about(found, "partition"))
	pgtest.Exec(t, s.alice, `INSERT INTO ended VALUES (now() AT TIME ZONE 'UTC')`, `INSERT INTO soon VALUES (now() + interval '2 days')`)
}

// A view whose owner may not read the table any more notes nothing of it until he may again: that does not make the triggers nobody's.
func TestTheDoctorCallsNoTriggersLeftOverOfATableThatAViewMayNotReadForTheMoment(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	alice := a.db.Conn(t, a.alice)
	pgtest.Exec(t, alice, `CREATE TABLE base (ts timestamptz, k int)`, a.sql(`GRANT SELECT, TRIGGER ON base TO mallory`))
	a.as(fmt.Sprintf(sumByHour, "mallory.v", "alice.base"))
	startSidecar(t, a.db)
	refreshed(t, a.m, a.sql("mallory.v"))
	pgtest.Exec(t, alice, a.sql(`REVOKE SELECT ON base FROM mallory`), `INSERT INTO base VALUES ('2026-03-01 00:10+00', 1)`)
	run := ask[int64](t, a.m, `SELECT mvscheduler.refresh_view($1)`, a.sql("mallory.v"))
	until(t, a.m, `SELECT EXISTS (SELECT FROM mvscheduler.runs WHERE id = $1 AND state = 'failed')`, run)
	found, _ := examine(t, a.db, "")
	require.NotEmpty(t, about(found, "grants"))
	require.Empty(t, about(found, "leftover"))

	pgtest.Exec(t, a.m, `DELETE FROM mvscheduler.views`)
	found, _ = examine(t, a.db, "")
	require.Len(t, about(found, "leftover"), 1)
}
