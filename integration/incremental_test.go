package integration

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

const hourly = `SELECT date_trunc('hour', ts) AS hour, device, count(*) AS n, sum(value) AS total FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`

// newMetrics is a scene with a table of metrics: three devices, a value every 10 minutes for four days.
func newMetrics(t testing.TB) *scene {
	t.Helper()
	s := newScene(t)
	s.metrics(t)
	return s
}

func (s *scene) metrics(t testing.TB) {
	t.Helper()
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE metrics (ts timestamptz NOT NULL, device int NOT NULL, value numeric)`, `CREATE INDEX ON metrics (ts)`,
		`INSERT INTO metrics SELECT t, d, d FROM generate_series('2026-03-01 00:00+00'::timestamptz, '2026-03-04 23:50+00', '10 minutes') AS t, generate_series(1, 3) AS d`)
}

// incremental registers an incremental view.
func (s *scene) incremental(t testing.TB, name, query string, columns ...any) {
	t.Helper()
	for _, standard := range [][2]any{{"method", "incremental"}, {"time_column", "hour"}, {"bucket_width", "1 hour"}, {"refresh_interval", "1 day"}, {"timezone", "UTC"}} {
		if !slices.Contains(columns, standard[0]) {
			columns = append(columns, standard[0], standard[1])
		}
	}
	s.manage(t, name, query, columns...)
}

// relations that a role has, with their kinds.
func (s *scene) relations(t testing.TB) string {
	t.Helper()
	return ask[string](t, s.root, `SELECT coalesce(string_agg(c.relname || ' ' || c.relkind::text, ', ' ORDER BY c.relname), '') FROM pg_class AS c WHERE c.relnamespace = $1::text::regnamespace AND c.relkind IN ('m', 'v', 'p')`, s.owner)
}

func TestAnIncrementalViewIsMadeOfRelationsOfItsOwner(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly)
	require.Equal(t, "v v, v__data p, v__gate m, v__query v", s.relations(t))
	require.Equal(t, "hour timestamp with time zone, device integer, n bigint, total numeric", s.columns(t, "v"))
	require.Equal(t, s.columns(t, "v"), s.columns(t, "v__data"))
	require.Equal(t, "{hour,device}", ask[string](t, s.alice, `SELECT mvscheduler.key_of('v__data'::regclass)::text`))
	require.True(t, ask[bool](t, s.alice, `SELECT indnullsnotdistinct FROM pg_index WHERE indrelid = 'v__data'::regclass AND indisunique`), "NULL is a key like any other")
	require.Equal(t, "metrics 1", ask[string](t, s.alice, `SELECT string_agg(relation::regclass || ' ' || col, ', ') FROM mvscheduler.sources_of('v__query'::regclass)`))
	require.Equal(t, "never idle incremental", ask[string](t, s.alice, `SELECT concat_ws(' ', freshness, activity, method) FROM mvscheduler.status`))
	require.Equal(t, "data gate", ask[string](t, s.alice, `SELECT string_agg(kind, ' ' ORDER BY kind) FROM mvscheduler.visible_pieces`))

	pgtest.Exec(t, s.alice, `CREATE VIEW dependent AS SELECT sum(n) FROM v`, `GRANT SELECT ON v TO PUBLIC`, `CREATE TABLE v__data_20260301 PARTITION OF v__data FOR VALUES FROM ('2026-03-01') TO ('2026-04-01')`)
	requireSQLState(t, s.alice, "2BP01", `DELETE FROM mvscheduler.views`)
	pgtest.Exec(t, s.root, `CREATE SCHEMA elsewhere; GRANT USAGE ON SCHEMA elsewhere TO mvscheduler_worker; GRANT ALL ON SCHEMA elsewhere TO `+s.owner)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET name = 'elsewhere.w', indexes = '{(device)}', priority = 1`)
	require.Equal(t, "w v, w__data p, w__data_20260301 r, w__gate m, w__query v", ask[string](t, s.root, `SELECT string_agg(relname || ' ' || relkind::text, ', ' ORDER BY relname) FROM pg_class WHERE relnamespace = 'elsewhere'::regnamespace AND relkind <> 'i' AND relkind <> 'I'`))
	require.Equal(t, 2, ask[int](t, s.root, `SELECT count(*)::int FROM pg_index WHERE indrelid = 'elsewhere.w__data'::regclass`))
	require.Equal(t, "mvscheduler: data of elsewhere.w", ask[string](t, s.root, `SELECT obj_description('elsewhere.w__data'::regclass)`))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET name = `+quote(s.owner+".v")+`, indexes = NULL`)
	require.Equal(t, "dependent v, v v, v__data p, v__gate m, v__query v", s.relations(t))
	require.Equal(t, 1, ask[int](t, s.root, `SELECT count(*)::int FROM pg_index WHERE indrelid = $1::text::regclass`, s.owner+".v__data"))

	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = replace(query, 'sum(value)', 'max(value)'), bucket_width = '2 hours', timezone = 'Europe/Berlin', lateness = '1 day', change_tracking = 'none'`)
	require.Contains(t, ask[string](t, s.alice, `SELECT pg_get_viewdef('v__query'::regclass)`), "max(")
	require.Equal(t, "02:00:00 1 day", ask[string](t, s.root, `SELECT bucket_width || ' ' || lateness FROM mvscheduler.view_state`))
	for statement, code := range map[string]string{
		`UPDATE mvscheduler.views SET query = replace(query, 'count(*) AS n', 'count(*)::int AS n')`:                     "2BP01",
		`UPDATE mvscheduler.views SET unique_key = '{device}'`:                                                           "22023",
		`UPDATE mvscheduler.views SET time_column = 'device'`:                                                            "42804",
		`UPDATE mvscheduler.views SET time_column = 'nosuch'`:                                                            "42703",
		`UPDATE mvscheduler.views SET time_column = NULL`:                                                                "22023",
		`UPDATE mvscheduler.views SET bucket_width = NULL`:                                                               "22023",
		`UPDATE mvscheduler.views SET bucket_width = '-1 hour'`:                                                          "22023",
		`UPDATE mvscheduler.views SET query = replace(query, 'FROM metrics', 'FROM v AS metrics(ts, device, n, value)')`: "42P17",
	} {
		requireSQLState(t, s.alice, code, statement)
	}
	out := mvscheduler(t, s.db, s.owner, "", "export")
	require.Zero(t, out.code, out.stderr)
	require.Contains(t, out.stdout, "bucket_width")
	for _, command := range []string{"status", "list", "show " + s.owner + ".v"} {
		out := mvscheduler(t, s.db, s.owner, "", strings.Fields(command)...)
		require.Zero(t, out.code, "%s: %s", command, out.stderr)
	}

	bob := s.db.User(t, "bob")
	s.db.Exec(t, `GRANT USAGE, CREATE ON SCHEMA `+s.owner+` TO `+bob)
	requireSQLState(t, s.root, "55000", `UPDATE mvscheduler.views SET owner = `+quote(bob)+`::regrole`)
	s.db.Exec(t, `GRANT `+bob+` TO `+s.owner)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET owner = `+quote(bob)+`::regrole`)
	require.Equal(t, []string{bob}, ask[[]string](t, s.root, `SELECT array_agg(DISTINCT relowner::regrole::text) FROM pg_class WHERE relname ~ '^v(__|$)' AND relkind <> 'S'`))
	pgtest.Exec(t, s.alice, `DROP VIEW dependent`)
	pgtest.Exec(t, s.db.Conn(t, bob), `DELETE FROM mvscheduler.views`)
	require.Equal(t, "", s.relations(t))
	require.Zero(t, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.piece`))
}

func TestWhatMakesNoIncrementalViewIsRefusedWithTheWay(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE devices (id int, ts timestamptz)`, `CREATE VIEW shown AS SELECT ts, device, value FROM metrics`, `CREATE MATERIALIZED VIEW stored AS SELECT * FROM metrics`)
	before := s.relations(t)
	for name, c := range map[string]struct{ columns, query, code string }{
		"no time column":       {`bucket_width = '1 hour'`, hourly, "22023"},
		"no width":             {`time_column = 'hour'`, hourly, "22023"},
		"not a column":         {`time_column = 'day', bucket_width = '1 hour'`, hourly, "42703"},
		"not a time":           {`time_column = 'device', bucket_width = '1 hour'`, hourly, "42804"},
		"an expression":        {`time_column = 'hour', bucket_width = '1 hour'`, `SELECT date_trunc('hour', ts) AS hour, count(*) FROM metrics WHERE mvscheduler.in_window(ts + '1 hour') GROUP BY 1`, "0A000"},
		"of a view":            {`time_column = 'hour', bucket_width = '1 hour'`, `SELECT date_trunc('hour', ts) AS hour, count(*) FROM shown WHERE mvscheduler.in_window(ts) GROUP BY 1`, "0A000"},
		"of a stored view":     {`time_column = 'hour', bucket_width = '1 hour'`, `SELECT date_trunc('hour', ts) AS hour, count(*) FROM stored WHERE mvscheduler.in_window(ts) GROUP BY 1`, "0A000"},
		"of two tables":        {`time_column = 'hour', bucket_width = '1 hour'`, `SELECT date_trunc('hour', metrics.ts) AS hour, count(*) FROM metrics, devices WHERE mvscheduler.in_window(metrics.ts) AND mvscheduler.in_window(devices.ts) GROUP BY 1`, "0A000"},
		"cannot be told":       {`time_column = 'hour', bucket_width = '1 hour'`, `SELECT date_trunc('hour', m.ts) AS hour, max(d.ts) FROM metrics AS m, devices AS d WHERE mvscheduler.in_window(m.ts) GROUP BY 1`, "42702"},
		"a key without time":   {`time_column = 'hour', bucket_width = '1 hour', unique_key = '{device}'`, hourly, "22023"},
		"a key of no column":   {`time_column = 'hour', bucket_width = '1 hour', unique_key = '{hour,nosuch}'`, hourly, "42703"},
		"a wrong query":        {`time_column = 'hour', bucket_width = '1 hour'`, `SELECT nosuch AS hour`, "42703"},
		"a name of ours":       {`time_column = 'hour', bucket_width = '1 hour'`, `SELECT date_trunc('hour', ts) AS hour, count(*) AS "mvscheduler part" FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1`, "42939"},
		"a width that is none": {`time_column = 'hour', bucket_width = '0'`, hourly, "22023"},
	} {
		columns, values := "", ""
		for _, a := range splitAssignments(c.columns) {
			columns, values = columns+", "+a[0], values+", "+a[1]
		}
		_, err := s.alice.Exec(t.Context(), `INSERT INTO mvscheduler.views (name, query, method`+columns+`) VALUES ('w', $1, 'incremental'`+values+`)`, c.query)
		require.ErrorContains(t, err, c.code, name)
		require.NotEmpty(t, errorText(err))
	}
	pgtest.Exec(t, s.alice, `CREATE DOMAIN moment AS timestamptz CHECK (VALUE > '2000-01-01')`, `CREATE TABLE events ("At" moment NOT NULL, k int)`)
	_, err := s.alice.Exec(t.Context(), `INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width) VALUES ('w', 'SELECT date_trunc(''hour'', "At") AS hour, count(*) FROM events AS e WHERE mvscheduler.in_window(e."At") GROUP BY 1', 'incremental', 'hour', '1 hour')`)
	require.ErrorContains(t, err, `in_window asks about "At" of `+s.owner+`.events, whose type `+s.owner+`.moment is a domain`)
	require.Contains(t, errorText(err), `ALTER TABLE `+s.owner+`.events ALTER COLUMN "At" TYPE timestamp with time zone`)
	require.Equal(t, before, s.relations(t))
	// What another table is joined for does not matter, nor under which name the table of the times is read.
	s.incremental(t, "joined", `SELECT date_trunc('hour', m.ts) AS hour, d.id, count(*) AS n FROM metrics AS m JOIN devices AS d ON d.id = m.device WHERE mvscheduler.in_window(m.ts) GROUP BY 1, 2`)
	require.Equal(t, "metrics 1, devices 0", ask[string](t, s.alice, `SELECT string_agg(relation::regclass || ' ' || col, ', ' ORDER BY col DESC) FROM mvscheduler.sources_of('joined__query'::regclass)`))
	s.incremental(t, "twice", `SELECT date_trunc('hour', m.ts) AS hour, count(*) AS n FROM metrics AS m WHERE mvscheduler.in_window(m.ts) AND value < (SELECT max(value) FROM metrics) GROUP BY 1`)
	require.Equal(t, "metrics 1, metrics 0", ask[string](t, s.alice, `SELECT string_agg(relation::regclass || ' ' || col, ', ' ORDER BY col DESC) FROM mvscheduler.sources_of('twice__query'::regclass)`))
	s.incremental(t, "unbound", `SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM shown GROUP BY 1`)
	require.Equal(t, "metrics 0", ask[string](t, s.alice, `SELECT string_agg(relation::regclass || ' ' || col, ', ' ORDER BY col DESC) FROM mvscheduler.sources_of('unbound__query'::regclass)`))
	s.incremental(t, "chained", `SELECT date_trunc('day', hour) AS hour, sum(n) AS n FROM joined WHERE mvscheduler.in_window(hour) GROUP BY 1`, "bucket_width", "1 day")
	require.Equal(t, "joined__data 1", ask[string](t, s.alice, `SELECT string_agg(relation::regclass || ' ' || col, ', ' ORDER BY col DESC) FROM mvscheduler.sources_of('chained__query'::regclass)`))
	require.Equal(t, []string{s.owner + ".joined"}, ask[[]string](t, s.alice, `SELECT upstream FROM mvscheduler.status WHERE name LIKE '%.chained'`))
	s.incremental(t, "keyless", `SELECT date_trunc('hour', ts) AS hour, to_json(device) AS j FROM metrics WHERE mvscheduler.in_window(ts)`)
	require.True(t, ask[bool](t, s.alice, `SELECT mvscheduler.key_of('keyless__data'::regclass) IS NULL`))
	pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.views`)
	require.Equal(t, before, s.relations(t))
}

// splitAssignments cuts "a = 1, b = 2" into pairs.
func splitAssignments(text string) (pairs [][2]string) {
	for _, a := range regexp.MustCompile(`(\w+) = ('[^']*')`).FindAllStringSubmatch(text, -1) {
		pairs = append(pairs, [2]string{a[1], a[2]})
	}
	return pairs
}

// What is granted by default is granted on the view that people read; what it is made of is its owner's alone.
func TestDefaultPrivilegesGiveNobodyThePiecesOfAnIncrementalView(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	bob := s.db.User(t, "bob")
	pgtest.Exec(t, s.alice, `ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO `+bob)
	s.incremental(t, "v", hourly)
	require.Equal(t, "v", ask[string](t, s.alice, `SELECT string_agg(c.relname, ' ' ORDER BY c.relname) FROM pg_class AS c WHERE c.relname ~ '^v(__|$)' AND c.relkind IN ('v', 'p', 'm') AND has_table_privilege($1, c.oid, 'SELECT')`, bob))
}
