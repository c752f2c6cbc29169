package integration

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// shapes are views upon VIEW, a managed view with the columns p, q and s, that use p and q alone. Next to it there are
// tables w (k, p, z), u (k, n) and pair (p, q).
var shapes = map[string]string{
	"plain":           `SELECT p, q FROM VIEW`,
	"aggregate":       `SELECT q % 2 AS z, sum(p) AS total FROM VIEW GROUP BY 1 HAVING count(*) > 0 ORDER BY 2`,
	"ordered":         `SELECT p AS q, q AS r FROM VIEW ORDER BY VIEW.q DESC`,
	"distinct":        `SELECT DISTINCT ON (q % 2) q % 2 AS z, p FROM VIEW ORDER BY q % 2, p`,
	"aliased":         `SELECT z.p AS a, z.q AS z FROM VIEW AS z`,
	"twice":           `SELECT a.p, b.q FROM VIEW AS a JOIN VIEW AS b ON a.p = b.p`,
	"using":           `SELECT p, VIEW.q, w.k FROM VIEW JOIN w USING (p)`,
	"left using":      `SELECT p, VIEW.q FROM w LEFT JOIN VIEW USING (p)`,
	"full using":      `SELECT p, VIEW.q, w.k FROM VIEW FULL JOIN w USING (p)`,
	"using elsewhere": `SELECT k, VIEW.p FROM VIEW CROSS JOIN (w JOIN u USING (k))`,
	"full elsewhere":  `SELECT k, VIEW.p FROM VIEW CROSS JOIN (w FULL JOIN u USING (k))`,
	"shared name":     `SELECT VIEW.q, VIEW.p AS vp FROM VIEW CROSS JOIN (w FULL JOIN (SELECT 1 AS p) AS o USING (p))`,
	"joined twice":    `SELECT VIEW.p, k, u.n FROM (VIEW JOIN w ON VIEW.p = w.p) JOIN u USING (k)`,
	"natural":         `SELECT p, q FROM VIEW NATURAL JOIN pair`,
	"star":            `SELECT * FROM (SELECT p, q FROM VIEW) AS o`,
	"lateral":         `SELECT VIEW.p, l.z FROM VIEW, LATERAL (SELECT VIEW.q + w.z AS z FROM w WHERE w.p = VIEW.p) AS l`,
	"lateral values":  `SELECT VIEW.p, l.z FROM VIEW, LATERAL (VALUES (VIEW.q), (VIEW.p)) AS l(z)`,
	"correlated":      `SELECT p, (SELECT max(z) FROM w WHERE w.p = VIEW.p) AS m FROM VIEW WHERE EXISTS (SELECT FROM u WHERE k > q - 1000)`,
	"inside":          `SELECT k FROM u WHERE k IN (SELECT p FROM VIEW) OR k = (SELECT count(*) FROM VIEW AS i WHERE i.p > u.k)`,
	"with":            `WITH c(a, b) AS (SELECT p, q FROM VIEW), d AS (SELECT * FROM c) SELECT a, b FROM d`,
	"recursive":       `WITH RECURSIVE c AS (SELECT p, 1 AS z FROM VIEW UNION ALL SELECT VIEW.p, c.z + 1 FROM c JOIN VIEW ON VIEW.p = c.p WHERE c.z < 3) SELECT p, z FROM c`,
	"union":           `SELECT p AS a, q AS b FROM VIEW UNION ALL SELECT k, n FROM u ORDER BY 1, b`,
	"window":          `SELECT p, sum(q) OVER w2 AS z FROM VIEW WINDOW w2 AS (ORDER BY p)`,
	"subquery names":  `SELECT a, b FROM (SELECT p, q FROM VIEW) AS o(a, b)`,
	"varchars":        `SELECT p::varchar(4) AS v, q FROM VIEW WHERE p::varchar(4) IN ('1', '2', '3')`,
	"sampled":         `SELECT p FROM VIEW TABLESAMPLE bernoulli (100)`,
	"only":            `SELECT p, q FROM ONLY VIEW`,
	"json":            `SELECT to_jsonb(VIEW)->>'p' AS p, row_to_json(VIEW)->>'q' AS q FROM VIEW`,
	"counted":         `SELECT count(VIEW) AS n FROM VIEW`,
	"grouping sets":   `SELECT p, q % 2 AS e, count(*) AS z FROM VIEW GROUP BY GROUPING SETS ((p), (q % 2))`,
	"positions":       `SELECT x.a, x.b FROM VIEW AS x(a, b)`,
	"one position":    `SELECT x.a, x.q FROM VIEW AS x(a)`,
	"join positions":  `SELECT a, b FROM (VIEW CROSS JOIN (SELECT 7 AS seven) AS k) AS j(a, b, c, d)`,
	"behind":          `SELECT d FROM (VIEW CROSS JOIN (SELECT 7 AS seven) AS k) AS j(a, b, c, d)`,
	"named join":      `SELECT j.q, j.k FROM (VIEW JOIN w AS w(k, m) ON m = p) AS j`,
	"named using":     `SELECT j.p, VIEW.q FROM VIEW JOIN w USING (p) AS j`,
	"deep positions":  `SELECT (SELECT sum(b) FROM VIEW AS x(a, b) WHERE a = u.k) AS z, k FROM u`,
	"whole text":      `SELECT p, md5(VIEW::text) AS sum FROM VIEW`,
	"whole null":      `SELECT p FROM VIEW WHERE VIEW IS NOT NULL`,
	"whole compared":  `SELECT VIEW.p FROM VIEW JOIN VIEW AS o ON o = VIEW`,
	"whole join":      `SELECT to_jsonb(j) AS j FROM (VIEW CROSS JOIN u) AS j`,
	"regclass":        `SELECT p, 'VIEW'::regclass = VIEW.tableoid AS z FROM VIEW`,
}

// redefinitions keep what p and q of a view hold.
var redefinitions = map[string]string{
	"appended":       `SELECT p, q, s, -p AS z FROM t`,
	"appended k":     `SELECT p, q, s, -p AS k FROM t`,
	"appended a":     `SELECT p, q, s, -p AS a, -q AS b FROM t`,
	"in front":       `SELECT -p AS z, p, q, s FROM t`,
	"text in front":  `SELECT s AS z, p, q FROM t`,
	"k in between":   `SELECT p, -p AS k, q, s FROM t`,
	"exchanged":      `SELECT q, p, s FROM t`,
	"unused gone":    `SELECT p, q FROM t`,
	"unused retyped": `SELECT p, q, p AS s FROM t`,
	"moved":          `SELECT s, q, p, 1 AS m FROM t`,
	"named alike":    `SELECT 0 AS p_1, q, p FROM t`,
}

func (s *scene) shaped(t testing.TB) {
	t.Helper()
	pgtest.Exec(t, s.alice, `CREATE TABLE t (p int PRIMARY KEY, q int, s text)`, `INSERT INTO t SELECT g, g * 100, 's' || g FROM generate_series(1, 3) AS g`,
		`CREATE TABLE w (k int, p int, z int)`, `INSERT INTO w SELECT g, g, g * 7 FROM generate_series(1, 4) AS g`,
		`CREATE TABLE u (k int, n int)`, `INSERT INTO u SELECT g, g + 50 FROM generate_series(1, 4) AS g`,
		`CREATE TABLE pair (p int, q int)`, `INSERT INTO pair VALUES (1, 100), (2, 999)`)
}

// contents of a view by the names of its columns, whatever the order of its rows.
func (s *scene) contents(t testing.TB, view string) string {
	t.Helper()
	return ask[string](t, s.alice, `SELECT coalesce(string_agg(r, ' ' ORDER BY r), '') FROM (SELECT to_jsonb(x)::text AS r FROM `+view+` AS x) AS rows`)
}

// refused is what an UPDATE that gives a view another query is told, and "" when it is taken.
func (s *scene) refused(t testing.TB, view, query string) string {
	t.Helper()
	_, err := s.alice.Exec(t.Context(), `UPDATE mvscheduler.views SET query = $2 WHERE name = $1`, s.owner+"."+view, query)
	var refusal *pgconn.PgError
	if errors.As(err, &refusal) {
		require.Equal(t, "2BP01", refusal.Code, "%s: %s", query, refusal.Message)
		return refusal.Detail
	}
	require.NoError(t, err)
	return ""
}

func TestAViewThatNamesColumnsByTheirPositionKeepsANewVersionAway(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.shaped(t)
	s.manage(t, "ali", `SELECT p, q FROM t`, "refresh_interval", "1 hour")
	pgtest.Exec(t, s.alice, `CREATE VIEW dep AS SELECT x.a, x.b FROM ali AS x(a, b)`,
		`CREATE VIEW dep2 AS SELECT a, b FROM (ali CROSS JOIN (SELECT 7 AS seven) AS k) AS j(a, b, c)`, `CREATE VIEW dep3 AS SELECT max(b) AS top FROM dep`)
	s.manage(t, "down", `SELECT a, b FROM ali AS x(a, b)`, "refresh_interval", "1 hour")
	startSidecar(t, s.db)
	refreshed(t, s.alice, "ali", "down")
	for _, query := range []string{`SELECT -p AS z, p, q FROM t`, `SELECT q, p FROM t`, `SELECT s, p, q FROM t`} {
		said := s.refused(t, "ali", query)
		for _, who := range []string{"view " + s.owner + ".dep gives", "view " + s.owner + ".dep2 names a join", "managed view " + s.owner + ".down gives"} {
			require.Contains(t, said, who, query)
		}
	}
	// With names instead, all of them follow.
	pgtest.Exec(t, s.alice, `CREATE OR REPLACE VIEW dep AS SELECT p AS a, q AS b FROM ali`, `CREATE OR REPLACE VIEW dep2 AS SELECT p AS a, q AS b FROM ali CROSS JOIN (SELECT 7) AS k`,
		`UPDATE mvscheduler.views SET query = 'SELECT p AS a, q AS b FROM ali' WHERE name LIKE '%.down'`)
	s.redefine(t, "ali", `SELECT -p AS z, q, p FROM t`)
	s.oneVersion(t, "ali")
	refreshed(t, s.alice, "down")
	for _, view := range []string{"dep", "dep2", "down"} {
		require.Equal(t, `{"a": 1, "b": 100} {"a": 2, "b": 200} {"a": 3, "b": 300}`, s.contents(t, view), view)
	}
	require.Equal(t, `{"top": 300}`, s.contents(t, "dep3"))
}

// pairs draws from all pairs of shapes and redefinitions.
func pairs(t testing.TB, count int, suits func(shape string) bool) [][2]string {
	t.Helper()
	var all [][2]string
	for _, shape := range slices.Sorted(maps.Keys(shapes)) {
		for _, change := range slices.Sorted(maps.Keys(redefinitions)) {
			if suits(shape) {
				all = append(all, [2]string{shape, change})
			}
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	if long {
		return all
	}
	return all[:count]
}

// redefinePairs gives one view for each pair a dependent and a new version, and says how often that was refused by the UPDATE
// and by the swap. Where it was not, the dependent shows what it showed.
func (s *scene) redefinePairs(t testing.TB, pairs [][2]string) (byUpdate, bySwap int) {
	t.Helper()
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.settings SET max_runs_per_owner = 20`)
	taken, before := map[string][2]string{}, map[string]string{} // by view
	for i, pair := range pairs {
		view := fmt.Sprintf("v%d", i)
		s.manage(t, view, `SELECT p, q, s FROM t`, "refresh_interval", nil, "refresh_on", "manual")
		pgtest.Exec(t, s.alice, `CREATE VIEW `+view+`_dep WITH (security_barrier) AS `+strings.ReplaceAll(shapes[pair[0]], "VIEW", view), `REFRESH MATERIALIZED VIEW `+view)
		if said := s.refused(t, view, redefinitions[pair[1]]); said != "" {
			require.Contains(t, said, "view "+s.owner+"."+view+"_dep ", pair)
			byUpdate++
			continue
		}
		taken[view], before[view] = pair, s.contents(t, view+"_dep")
	}
	startSidecar(t, s.db)
	for view := range taken {
		pgtest.Exec(t, s.alice, `SELECT mvscheduler.refresh_view('`+view+`')`)
	}
	for view, pair := range taken {
		until(t, s.alice, `SELECT activity = 'paused' OR NOT EXISTS (SELECT FROM mvscheduler.visible_pieces AS p WHERE p.view_id = s.id AND p.kind = 'next') FROM mvscheduler.status AS s WHERE name LIKE '%.' || $1`, view)
		if reason := ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status WHERE name LIKE '%.' || $1`, view); reason != "" {
			require.Contains(t, reason, "view "+s.owner+"."+view+"_dep ", pair)
			bySwap++
		}
		require.Equal(t, before[view], s.contents(t, view+"_dep"), pair)
		require.True(t, ask[bool](t, s.alice, `SELECT reloptions::text LIKE '%security_barrier%' FROM pg_class WHERE oid = $1::text::regclass`, view+"_dep"))
	}
	t.Logf("of %d pairs %d were refused by the UPDATE and %d by the swap", len(pairs), byUpdate, bySwap)
	return byUpdate, bySwap
}

func TestDependentsShowByNameWhatTheyShowedOrAreRefusedByName(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.shaped(t)
	_, bySwap := s.redefinePairs(t, pairs(t, 60, func(string) bool { return true }))
	require.Zero(t, bySwap, "what the UPDATE takes can be done")
}

// The swap does not rely on what the UPDATE has looked at.
func TestTheSwapItselfLetsNoDependentShowOtherColumns(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.shaped(t)
	pgtest.Exec(t, s.root, `CREATE OR REPLACE FUNCTION mvscheduler.positional(reader oid, relation oid, next oid) RETURNS TABLE (what text) LANGUAGE sql AS 'SELECT NULL::text WHERE false'`)
	_, bySwap := s.redefinePairs(t, pairs(t, 60, func(shape string) bool { return !strings.HasPrefix(shape, "whole") }))
	require.NotZero(t, bySwap)
}

// What follows and what is refused, for shapes of which more than safety is promised.
func TestWhatDependsByNameFollows(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.shaped(t)
	for i, c := range []struct {
		shape, change string
		says          string
	}{
		{"plain", "exchanged", ""}, {"using", "in front", ""}, {"full using", "moved", ""}, {"lateral", "k in between", ""}, {"with", "exchanged", ""}, {"json", "in front", ""},
		{"recursive", "moved", ""}, {"twice", "in front", ""}, {"natural", "in front", ""}, {"subquery names", "in front", ""}, {"varchars", "exchanged", ""}, {"counted", "moved", ""},
		{"positions", "appended", ""}, {"shared name", "appended", ""}, {"regclass", "in front", ""},
		{"positions", "appended a", "gives columns other names by their position"}, {"positions", "exchanged", "gives columns other names by their position"}, // the same columns in another order
		{"positions", "text in front", "gives columns other names by their position"}, {"one position", "unused gone", "gives columns other names by their position"},
		{"deep positions", "in front", "gives columns other names by their position"}, {"shared name", "exchanged", "gives columns other names by their position"},
		{"joined twice", "appended k", "joins USING (k), and a column of that name is added"}, {"full elsewhere", "k in between", "joins USING (k)"},
		{"join positions", "in front", "names a join"}, {"named join", "appended", "names a join"}, {"whole join", "appended", "names a join"},
		{"whole text", "appended", "uses whole rows"}, {"whole null", "moved", "uses whole rows"}, {"whole compared", "in front", "uses whole rows"},
	} {
		view := fmt.Sprintf("v%d", i)
		s.manage(t, view, `SELECT p, q, s FROM t`, "refresh_interval", nil, "refresh_on", "manual")
		pgtest.Exec(t, s.alice, `CREATE VIEW `+view+`_dep AS `+strings.ReplaceAll(shapes[c.shape], "VIEW", view))
		said := s.refused(t, view, redefinitions[c.change])
		if c.says == "" {
			require.Empty(t, said, c)
		} else {
			require.Contains(t, said, "view "+s.owner+"."+view+"_dep "+c.says, c)
		}
	}
}

func TestADependentThatComesWhileANewVersionIsBuiltIsNamedAndTheOldVersionStays(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.shaped(t)
	s.manage(t, "v", `SELECT p, q, s FROM t`, "refresh_interval", nil, "refresh_on", "manual")
	pgtest.Exec(t, s.alice, `REFRESH MATERIALIZED VIEW v`)
	s.redefine(t, "v", redefinitions["exchanged"])
	pgtest.Exec(t, s.alice, `CREATE VIEW late AS `+strings.ReplaceAll(shapes["positions"], "VIEW", "v"))
	was := s.contents(t, "late")
	startSidecar(t, s.db)
	require.Equal(t, "failed", s.ended(t, ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view('v')`)))
	reason := ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status`)
	for _, part := range []string{"view " + s.owner + ".late gives columns other names by their position", "drop", "resume"} {
		require.Contains(t, strings.ToLower(reason), part)
	}
	require.NotContains(t, reason, "does not fit")
	require.Equal(t, was, s.contents(t, "late"))
	found, _ := examine(t, s.db, "")
	t.Log(reason, found)
	pgtest.Exec(t, s.alice, `DROP VIEW late`, `SELECT mvscheduler.resume_view('v')`, `SELECT mvscheduler.refresh_view('v')`)
	s.oneVersion(t, "v")
	require.Equal(t, "q integer, p integer, s text", s.columns(t, "v"))
}

// The swap waits for the dependents first, and meanwhile the view itself is open.
func TestAViewThatIsMadeWhileTheSwapWaitsForLocksFollowsToo(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.shaped(t)
	pgtest.Exec(t, s.root, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = 120000', current_database()); END $$`)
	s.manage(t, "v", `SELECT p, q, s FROM t`, "refresh_interval", nil, "refresh_on", "manual", "lock_timeout", "50s")
	pgtest.Exec(t, s.alice, `CREATE VIEW direct AS SELECT p FROM v`, `REFRESH MATERIALIZED VIEW v`)
	startSidecar(t, s.db)
	holder := s.db.Conn(t, s.owner)
	waits := func(change string) {
		pgtest.Exec(t, holder, `BEGIN`, `COMMENT ON VIEW direct IS 'held'`)
		s.redefine(t, "v", redefinitions[change])
		pgtest.Exec(t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
		until(t, s.root, `SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock' AND relation = $1::text::regclass)`, s.owner+".direct")
	}
	waits("exchanged")
	pgtest.Exec(t, s.alice, `CREATE VIEW late AS SELECT q FROM v`)
	pgtest.Exec(t, holder, `COMMIT`)
	s.oneVersion(t, "v")
	pgtest.Exec(t, s.alice, `UPDATE t SET q = q + 1`)
	refreshed(t, s.alice, "v")
	require.Equal(t, `{"q": 101} {"q": 201} {"q": 301}`, s.contents(t, "late"), "it reads the new version")

	waits("moved")
	pgtest.Exec(t, s.alice, `DROP VIEW late`)
	pgtest.Exec(t, holder, `COMMIT`)
	s.oneVersion(t, "v")
}

func TestDependentsOfAnIncrementalViewFollowByNameToo(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newMetrics(t)
	pgtest.Exec(t, s.root, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = 120000', current_database()); END $$`)
	s.incremental(t, "v", hourly, "lock_timeout", "50s")
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, `CREATE VIEW direct AS SELECT hour, v.n AS least, o.total FROM v JOIN v AS o USING (hour, device)`, `CREATE VIEW placed AS SELECT sum(c) AS n FROM v AS x(a, b, c)`)
	sums := `SELECT sum(least) || ' ' || sum(total) FROM direct`
	was := ask[string](t, s.alice, sums)
	const between, other = `UPDATE mvscheduler.views SET query = replace(query, 'device, count(*)', 'device, min(value) AS least, count(*)')`, `UPDATE mvscheduler.views SET query = replace(query, 'min(value) AS least', 'max(value) AS most')`
	require.Contains(t, s.refusal(t, between), "view "+s.owner+".placed gives columns other names by their position")
	pgtest.Exec(t, s.alice, `DROP VIEW placed`, between)
	s.incremented(t, "v")
	s.whole(t, "v")
	require.Equal(t, was, ask[string](t, s.alice, sums))

	// One that comes while the swap waits for the locks on the others.
	holder := s.db.Conn(t, s.owner)
	pgtest.Exec(t, holder, `BEGIN`, `COMMENT ON VIEW direct IS 'held'`)
	pgtest.Exec(t, s.alice, other)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
	until(t, s.root, `SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock' AND relation = $1::text::regclass)`, s.owner+".direct")
	pgtest.Exec(t, s.alice, `CREATE VIEW late AS SELECT sum(n) AS n FROM v`)
	pgtest.Exec(t, holder, `COMMIT`)
	until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.redefinition)`)
	s.whole(t, "v")
	require.Equal(t, was, ask[string](t, s.alice, sums))

	// And the swap proves what the UPDATE has not seen.
	pgtest.Exec(t, s.root, `CREATE OR REPLACE FUNCTION mvscheduler.positional(reader oid, relation oid, next oid) RETURNS TABLE (what text) LANGUAGE sql AS 'SELECT NULL::text WHERE false'`)
	pgtest.Exec(t, s.alice, `CREATE VIEW placed AS SELECT sum(d) AS n FROM v AS x(a, b, c, d)`)
	before := s.contents(t, "placed")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = replace(query, 'max(value) AS most, count(*) AS n', 'count(*) AS n, count(value) AS most')`)
	until(t, s.alice, `SELECT activity = 'paused' AND reason LIKE '%placed would read other columns than it does%' FROM mvscheduler.status`)
	require.Equal(t, before, s.contents(t, "placed"))
}

// Options, defaults and comments of views that read it; a default of its own would have to be parsed again.
func TestWhatViewsHaveBesidesTheirQueriesFollowsANewVersionOrIsNamed(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, `CREATE VIEW checked WITH (check_option = cascaded, security_barrier) AS SELECT hour, device, n, total FROM v WHERE device < 3`, `CREATE VIEW deep AS SELECT x.b AS d, x.c FROM checked AS x(a, b, c)`,
		`ALTER VIEW v ALTER COLUMN n SET DEFAULT 7`, `ALTER VIEW checked ALTER COLUMN device SET DEFAULT 1`, `COMMENT ON COLUMN checked.n IS 'of checked'`)
	const look = `
SELECT string_agg(concat_ws(' ', c.relname, c.reloptions, (SELECT string_agg(pg_get_expr(d.adbin, d.adrelid), ',') FROM pg_attrdef AS d WHERE d.adrelid = c.oid),
                                                          (SELECT string_agg(d.description, ',') FROM pg_description AS d WHERE d.objoid = c.oid AND d.objsubid > 0)), E'\n' ORDER BY c.relname)
  FROM pg_class AS c WHERE c.relname IN ('v', 'checked', 'deep')`
	const between = `UPDATE mvscheduler.views SET query = replace(query, 'device, count(*)', 'device, min(value) AS least, count(*)')`
	require.Contains(t, s.refusal(t, between), "the default of column n of "+s.owner+".v would be lost")
	pgtest.Exec(t, s.alice, `ALTER VIEW v ALTER COLUMN n DROP DEFAULT`)
	was, sum := ask[string](t, s.alice, look), ask[int64](t, s.alice, `SELECT sum(d * c)::int8 FROM deep`)
	pgtest.Exec(t, s.alice, between)
	until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.redefinition)`)
	require.Contains(t, s.columns(t, "v"), "least")
	require.Equal(t, sum, ask[int64](t, s.alice, `SELECT sum(d * c)::int8 FROM deep`))
	require.Equal(t, was, ask[string](t, s.alice, look))
}
