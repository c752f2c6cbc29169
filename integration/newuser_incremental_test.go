package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Without tracking, and with the default of lateness, a row of yesterday is in no view, which says that it is fresh.
func TestWhoTurnsTrackingOffIsToldOfLateness(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	conn, said := connNoticing(t, s.db.URLAs(s.owner))
	told := func(statement string) bool {
		*said = nil
		pgtest.Exec(t, conn, statement)
		return slices.ContainsFunc(*said, func(n *pgconn.Notice) bool { return strings.Contains(n.Message, "looks for no late rows") })
	}
	insert := func(name, columns, values string) string {
		return `INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width` + columns + `) VALUES ('` + name + `', $$` + hourly + `$$, 'incremental', 'hour', '1 hour'` + values + `)`
	}
	require.True(t, told(insert("v", `, change_tracking`, `, 'none'`)))
	require.False(t, told(insert("w", `, change_tracking, lateness`, `, 'none', '2 days'`)))
	require.False(t, told(insert("x", ``, ``)))
	require.False(t, told(`UPDATE mvscheduler.views SET priority = 3`), "once is enough")
	require.True(t, told(`UPDATE mvscheduler.views SET change_tracking = 'none' WHERE name LIKE '%.x'`))
	require.True(t, told(`UPDATE mvscheduler.views SET lateness = '0' WHERE name LIKE '%.w'`))
}

// The zone in which buckets are cut, and how far back late rows are looked for, are what people have to compare when a view
// is not what they think.
func TestShowTellsWhereAnIncrementalViewIsCutAndDropCallsItByItsName(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly, "timezone", "Asia/Tokyo", "change_tracking", "none", "lateness", "2 days")
	s.incremental(t, "w", hourly)
	s.manage(t, "m", `SELECT count(*) AS n FROM metrics`, "timezone", "Asia/Tokyo")
	show := func(name string) string { return mvscheduler(t, s.db, s.owner, "", "show", name).stdout }
	require.Regexp(t, `(?m)^  time zone +Asia/Tokyo$`, show("v"))
	require.Regexp(t, `(?m)^  lateness +2 days$`, show("v"))
	require.NotContains(t, show("w"), "  lateness ", "it has no effect there")
	require.NotContains(t, show("m"), "  time zone ")
	require.Contains(t, mvscheduler(t, s.db, s.owner, "", "drop", "v").stderr, "Drops incremental view "+s.owner+".v of")
	require.Contains(t, mvscheduler(t, s.db, s.owner, "", "drop", "m").stderr, "Drops materialized view "+s.owner+".m of")
}

// A first fill takes many slots, and each that passes is a run that was skipped.
func TestWhoWaitsBehindARunSeesItAfterAnyNumberOfSlots(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `INSERT INTO sales (id, amount) VALUES (1000, 0)`)
	s.manage(t, "v", `SELECT 1 / amount AS n FROM sales`, "refresh_interval", nil, "refresh_on", "manual")
	startSidecar(t, s.db)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
	until(t, s.alice, `SELECT EXISTS (SELECT FROM mvscheduler.runs WHERE attempts > 0 AND state = 'queued')`)
	pgtest.Exec(t, s.root, `INSERT INTO mvscheduler.run (view_id, view_name, owner, cause, slot, due_at, state, finished_at)
SELECT r.view_id, r.view_name, r.owner, 'schedule', now() + n * interval '1 s', now(), 'skipped', now() FROM mvscheduler.run AS r, generate_series(1, 30) AS n WHERE r.state IN ('queued', 'running')`)
	first := ask[int64](t, s.root, `SELECT min(id) FROM mvscheduler.run WHERE state IN ('queued', 'running')`)
	out := mvscheduler(t, s.db, s.owner, "", "refresh", "v", "--wait", "--timeout", "7s")
	require.Contains(t, out.stderr, fmt.Sprintf("begins after run %d ", first))
	require.NotContains(t, out.stderr, "no sidecar has taken it up")
	require.Contains(t, out.stderr, "division by zero", "who waits behind a run that fails is told why it does")
}

// What a monitor asks is no better informed than what a person reads.
func TestAViewWithoutItsQueryIsToBeLookedAt(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	check := func() int { return mvscheduler(t, s.db, s.owner, "", "status", "--check").code }
	require.Zero(t, check())
	pgtest.Exec(t, s.alice, `DROP TABLE metrics CASCADE`, `SELECT mvscheduler.refresh_view('v')`)
	until(t, s.alice, `SELECT activity = 'paused' AND reason LIKE '%its query was dropped%paused by mvscheduler%' FROM mvscheduler.status`)
	require.Equal(t, 5, check())
}

func TestAnIncrementalViewThatShallBeReleasedIsToldTheWay(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly)
	says := s.refusal(t, `SELECT mvscheduler.release_view('v')`)
	require.Contains(t, says, "incremental view "+s.owner+".v cannot be released")
	require.Contains(t, says, "method = 'auto'")
	require.NotContains(t, says, "release_view", "which has just been refused")
	startSidecar(t, s.db)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET method = 'auto'`)
	until(t, s.alice, `SELECT relkind = 'm' FROM pg_class WHERE oid = 'v'::regclass`)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.release_view('v')`)
	require.Equal(t, "m", ask[string](t, s.alice, `SELECT relkind::text FROM pg_class WHERE oid = 'v'::regclass`))
}

// PostgreSQL's hint is CASCADE, which takes managed views without their rows.
func TestADeleteThatOthersDependOnHintsAtNoCascade(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly)
	s.manage(t, "w", `SELECT sum(n) AS n FROM v`)
	says := s.refusal(t, `DELETE FROM mvscheduler.views WHERE name LIKE '%.v'`)
	require.Contains(t, says, " because other objects depend on it")
	require.Contains(t, says, "w__query depends on view ")
	require.Contains(t, says, "can go in one statement: DELETE FROM mvscheduler.views WHERE name IN (...)")
	require.NotContains(t, says, "CASCADE")
	pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.views WHERE name IN ('`+s.owner+`.v', '`+s.owner+`.w')`)
	require.Zero(t, ask[int64](t, s.alice, `SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relname ~ '^[vw](__|$)'`))
}
