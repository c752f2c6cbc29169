package integration

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// newPartman is a scene with a table of nine days whose partitions pg_partman makes, three days ahead, and a DEFAULT
// partition that holds a row from before. It runs as alice, or as a superuser, whose its partitions are then.
func newPartman(t *testing.T, superuser bool) (s *scene, partman *pgx.Conn) {
	t.Helper()
	if ask[int](t, pgtest.NewEmpty(t).Conn(t, ""), `SELECT count(*)::int FROM pg_available_extensions WHERE name = 'pg_partman'`) == 0 {
		t.Skip("this PostgreSQL comes without pg_partman (package postgresql-NN-partman)")
	}
	s = newScene(t)
	pgtest.Exec(t, s.root, `SET TimeZone = 'UTC'`, `CREATE SCHEMA partman`, `CREATE EXTENSION pg_partman SCHEMA partman`,
		`GRANT ALL ON SCHEMA partman TO `+s.owner, `GRANT ALL ON ALL TABLES IN SCHEMA partman TO `+s.owner, `GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA partman TO `+s.owner)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE events (ts timestamptz NOT NULL, device int NOT NULL, value numeric) PARTITION BY RANGE (ts)`, `CREATE INDEX ON events (ts)`)
	kind := `, p_type := 'native'` // of version 4, which could do others too
	if ask[bool](t, s.root, `SELECT extversion !~ '^4' FROM pg_extension WHERE extname = 'pg_partman'`) {
		kind = ""
	}
	partman = s.alice
	if superuser {
		partman = s.root
	}
	pgtest.Exec(t, partman, `SELECT partman.create_parent('`+s.owner+`.events', 'ts', p_interval := '1 day', p_premake := 3, p_start_partition := ((now() AT TIME ZONE 'UTC')::date - 9)::text`+kind+`)`)
	pgtest.Exec(t, s.alice, `INSERT INTO events SELECT t, d, d FROM generate_series(date_trunc('day', now(), 'UTC') - interval '9 days', now(), '20 minutes') AS t, generate_series(1, 2) AS d`,
		`INSERT INTO events SELECT date_trunc('day', now(), 'UTC') - interval '12 days', 1, 7`)
	require.Equal(t, int64(1), ask[int64](t, s.root, `SELECT count(*) FROM `+s.owner+`.events_default`))
	return s, partman
}

// maintain has pg_partman look after the table, as its background worker does.
func (s *scene) maintain(t testing.TB, partman *pgx.Conn, config string) {
	t.Helper()
	pgtest.Exec(t, partman, `UPDATE partman.part_config SET `+config, `SELECT partman.run_maintenance('`+s.owner+`.events', p_analyze := false)`)
}

// comesToBeWhole refreshes a view until it is what its query gives: counters come late.
func (s *scene) comesToBeWhole(t testing.TB, view string) {
	t.Helper()
	for ended := time.Now().Add(2 * time.Minute); ; {
		s.incremented(t, view)
		differs := ask[bool](t, s.alice, `SELECT EXISTS (SELECT * FROM `+view+` EXCEPT ALL SELECT * FROM `+view+`__query) OR EXISTS (SELECT * FROM `+view+`__query EXCEPT ALL SELECT * FROM `+view+`)`)
		if !differs || time.Now().After(ended) {
			break
		}
		time.Sleep(time.Second)
	}
	same(t, s.alice, view)
}

const eventsByHour = `SELECT date_trunc('hour', ts) AS hour, device, count(*) AS n, sum(value) AS total FROM events WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`

func TestATableThatPgPartmanLooksAfterHasIncrementalViews(t *testing.T) {
	heavy(t)
	t.Parallel()
	s, partman := newPartman(t, false)
	views := []string{"by_trigger", "by_counters", "by_lateness"}
	s.incremental(t, "by_trigger", eventsByHour, "change_tracking", "trigger")
	s.incremental(t, "by_counters", eventsByHour, "change_tracking", "counters")
	s.incremental(t, "by_lateness", eventsByHour, "change_tracking", "none", "lateness", "40 days")
	startSidecar(t, s.db)
	whole := func(what string) {
		t.Helper()
		for _, view := range views {
			s.comesToBeWhole(t, view)
		}
		require.Zero(t, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.run WHERE state NOT IN ('succeeded', 'skipped', 'queued', 'running')`), what)
	}
	s.incremented(t, views...)
	whole("first fill")

	// Partitions ahead of time, and rows in them.
	before := ask[int](t, s.alice, `SELECT count(*)::int FROM pg_inherits WHERE inhparent = 'events'::regclass`)
	s.maintain(t, partman, `premake = 5`)
	require.Greater(t, ask[int](t, s.alice, `SELECT count(*)::int FROM pg_inherits WHERE inhparent = 'events'::regclass`), before)
	pgtest.Exec(t, s.alice, `INSERT INTO events SELECT date_trunc('day', now(), 'UTC') + interval '1 day' * n, 3, 1 FROM generate_series(1, 5) AS n`, `DELETE FROM events WHERE device = 2 AND ts < now() - interval '8 days'`)
	whole("partitions ahead")

	// Rows of the DEFAULT partition get partitions of their own.
	pgtest.Exec(t, s.alice, `INSERT INTO events SELECT date_trunc('day', now(), 'UTC') - interval '11 days', n, 1 FROM generate_series(1, 4) AS n`)
	whole("rows in the DEFAULT partition")
	moved := ask[int64](t, partman, `SELECT partman.partition_data_time($1::text, p_batch_count := 10)::bigint`, s.owner+".events")
	require.Positive(t, moved)
	require.Zero(t, ask[int64](t, s.alice, `SELECT count(*) FROM events_default`))
	whole("partition_data")
	pgtest.Exec(t, s.alice, `UPDATE events SET value = value + 1 WHERE ts < now() - interval '10 days'`)
	whole("writes to what was moved")

	// What its retention detaches or drops is not in the table any more, and so not in the views.
	old := ask[int64](t, s.alice, `SELECT count(*) FROM by_trigger WHERE hour < now() - interval '8 days'`)
	require.Positive(t, old)
	s.maintain(t, partman, `retention = '6 days', retention_keep_table = true`)
	whole("detached")
	found, _ := examine(t, s.db, s.owner)
	warned := about(found, "retention")
	require.Len(t, warned, 1)
	require.Equal(t, "note "+s.owner+".events", warned[0].Severity+" "+warned[0].Subject)
	require.Contains(t, warned[0].What, "after 6 days: the buckets computed from them go with them from "+s.owner+".by_counters, "+s.owner+".by_lateness, "+s.owner+".by_trigger;")
	require.Zero(t, ask[int64](t, s.alice, `SELECT count(*) FROM by_trigger WHERE hour < now() - interval '8 days'`))
	s.maintain(t, partman, `retention = '3 days', retention_keep_table = false`)
	whole("dropped")
	require.Zero(t, ask[int64](t, s.alice, `SELECT count(*) FROM by_trigger WHERE hour < now() - interval '5 days'`))
	pgtest.Exec(t, s.alice, `INSERT INTO events VALUES (now(), 9, 9)`)
	whole("afterwards")
}

func TestSourceRetentionAndThatOfPgPartmanGoTogether(t *testing.T) {
	t.Parallel()
	s, partman := newPartman(t, false)
	s.incremental(t, "v", eventsByHour)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	s.snapshotOf(t, "v", "v_before")
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('events', '140 hours')`) // and three, for a bucket and clocks that move: three partitions at any time of the day, or four
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'prune' AND state = 'succeeded' AND view_name LIKE '%.events')`)
	until(t, s.alice, `SELECT count(*) >= 3 FROM mvscheduler.prunings WHERE action = 'detach'`)
	s.incremented(t, "v")
	require.Zero(t, s.lost(t, "v_before", "v", "true"), "of what left by source_retention the view keeps what it has")
	dry := func() string {
		t.Helper()
		r := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".events", "--dry-run")
		require.Zero(t, r.code, r.stderr)
		return r.stdout
	}
	require.Regexp(t, `events_default +DEFAULT +keep .* the DEFAULT partition holds rows of any time`, dry())

	// pg_partman makes partitions and counts those that are left; what it takes itself goes from the views too.
	kept := ask[int](t, s.alice, `SELECT count(*)::int FROM mvscheduler.visible_kept`)
	s.maintain(t, partman, `premake = 4`)
	s.incremented(t, "v")
	require.Zero(t, s.lost(t, "v_before", "v", "true"))
	s.maintain(t, partman, `retention = '3 days', retention_keep_table = true`)
	pgtest.Exec(t, s.alice, `INSERT INTO events VALUES (now(), 9, 9)`)
	s.incremented(t, "v")
	require.NotContains(t, dry(), "detach")
	found, _ := examine(t, s.db, s.owner)
	warned := about(found, "retention")
	require.Len(t, warned, 1)
	require.Equal(t, "warning", warned[0].Severity)
	require.Contains(t, warned[0].What, "although there is a row of source_retention")
	pgtest.Exec(t, s.alice, warned[0].Fix)
	found, _ = examine(t, s.db, s.owner)
	require.Empty(t, about(found, "retention"))
	const frozen = `hour < date_trunc('day', now() - interval '143 hours', 'UTC') + interval '1 hour'` // clocks move by that much at most
	require.Zero(t, s.lost(t, "v_before", "v", frozen))
	require.Zero(t, ask[int](t, s.alice, `SELECT count(*)::int FROM ((SELECT * FROM v WHERE NOT (`+frozen+`)) EXCEPT ALL SELECT * FROM v__query) AS x`))
	require.Zero(t, ask[int](t, s.alice, `SELECT count(*)::int FROM ((SELECT * FROM v__query WHERE NOT (`+frozen+`)) EXCEPT ALL SELECT * FROM v) AS x`))
	require.Equal(t, kept, ask[int](t, s.alice, `SELECT count(*)::int FROM mvscheduler.visible_kept`), "what is kept aside is not pg_partman's")
	require.Zero(t, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.run WHERE state = 'failed'`))
	r := mvscheduler(t, s.db, s.owner, "", "restore", s.owner+".events")
	require.Zero(t, r.code, r.stderr+r.stdout)
	s.incremented(t, "v")
	require.Zero(t, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.run WHERE state = 'failed'`))
	require.Zero(t, s.lost(t, "v_before", "v", `hour < date_trunc('day', now() - interval '143 hours', 'UTC')`), "nothing is frozen any more, and pg_partman took what came after that")
	same(t, s.alice, "v")
}

func TestPartitionsThatPgPartmanMakesAsAnotherRoleAreNamed(t *testing.T) {
	t.Parallel()
	s, partman := newPartman(t, true)
	s.incremental(t, "v", eventsByHour)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	require.Contains(t, s.last(t, "v", "reason"), "may not make triggers on "+s.owner+".events_p")
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('events', '6 days')`)
	r := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".events", "--dry-run")
	require.Zero(t, r.code, r.stderr)
	require.Contains(t, r.stdout, "it belongs to postgres and not to the owner of "+s.owner+".events")
	s.maintain(t, partman, `premake = 5`)
	pgtest.Exec(t, s.alice, `INSERT INTO events SELECT date_trunc('day', now(), 'UTC') + interval '4 days', 3, 1`)
	s.comesToBeWhole(t, "v")
	require.Zero(t, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.run WHERE state = 'failed'`))
}
