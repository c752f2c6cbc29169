package integration

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestQueriesThatAreNotWhatTheyLookLikeAreRefusedOrRight(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE other (ts timestamptz NOT NULL, device int NOT NULL, value numeric)`, `INSERT INTO other VALUES ('2026-03-01 10:00+00', 1, 1), ('2026-03-04 10:00+00', 2, 1)`,
		`CREATE TABLE allowed (device int)`, `INSERT INTO allowed VALUES (1)`, `CREATE FUNCTION is_allowed(d int) RETURNS boolean LANGUAGE sql STABLE AS $$ SELECT EXISTS (SELECT FROM `+s.owner+`.allowed AS a WHERE a.device = d) $$`,
		`CREATE FUNCTION allowed_ones() RETURNS SETOF int LANGUAGE sql STABLE BEGIN ATOMIC SELECT device FROM allowed; END`)
	const apart = "rows of several buckets would be aggregated, compared or numbered together"
	cases := map[string]struct{ query, change, refused string }{ // empty = it is not, and is right
		"inner":    {`SELECT date_trunc('hour', ts) AS hour, device, busy(ts) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1, 2, 3`, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100)`, "in_window is asked in a function or policy that the query depends on"},
		"literal":  {`SELECT date_trunc('hour', ts) AS hour, device, count(*) AS n, (SELECT count(*) FROM metrics) AS whole, 'mvscheduler.in_window(ts)'::text AS note FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100)`, "of which table column in_window is asked about cannot be told"},
		"twice":    {`SELECT date_trunc('hour', ts) AS hour, device, count(*) AS n, (SELECT count(*) FROM metrics) AS whole FROM metrics WHERE mvscheduler.in_window(ts) AND mvscheduler.in_window(ts) GROUP BY 1, 2`, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100)`, ""},
		"alias":    {`SELECT date_trunc('hour', metrics.ts) AS hour, other.device, count(*) AS n FROM metrics AS other JOIN other AS metrics ON metrics.device = other.device WHERE mvscheduler.in_window(metrics.ts) GROUP BY 1, 2`, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100)`, "in_window(metrics.ts) asks about no column of a table"},
		"rollup":   {`SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY ROLLUP (1)`, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100)`, "LIMIT, OFFSET, FETCH and grouping sets cannot be computed window by window"},
		"selfjoin": {`SELECT date_trunc('hour', metrics.ts) AS hour, metrics.device, count(*) AS n FROM metrics JOIN metrics AS m ON m.device = metrics.device AND mvscheduler.in_window(m.ts) WHERE mvscheduler.in_window(metrics.ts) GROUP BY 1, 2`, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100)`, "column hour is not computed from the column that in_window is asked about alone"},
		"atomic":   {`SELECT date_trunc('hour', ts) AS hour, device, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) AND device IN (SELECT allowed_ones()) GROUP BY 1, 2`, `INSERT INTO allowed VALUES (2)`, ""},
		"replaced": {`SELECT date_trunc('hour', ts) AS hour, device, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) AND is_allowed(device) GROUP BY 1, 2`, `CREATE OR REPLACE FUNCTION is_allowed(d int) RETURNS boolean LANGUAGE sql STABLE AS $$ SELECT true $$`, ""},
		"running":  {`SELECT date_trunc('hour', ts) AS hour, device, sum(count(*)) OVER (PARTITION BY device ORDER BY date_trunc('hour', ts)) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, `INSERT INTO metrics VALUES ('2026-03-01 00:05+00', 1, 100)`, apart},
		"lag":      {`SELECT date_trunc('hour', x.ts) AS hour, device, sum(x.ts - x.last) AS pause FROM (SELECT ts, device, lag(ts) OVER (PARTITION BY device ORDER BY ts) AS last FROM metrics WHERE mvscheduler.in_window(ts)) AS x GROUP BY 1, 2`, `INSERT INTO metrics VALUES ('2026-03-01 00:05+00', 1, 100)`, apart},
		"cohort":   {`SELECT x.hour, count(*) AS n FROM (SELECT device, date_trunc('hour', min(ts)) AS hour FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY device) AS x GROUP BY 1`, `INSERT INTO metrics VALUES ('2026-03-01 00:05+00', 1, 100)`, apart},
		"first":    {`SELECT DISTINCT ON (device) date_trunc('hour', ts) AS hour, device, value FROM metrics WHERE mvscheduler.in_window(ts) ORDER BY device, ts`, `INSERT INTO metrics VALUES ('2026-03-01 00:05+00', 1, 100)`, apart},
		"whole":    {`SELECT date_trunc('hour', max(ts)) AS hour, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts)`, `INSERT INTO metrics VALUES ('2026-03-01 00:05+00', 1, 100)`, apart},
		"ordered":  {`SELECT date_trunc('hour', max(ts)) AS hour, device, array_agg(value ORDER BY ts) AS all FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY device`, `INSERT INTO metrics VALUES ('2026-03-01 00:05+00', 1, 100)`, apart},
		"offset":   {`SELECT date_trunc('hour', ts) AS hour, device, value FROM metrics WHERE mvscheduler.in_window(ts) ORDER BY ts, device LIMIT 50`, `INSERT INTO metrics VALUES ('2026-03-01 00:05+00', 1, 100)`, "LIMIT, OFFSET, FETCH and grouping sets cannot be computed window by window"},
	}
	for _, name := range drawn(t, 6, slices.Sorted(maps.Keys(cases))) {
		c := cases[name]
		t.Run(name, func(t *testing.T) {
			s := newMetrics(t)
			pgtest.Exec(t, s.alice, `CREATE TABLE other (ts timestamptz NOT NULL, device int NOT NULL, value numeric)`, `INSERT INTO other VALUES ('2026-03-01 10:00+00', 1, 1), ('2026-03-04 10:00+00', 2, 1)`,
				`CREATE TABLE allowed (device int)`, `INSERT INTO allowed VALUES (1)`, `CREATE FUNCTION is_allowed(d int) RETURNS boolean LANGUAGE sql STABLE AS $$ SELECT EXISTS (SELECT FROM `+s.owner+`.allowed AS a WHERE a.device = d) $$`,
				`CREATE FUNCTION allowed_ones() RETURNS SETOF int LANGUAGE sql STABLE BEGIN ATOMIC SELECT device FROM allowed; END`,
				`CREATE FUNCTION busy(at timestamptz) RETURNS bigint LANGUAGE sql STABLE BEGIN ATOMIC SELECT count(*) FROM metrics AS m WHERE mvscheduler.in_window(m.ts); END`)
			_, err := s.alice.Exec(t.Context(), `INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width, refresh_on, timezone, max_attempts) VALUES ('v', $1, 'incremental', 'hour', '1 hour', 'manual', 'UTC', 1)`, c.query)
			if c.refused != "" {
				require.ErrorContains(t, err, "ERROR: "+c.refused+" (SQLSTATE ")
				return
			}
			require.NoError(t, err)
			startSidecar(t, s.db)
			s.incremented(t, "v")
			same(t, s.alice, "v")
			pgtest.Exec(t, s.alice, c.change)
			s.incremented(t, "v")
			t.Log(s.last(t, "v", "reason"))
			same(t, s.alice, "v")
		})
	}
}

// What is stored of a query tells where in_window is asked, whatever things are called.
func TestWindowsMayNotMeetExceptInTheArmsOfAUnion(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	pgtest.Exec(t, s.alice, `CREATE VIEW within AS SELECT * FROM metrics WHERE mvscheduler.in_window(ts)`, `CREATE VIEW whole AS SELECT * FROM metrics`,
		`CREATE TABLE "{QUERY :rtekind 0 :relid 1 }" ("} :limitCount {" int)`)
	const one = `SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1`
	for _, c := range []struct{ query, sources, code string }{
		{one, "metrics 1", ""},
		{one + ` UNION ALL ` + one, "metrics 1", ""},
		{one + ` UNION ALL ` + one + ` EXCEPT ` + one, "metrics 1", ""},
		{one + ` UNION ALL SELECT date_trunc('hour', ts), 0 FROM metrics`, "metrics 1, metrics 0", ""},
		{`WITH m AS (SELECT * FROM metrics WHERE mvscheduler.in_window(ts)) SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM m GROUP BY 1`, "metrics 1", ""},
		{`WITH m AS (SELECT * FROM metrics WHERE mvscheduler.in_window(ts)) SELECT date_trunc('hour', a.ts) AS hour, count(*) AS n FROM m AS a JOIN m AS b USING (device) GROUP BY 1`, "", "0A000"},
		{`SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM within GROUP BY 1`, "metrics 1", ""},
		{`SELECT date_trunc('hour', a.ts) AS hour, count(*) AS n FROM within AS a JOIN within AS b USING (device) GROUP BY 1`, "", "0A000"},
		{`SELECT date_trunc('hour', a.ts) AS hour, count(*) AS n FROM within AS a JOIN whole AS b USING (device) GROUP BY 1`, "metrics 1, metrics 0", ""},
		{`SELECT date_trunc('hour', a.ts) AS hour, count(*) AS n FROM metrics AS a WHERE mvscheduler.in_window(a.ts) AND EXISTS (SELECT FROM metrics AS b WHERE mvscheduler.in_window(b.ts) AND b.device = a.device) GROUP BY 1`, "", "0A000"},
		{`SELECT hour, n FROM (` + one + ` LIMIT 3) AS q`, "", "0A000"},
		{`SELECT hour, n FROM (` + one + `) AS q, LATERAL (SELECT 1 LIMIT 1) AS l`, "metrics 1", ""},
		{`SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM metrics, "{QUERY :rtekind 0 :relid 1 }" AS "} }" WHERE mvscheduler.in_window(ts) AND "} :limitCount {" = 1 GROUP BY 1`, `metrics 1, "{QUERY :rtekind 0 :relid 1 }" 0`, ""},
		{`SELECT date_trunc('hour', ts) AS hour, count(*) AS n, ':funcid mvscheduler.in_window(ts)' AS x FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1`, "", "42702"},
	} {
		pgtest.Exec(t, s.alice, `DROP VIEW IF EXISTS q`, `CREATE VIEW q AS `+c.query)
		var sources string
		err := s.alice.QueryRow(t.Context(), `SELECT string_agg(relation::regclass || ' ' || col, ', ' ORDER BY col DESC) FROM mvscheduler.sources_of('q'::regclass)`).Scan(&sources)
		if c.code != "" {
			require.ErrorContains(t, err, c.code, c.query)
			continue
		}
		require.NoError(t, err, c.query)
		require.Equal(t, c.sources, sources, c.query)
	}
}

// By these a row would be counted in a bucket far from it, and no row be left whose label tells.
func TestNothingHidesThatABucketIsFarFromWhatItIsMadeOf(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE calendar (hour timestamptz, next timestamptz)`)
	const (
		this     = `SELECT date_trunc('hour', ts) AS hour, device FROM metrics WHERE mvscheduler.in_window(ts)`
		last     = `SELECT date_trunc('hour', ts) + interval '7 days', device FROM metrics WHERE mvscheduler.in_window(ts)`
		both     = `(SELECT hour, device, true AS now FROM (` + this + `) AS t UNION ALL SELECT hour, device, false FROM (` + last + `) AS l(hour, device)) AS u`
		calendar = ` FROM metrics AS m JOIN calendar AS c ON m.ts >= c.hour - interval '7 days' AND m.ts < c.next WHERE mvscheduler.in_window(m.ts)`
		is       = ` GROUP BY 1, 2 HAVING bool_or(h <= ts) AND NOT bool_or(h > ts)`
	)
	for _, c := range []struct {
		query   string
		refused bool
	}{
		{this + ` EXCEPT ` + last, true},
		{this + ` INTERSECT ` + last, true},
		{this + ` UNION ALL ` + last, false}, // the refresh finds those rows
		{this + ` EXCEPT ` + this + ` AND value > 5`, false},
		{`SELECT hour, device FROM ` + both + ` GROUP BY 1, 2 HAVING NOT bool_or(NOT now)`, true},
		{`SELECT hour, device FROM (SELECT hour, device, bool_and(now) AS news FROM ` + both + ` GROUP BY 1, 2) AS g WHERE news`, true},
		{`SELECT hour, device, bool_and(now) AS news FROM ` + both + ` GROUP BY 1, 2`, false},
		{`SELECT hour, device FROM ` + both + ` WHERE now`, false},
		{`SELECT c.hour, device` + calendar + ` GROUP BY 1, 2 HAVING NOT bool_or(m.ts < c.hour)`, true},
		{`SELECT c.hour, device` + calendar + ` GROUP BY 1, 2 HAVING device > 1`, false},
		{`SELECT hour, device FROM (SELECT c.hour, device, m.ts >= c.hour AS now, bool_or(m.ts < c.hour) OVER (PARTITION BY c.hour, device) AS before` + calendar + `) AS w WHERE now AND NOT before`, true},
		{`SELECT h AS hour, device FROM metrics, LATERAL generate_series(ts, ts + interval '7 days', '7 days') AS h WHERE mvscheduler.in_window(ts)` + is, true},
		{`SELECT h AS hour, device FROM (metrics CROSS JOIN LATERAL generate_series(ts, ts + interval '7 days', '7 days') AS g(h)) AS j WHERE mvscheduler.in_window(ts)` + is, true},
		{`SELECT h AS hour, device FROM metrics, LATERAL (VALUES (ts), (ts + interval '7 days')) AS v(h) WHERE mvscheduler.in_window(ts)` + is, true},
		{`SELECT h AS hour, device FROM (SELECT generate_series(ts, ts + interval '7 days', '7 days') AS h, ts, device FROM metrics WHERE mvscheduler.in_window(ts)) AS q` + is, true},
		{`SELECT h AS hour, device FROM metrics, LATERAL date_trunc('hour', ts) AS h WHERE mvscheduler.in_window(ts)` + is, false},
		{`SELECT date_trunc('hour', ts) AS hour, part FROM metrics, unnest(ARRAY[device, 0]) AS part WHERE mvscheduler.in_window(ts) GROUP BY 1, 2 HAVING count(*) > 1`, false},
	} {
		pgtest.Exec(t, s.alice, `DROP VIEW IF EXISTS q`, `CREATE VIEW q AS `+c.query)
		_, err := s.alice.Exec(t.Context(), `SELECT * FROM mvscheduler.sources_of('q'::regclass, 'hour')`)
		if c.refused {
			require.ErrorContains(t, err, "and then be left out", c.query)
			continue
		}
		require.NoError(t, err, c.query)
	}
}

// Rows of several buckets never meet in these.
func TestWhatMeetsWithinABucketIsNoReasonToRefuse(t *testing.T) {
	t.Parallel()
	cases := map[string]string{
		"rank":     `SELECT date_trunc('hour', ts) AS hour, device, count(*) AS n, rank() OVER (PARTITION BY date_trunc('hour', ts) ORDER BY count(*) DESC, device) AS place FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`,
		"named":    `SELECT date_trunc('hour', ts) AS hour, device, count(*) AS n, row_number() OVER (w ORDER BY device) AS place, count(*) OVER w AS devices FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1, 2 WINDOW w AS (PARTITION BY date_trunc('hour', ts))`,
		"last":     `SELECT DISTINCT ON (hour, device) date_trunc('hour', ts) AS hour, device, ts AS at, value FROM metrics WHERE mvscheduler.in_window(ts) ORDER BY hour, device, ts DESC, value`,
		"distinct": `SELECT DISTINCT date_trunc('hour', ts) AS hour, device FROM metrics WHERE mvscheduler.in_window(ts)`,
		"minutes":  `SELECT date_trunc('hour', x.minute) AS hour, max(x.n) AS n, array_agg(x.device ORDER BY x.minute, x.device) AS devices FROM (SELECT date_trunc('minute', ts) AS minute, device, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1, 2) AS x GROUP BY 1`,
		"union":    `SELECT date_trunc('hour', ts) AS hour, device, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) AND value > 5 GROUP BY 1, 2 UNION SELECT date_trunc('hour', ts), -device, count(*) FROM metrics WHERE mvscheduler.in_window(ts) AND value <= 5 GROUP BY 1, 2`,
		"first of": `SELECT date_trunc('hour', ts) AS hour, device, (array_agg(value ORDER BY ts, value))[1] AS first, count(DISTINCT value) AS values FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY device, date_trunc('hour', ts) HAVING count(*) > 1`,
		"average":  `SELECT date_trunc('hour', ts) AS hour, device, value - (SELECT avg(value) FROM metrics) AS over FROM metrics WHERE mvscheduler.in_window(ts)`,
	}
	for _, name := range drawn(t, 4, slices.Sorted(maps.Keys(cases))) {
		query := cases[name]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newMetrics(t)
			s.incremental(t, "v", query)
			startSidecar(t, s.db)
			s.incremented(t, "v")
			same(t, s.alice, "v")
			pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100), ('2026-03-01 00:05+00', 2, 7)`)
			s.incremented(t, "v")
			same(t, s.alice, "v")
		})
	}
}

// What a query is made of is looked at for each refresh: who writes hundreds of SELECTs would have the sidecar busy with that.
func TestAQueryOfTooManySelectsIsRefusedAlsoWhenAViewBelowBecomesOne(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	arms := func(n int) string {
		return strings.Repeat(`SELECT 1 AS device UNION ALL `, n-1) + `SELECT 2`
	}
	query := `SELECT date_trunc('hour', m.ts) AS hour, m.device, count(*) AS n FROM metrics AS m JOIN few AS f ON f.device = m.device WHERE mvscheduler.in_window(m.ts) GROUP BY 1, 2`
	pgtest.Exec(t, s.alice, `CREATE VIEW few AS `+arms(90))
	s.manage(t, "v", query, "method", "incremental", "time_column", "hour", "bucket_width", "1 hour", "refresh_on", "manual", "max_attempts", 1)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, `CREATE OR REPLACE VIEW few AS `+arms(150), `SELECT mvscheduler.refresh_view('v')`)
	until(t, s.alice, `SELECT state = 'failed' FROM mvscheduler.runs WHERE view_name LIKE '%.v' ORDER BY id DESC LIMIT 1`)
	require.Contains(t, s.last(t, "v", "error"), "consists of 152 SELECTs")
	_, err := s.alice.Exec(t.Context(), `UPDATE mvscheduler.views SET query = query || ' -- again' WHERE name LIKE '%.v'`)
	require.ErrorContains(t, err, "consists of 152 SELECTs, 128 are followed at most")
}
