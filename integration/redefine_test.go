package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// redefine changes the query of a view.
func (s *scene) redefine(t testing.TB, view, query string) {
	t.Helper()
	tag, err := s.alice.Exec(t.Context(), `UPDATE mvscheduler.views SET query = $2 WHERE name = $1`, s.owner+"."+view, query)
	require.NoError(t, err)
	require.Equal(t, int64(1), tag.RowsAffected())
}

// oneVersion says that of a view nothing is left but its pair and at most an empty gate.
func (s *scene) oneVersion(t testing.TB, view string) {
	t.Helper()
	until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.redefinition AS r JOIN mvscheduler.view_state AS v USING (view_id) WHERE v.name = $1)`, s.owner+"."+view)
	require.Equal(t, "", ask[string](t, s.root, `
SELECT coalesce(string_agg(c.relname || CASE WHEN c.relispopulated THEN ' with contents' ELSE '' END, ', ' ORDER BY c.relname), '')
  FROM pg_class AS c
 WHERE c.relnamespace = $1::text::regnamespace AND starts_with(c.relname, $2 || '__') AND c.relname <> $2 || '__query'
   AND NOT (c.relname = $2 || '__gate' AND c.relkind = 'm' AND NOT c.relispopulated)`, s.owner, view))
	require.Equal(t, 0, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.piece AS p JOIN mvscheduler.view_state AS v USING (view_id) WHERE v.name = $1 AND p.kind <> 'gate'`, s.owner+"."+view))
	require.Equal(t, fmt.Sprintf("%[1]s.%[2]s %[1]s.%[2]s__query", s.owner, view), ask[string](t, s.root,
		`SELECT mvscheduler.shown_name(relation::oid) || ' ' || mvscheduler.shown_name(query_relation::oid) FROM mvscheduler.view_state WHERE name = $1`, s.owner+"."+view))
	require.Zero(t, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.pass`))
}

// columns of a relation with their types, as "a integer, b text".
func (s *scene) columns(t testing.TB, relation string) string {
	t.Helper()
	// By name as of the snapshot: a cast to regclass may still find the old relation right after a swap was seen.
	return ask[string](t, s.alice, `SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum) FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
		WHERE c.relname = $1 AND c.relnamespace = current_schema()::regnamespace AND a.attnum > 0 AND NOT a.attisdropped`, relation)
}

func TestAViewGetsAddedRemovedRenamedRetypedAndReorderedColumns(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", `SELECT id, amount FROM sales`, "refresh_interval", "1 day")
	startSidecar(t, s.db)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.view_health WHERE refreshes > 0`)
	for _, change := range []struct{ query, columns, value string }{
		{`SELECT id, amount, amount * 2 AS double FROM sales`, "id integer, amount integer, double integer", "7|7|14"},
		{`SELECT id, amount * 2 AS double FROM sales`, "id integer, double integer", "7|14"},
		{`SELECT id, amount * 2 AS twice FROM sales`, "id integer, twice integer", "7|14"},
		{`SELECT id, (amount * 2)::numeric(12,1) AS twice FROM sales`, "id integer, twice numeric(12,1)", "7|14.0"},
		{`SELECT (amount * 2)::numeric(12,1) AS twice, id FROM sales`, "twice numeric(12,1), id integer", "14.0|7"},
		{`SELECT id, 'x' || id AS name FROM sales`, "id integer, name text", "7|x7"},
		{`SELECT id, ('x' || id) COLLATE "C" AS name FROM sales`, "id integer, name text", "7|x7"},
	} {
		before := ask[int64](t, s.root, `SELECT coalesce(max(id), 0) FROM mvscheduler.run`)
		s.redefine(t, "v", change.query)
		s.oneVersion(t, "v")
		require.Equal(t, change.columns, s.columns(t, "v"), change.query)
		require.Equal(t, change.value, ask[string](t, s.alice, `SELECT translate(v::text, ',()', '|') FROM v WHERE id = 7`), change.query)
		require.Equal(t, "build succeeded full", ask[string](t, s.alice, `SELECT kind || ' ' || state || ' ' || method FROM mvscheduler.runs WHERE id > $1`, before))
		require.Equal(t, int64(100), ask[int64](t, s.alice, `SELECT rows_estimate FROM mvscheduler.status`))
		require.Equal(t, "v_id_idx", ask[string](t, s.alice, `SELECT string_agg(indexrelid::regclass::text, ' ') FROM pg_index WHERE indrelid = 'v'::regclass AND indisunique`), "the derived key, by its name")
	}
	until(t, s.alice, `SELECT freshness = 'fresh' AND reason = '' FROM mvscheduler.status`)
	pgtest.Exec(t, s.alice, `UPDATE sales SET id = 1007 WHERE id = 7`)
	refreshed(t, s.alice, "v")
	require.Equal(t, "concurrent", ask[string](t, s.alice, `SELECT method FROM mvscheduler.runs ORDER BY id DESC LIMIT 1`))
	require.Equal(t, "x1007", ask[string](t, s.alice, `SELECT name FROM v WHERE id = 1007`), "the new version is what is refreshed")
	pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.views`)
	require.Equal(t, "", ask[string](t, s.alice, `SELECT coalesce(string_agg(relname, ' '), '') FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('m', 'v')`))
}

// dressed is what of a relation has to survive: everything that pg_dump shows, by names.
const dressed = `
SELECT string_agg(line, E'\n' ORDER BY line) FROM (
    SELECT format('%s %s options %s acl %s comment %s', c.relkind, c.relname, c.reloptions,
                  (SELECT array_agg(x ORDER BY x) FROM (SELECT format('%s:%s:%s', grantee::regrole, privilege_type, is_grantable) AS x FROM aclexplode(coalesce(c.relacl, acldefault('r', c.relowner)))) AS y),
                  obj_description(c.oid, 'pg_class')) AS line
      FROM pg_class AS c WHERE c.oid = ANY ($1::text[]::regclass[])
    UNION ALL
    SELECT format('%s.%s stats %s %s acl %s comment %s', c.relname, a.attname, coalesce(a.attstattarget, -1), ARRAY(SELECT o FROM unnest(a.attoptions) AS o WHERE o NOT LIKE 'pg\_attver=%'),
                  (SELECT array_agg(x ORDER BY x) FROM (SELECT format('%s:%s:%s', grantee::regrole, privilege_type, is_grantable) AS x FROM aclexplode(a.attacl)) AS y),
                  col_description(c.oid, a.attnum))
      FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped WHERE c.oid = ANY ($1::text[]::regclass[]) AND a.attname <> 'extra'
    UNION ALL
    SELECT pg_get_indexdef(i.indexrelid) || coalesce(' -- ' || obj_description(i.indexrelid, 'pg_class'), '') FROM pg_index AS i WHERE i.indrelid = ANY ($1::text[]::regclass[])
    UNION ALL
    SELECT pg_get_statisticsobjdef(e.oid) FROM pg_statistic_ext AS e WHERE e.stxrelid = ANY ($1::text[]::regclass[])
    UNION ALL
    SELECT c.relname || ': ' || regexp_replace(pg_get_viewdef(c.oid), '\s+', ' ', 'g') FROM pg_class AS c WHERE c.oid = ANY ($1::text[]::regclass[]) AND c.relkind = 'v'
) AS l`

func TestWhatHangsOnAViewFollowsItsNewVersion(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	reader, clerk := s.db.Role(t, "reader"), s.db.Role(t, "clerk")
	pgtest.Exec(t, s.alice, `GRANT USAGE ON SCHEMA `+s.owner+` TO `+reader+`, `+clerk)
	s.manage(t, "v", `SELECT id, amount FROM sales`, "refresh_interval", "1 day", "indexes", []string{"(amount DESC)"})
	pgtest.Exec(t, s.alice,
		`CREATE VIEW direct WITH (security_barrier = true) AS SELECT id, amount * 10 AS tens FROM v WHERE id < 50`,
		`CREATE VIEW invoked WITH (security_invoker = true, security_barrier = 'off') AS SELECT v.id, d.tens FROM v JOIN direct AS d USING (id)`,
		`CREATE VIEW deep AS SELECT sum(tens) AS total FROM direct`,
		`CREATE VIEW deeper AS SELECT total + (SELECT count(*) FROM invoked) AS total FROM deep`,
		`CREATE VIEW "Odd ""name""" AS WITH c AS (SELECT id AS "the id", to_jsonb(v) AS j FROM v) SELECT "the id", jsonb_typeof(j) AS t FROM c WHERE "the id" IN (SELECT id FROM v AS inside WHERE inside.amount > 3)`,
		`CREATE MATERIALIZED VIEW far AS SELECT total FROM deep WITH NO DATA`)
	s.manage(t, "down", `SELECT count(*) AS n, max(amount) AS most FROM v`, "refresh_on", "upstream", "refresh_interval", nil)
	pgtest.Exec(t, s.alice,
		`GRANT SELECT ON v TO `+reader+` WITH GRANT OPTION`, `GRANT SELECT (id), REFERENCES (amount) ON v TO `+clerk, `GRANT SELECT ON v__query TO `+clerk,
		`GRANT SELECT ON direct, deep, "Odd ""name""" TO `+reader, `GRANT SELECT (tens) ON direct TO `+clerk, `GRANT SELECT ON deeper TO PUBLIC`,
		`COMMENT ON MATERIALIZED VIEW v IS 'it''s \ mine'`, `COMMENT ON COLUMN v.amount IS 'in cents'`, `COMMENT ON VIEW direct IS 'dependent'`, `COMMENT ON COLUMN direct.tens IS 'ten times'`,
		`ALTER MATERIALIZED VIEW v ALTER COLUMN amount SET STATISTICS 777`, `ALTER MATERIALIZED VIEW v ALTER COLUMN id SET (n_distinct = -1)`, `ALTER MATERIALIZED VIEW v SET (fillfactor = 77, autovacuum_enabled = off)`,
		`CREATE INDEX by_hand ON v USING hash (amount) WHERE id > 3`, `COMMENT ON INDEX by_hand IS 'by hand'`, `CREATE INDEX "odd; index" ON v ((id + amount))`,
		`CREATE STATISTICS tied (ndistinct) ON id, amount FROM v`, `ALTER VIEW direct ALTER COLUMN tens SET DEFAULT 1`, `ALTER VIEW v__query SET (security_barrier = true)`,
		`UPDATE mvscheduler.views SET query = query || ' ' WHERE name LIKE '%.v'`,
		`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`, `CREATE TRIGGER instead INSTEAD OF INSERT ON direct FOR EACH ROW EXECUTE FUNCTION refuse()`)
	startSidecar(t, s.db)
	until(t, s.alice, `SELECT bool_and(last_refresh_at IS NOT NULL) FROM mvscheduler.status`)
	relations := []string{"v", "direct", "invoked", "deep", "deeper", `"Odd ""name"""`, "down", "down__query", "far"}
	before := ask[string](t, s.alice, dressed, relations)
	views := ask[[]int64](t, s.alice, `SELECT array_agg(r::regclass::oid::int8) FROM unnest($1::text[]) AS r`, relations[1:])

	s.redefine(t, "v", `SELECT 'new' AS extra, id, amount + 1000 AS amount FROM sales`)
	s.oneVersion(t, "v")
	require.Equal(t, before, ask[string](t, s.alice, dressed, relations))
	require.Equal(t, "true true", ask[string](t, s.alice, `SELECT ('security_barrier=true' = ANY (reloptions)) || ' ' || has_table_privilege($1, oid, 'SELECT') FROM pg_class WHERE oid = 'v__query'::regclass`, clerk), "options and grants of the plain view")
	require.Equal(t, views, ask[[]int64](t, s.alice, `SELECT array_agg(r::regclass::oid::int8) FROM unnest($1::text[]) AS r`, relations[1:]), "they are the same views")
	require.Equal(t, "extra text, id integer, amount integer", s.columns(t, "v"))
	require.True(t, ask[bool](t, s.alice, `SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'direct'::regclass AND tgname = 'instead')`))
	require.Equal(t, "10070", ask[string](t, s.alice, `SELECT tens::text FROM invoked WHERE id = 7`))
	require.Equal(t, int64(49*10000+10*49*50/2), ask[int64](t, s.alice, `SELECT total FROM deep`))
	until(t, s.alice, `SELECT n = 100 AND most = 1100 FROM down`) // the managed view downstream is refreshed after it
	as := s.db.Conn(t, reader)
	require.Equal(t, int64(100), ask[int64](t, as, `SELECT count(extra) FROM `+s.owner+`.v`))
	_, err := s.db.Conn(t, clerk).Exec(t.Context(), `SELECT extra FROM `+s.owner+`.v`)
	require.ErrorContains(t, err, "permission denied")
	require.True(t, ask[bool](t, s.alice, `SELECT EXISTS (SELECT FROM pg_stats WHERE tablename = 'v' AND attname = 'amount')`), "it was analyzed before it was served")
	require.Equal(t, []int64{1}, ask[[]int64](t, s.root, `SELECT upstream FROM mvscheduler.view_state WHERE view_id = 2`))
	refreshed(t, s.alice, "v", "down")
}

func TestDependentsThatCannotFollowAreNamed(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	bob := s.db.User(t, "bob")
	pgtest.Exec(t, s.alice, `GRANT USAGE ON SCHEMA `+s.owner+` TO `+bob)
	s.manage(t, "v", `SELECT id, amount, id::text AS label FROM sales`, "refresh_interval", nil, "refresh_on", "manual")
	pgtest.Exec(t, s.alice, `GRANT SELECT ON v TO `+bob,
		`CREATE VIEW uses_label AS SELECT id, label FROM v`, `CREATE VIEW uses_amount AS SELECT sum(amount) AS a FROM v`, `CREATE VIEW whole AS SELECT v AS row FROM v`,
		`CREATE MATERIALIZED VIEW unmanaged AS SELECT id FROM v WITH NO DATA`, `CREATE TABLE other (id int)`,
		`CREATE RULE spy AS ON INSERT TO other DO ALSO UPDATE other SET id = (SELECT max(id) FROM v)`,
		`CREATE POLICY guard ON other USING (id IN (SELECT id FROM v))`,
		`CREATE FUNCTION body() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM v; END`,
		`CREATE FUNCTION row_of(v) RETURNS int LANGUAGE sql AS 'SELECT 1'`, `CREATE TABLE rows (r v[])`, `CREATE VIEW inside AS SELECT id FROM v__query`)
	pgtest.Exec(t, s.db.Conn(t, bob), `CREATE VIEW bobs AS SELECT id FROM `+s.owner+`.v`)
	s.manage(t, "down", `SELECT label FROM v`, "refresh_interval", nil, "refresh_on", "manual")

	_, err := s.alice.Exec(t.Context(), `UPDATE mvscheduler.views SET query = 'SELECT id, amount::text AS amount FROM sales' WHERE id = 1`)
	var refusal *pgconn.PgError
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, "2BP01", refusal.Code)
	require.Contains(t, refusal.Message, s.owner+".v")
	for _, who := range []string{
		"view " + s.owner + ".uses_label uses column label, which goes", "view " + s.owner + ".uses_amount uses column amount, whose type changes from integer to text",
		"materialized view " + s.owner + ".unmanaged", "rule spy on " + s.owner + ".other", "guard", "function " + s.owner + ".body()", "row_of", "column r of table", "column row of view",
		"view " + s.owner + ".inside reads " + s.owner + ".v__query", "view " + bob + ".bobs belongs to " + bob, "managed view " + s.owner + ".down uses column label",
	} {
		require.Contains(t, refusal.Detail, who)
	}
	require.NotContains(t, refusal.Detail, "v__next")
	require.Equal(t, "", ask[string](t, s.root, `SELECT coalesce(string_agg(relname, ' '), '') FROM pg_class WHERE relname ~ '__(next|gate|probe)'`), "nothing was made")

	// Those that need no more than what stays do follow.
	pgtest.Exec(t, s.alice, `DROP VIEW whole, inside`, `DROP MATERIALIZED VIEW unmanaged`, `DROP TABLE other, rows`, `DROP FUNCTION body(), row_of(v)`, `DROP VIEW uses_label`, `DELETE FROM mvscheduler.views WHERE id = 2`)
	s.db.Exec(t, `DROP VIEW `+bob+`.bobs`)
	_, err = s.alice.Exec(t.Context(), `UPDATE mvscheduler.views SET query = 'SELECT id, amount::bigint AS amount FROM sales' WHERE id = 1`)
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, "view "+s.owner+".uses_amount uses column amount, whose type changes from integer to bigint.", refusal.Detail)
	s.redefine(t, "v", `SELECT id, amount FROM sales`)

	// One that comes while the new version waits stops the swap, by name, and the old version stays.
	pgtest.Exec(t, s.alice, `CREATE VIEW late AS SELECT label FROM v`)
	sidecar := startSidecar(t, s.db)
	run := ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
	require.Equal(t, "failed", s.ended(t, run))
	require.Contains(t, ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status WHERE id = 1`), "late uses column label, which goes")
	require.Equal(t, "id integer, amount integer, label text", s.columns(t, "v"))
	pgtest.Exec(t, s.alice, `DROP VIEW late`, `SELECT mvscheduler.resume_view('v')`)
	refreshed(t, s.alice, "v")
	s.oneVersion(t, "v")
	require.Zero(t, sidecar.stop())
}

func TestAPendingRedefinitionIsReplacedCancelledAndDropped(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", `SELECT id, amount FROM sales`, "refresh_interval", "1 day")
	pieces := func() string {
		return ask[string](t, s.root, `SELECT coalesce(string_agg(relname, ' ' ORDER BY relname), '') FROM pg_class WHERE relnamespace = $1::text::regnamespace AND relkind IN ('m', 'v')`, s.owner)
	}
	old := ask[int64](t, s.alice, `SELECT 'v'::regclass::oid::int8`)
	s.redefine(t, "v", `SELECT id, amount, 1 AS one FROM sales`)
	require.Equal(t, "v v__gate v__next v__next__query v__query", pieces())
	require.Contains(t, ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status`), "a new version with other columns waits to be built")
	require.Contains(t, mvscheduler(t, s.db, s.owner, "", "show", "v").stdout, "a new version with other columns waits to be built")

	s.redefine(t, "v", `SELECT id, 2 AS two FROM sales`)
	require.Equal(t, "v v__gate v__next v__next__query v__query", pieces())
	require.Equal(t, "id integer, two integer", s.columns(t, "v__next"))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET unique_key = '{two,id}', indexes = '{(two)}'`)
	require.Equal(t, 2, ask[int](t, s.alice, `SELECT count(*)::int FROM pg_index WHERE indrelid = 'v__next'::regclass`), "keys and indexes are those of the new version")
	require.Equal(t, 1, ask[int](t, s.alice, `SELECT count(*)::int FROM pg_index WHERE indrelid = 'v'::regclass`))

	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET name = 'w'`)
	require.Equal(t, "w w__gate w__next w__next__query w__query", pieces())
	s.db.Exec(t, `CREATE SCHEMA elsewhere AUTHORIZATION `+s.owner)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET name = 'elsewhere.v'`)
	require.Equal(t, "", pieces())
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET name = 'v'`)
	require.Equal(t, "v v__gate v__next v__next__query v__query", pieces())

	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = 'SELECT id, amount FROM sales WHERE id < 50', unique_key = NULL, indexes = NULL`)
	require.Equal(t, "v v__query", pieces())
	require.Equal(t, old, ask[int64](t, s.alice, `SELECT 'v'::regclass::oid::int8`))
	require.Equal(t, "", ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status`))
	s.redefine(t, "v", `SELECT id, 2 AS two FROM sales`)
	pgtest.Exec(t, s.alice, `BEGIN`, `UPDATE mvscheduler.views SET query = 'SELECT 3 AS three'`, `ROLLBACK`)
	require.Equal(t, "id integer, two integer", s.columns(t, "v__next"))
	requireSQLState(t, s.alice, "42P17", `UPDATE mvscheduler.views SET query = 'SELECT id, 2 AS two, 3 AS three FROM v'`)
	requireSQLState(t, s.alice, "42703", `UPDATE mvscheduler.views SET query = 'SELECT id, 2 AS two, 3 AS three FROM sales', unique_key = '{amount}'`)

	startSidecar(t, s.db)
	s.oneVersion(t, "v")
	require.Equal(t, "v v__gate v__query", pieces())
	s.redefine(t, "v", `SELECT id, slow(0.02) AS three FROM sales`)
	s.working(t, "v")
	s.redefine(t, "v", `SELECT id, 4 AS four FROM sales`) // the build makes way
	s.oneVersion(t, "v")
	require.Equal(t, "id integer, four integer", s.columns(t, "v"))
	s.redefine(t, "v", `SELECT id, slow(0.1) AS five FROM sales`)
	until(t, s.alice, `SELECT reason LIKE '%is being built%' FROM mvscheduler.status`)
	s.working(t, "v") // and not the gate of the run before
	pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.views`)
	require.Equal(t, "", pieces())
	require.Zero(t, ask[int](t, s.root, `SELECT (SELECT count(*) FROM mvscheduler.piece) + (SELECT count(*) FROM mvscheduler.redefinition)`))
	s.idle(t)
}

func TestABuildThatFailsKeepsTheOldVersion(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", `SELECT id, amount FROM sales`, "refresh_interval", "1 day", "max_attempts", 2)
	startSidecar(t, s.db)
	refreshed(t, s.alice, "v")
	s.redefine(t, "v", `SELECT id, 1 / (amount - 7) AS inverse FROM sales`)
	until(t, s.alice, `SELECT EXISTS (SELECT FROM mvscheduler.runs WHERE kind = 'build' AND state = 'failed' AND sqlstate = '22012')`)
	require.Equal(t, "id integer, amount integer", s.columns(t, "v"))
	reason := ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status`)
	require.Contains(t, reason, "a new version with other columns waits to be built")
	require.Contains(t, reason, "division by zero")
	pgtest.Exec(t, s.alice, `DELETE FROM sales WHERE id = 7`)
	refreshed(t, s.alice, "v")
	s.oneVersion(t, "v")

	// A key that does not identify a row.
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = 'SELECT id % 3 AS third, id FROM sales', unique_key = '{third}'`)
	until(t, s.alice, `SELECT count(*) = 2 FROM mvscheduler.runs WHERE kind = 'build' AND state = 'failed'`)
	require.Equal(t, "id integer, inverse integer", s.columns(t, "v"))
	require.Equal(t, int64(99), ask[int64](t, s.alice, `SELECT count(*) FROM v`))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET unique_key = '{id}'`)
	refreshed(t, s.alice, "v")
	s.oneVersion(t, "v")
	require.Equal(t, "third integer, id integer", s.columns(t, "v"))
}

func TestASwapWaitsForReadersAndTheyHardlyForIt(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", `SELECT id, amount FROM sales`, "refresh_interval", "1 day")
	pgtest.Exec(t, s.alice, `CREATE VIEW direct AS SELECT id, amount FROM v`, `CREATE VIEW deep AS SELECT sum(amount) AS total FROM direct`)
	startSidecar(t, s.db)
	refreshed(t, s.alice, "v")
	for _, relation := range []string{"v", "direct", "deep"} {
		holder := s.db.Conn(t, s.owner)
		pgtest.Exec(t, holder, `BEGIN`, `SELECT count(*) FROM `+relation)
		probes := []*reader{startReader(t, s.db, s.owner, `SELECT count(*) FROM v`), startReader(t, s.db, s.owner, `SELECT count(*) FROM direct`)}
		s.redefine(t, "v", fmt.Sprintf(`SELECT id, amount, '%s' AS %[1]s FROM sales`, relation))
		until(t, s.alice, `SELECT activity = 'waiting' AND waiting_for LIKE '%pid%' FROM mvscheduler.status`)
		began := ask[time.Time](t, s.root, `SELECT clock_timestamp()`)
		until(t, s.root, `SELECT clock_timestamp() > $1::timestamptz + interval '2 seconds'`, began)
		for _, probe := range probes {
			probe.end(t)
			require.Less(t, probe.worst, 10*time.Second)
			require.Equal(t, int64(100), probe.fewest)
		}
		pgtest.Exec(t, holder, `SELECT count(*) FROM v`, `COMMIT`)
		s.oneVersion(t, "v")
		require.Equal(t, "id integer, amount integer, "+relation+" text", s.columns(t, "v"))
	}
}

// watch reads a value in a loop by the simple protocol and notes what it was.
type watch struct {
	stop chan struct{}
	done chan struct{}
	seen map[string]int
	err  error
}

func startWatch(t testing.TB, s *scene, sql string) *watch {
	t.Helper()
	config, err := pgx.ParseConfig(s.db.URLAs(s.owner))
	require.NoError(t, err)
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	conn, err := pgx.ConnectConfig(t.Context(), config)
	require.NoError(t, err)
	w := &watch{stop: make(chan struct{}), done: make(chan struct{}), seen: map[string]int{}}
	go func() {
		defer close(w.done)
		defer conn.Close(t.Context())
		for {
			select {
			case <-w.stop:
				return
			default:
			}
			var value string
			if w.err = conn.QueryRow(t.Context(), sql).Scan(&value); w.err != nil {
				return
			}
			w.seen[value]++
			time.Sleep(3 * time.Millisecond)
		}
	}()
	return w
}

func (w *watch) end(t testing.TB) map[string]int {
	t.Helper()
	close(w.stop)
	<-w.done
	require.NoError(t, w.err, "a reader saw an error")
	return w.seen
}

func TestReadersSeeOneVersionOrTheOtherAndNoError(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	version := func(n int) string { // each version has columns of its own, and all of its rows say which it is
		return fmt.Sprintf(`SELECT id, %d AS version, amount %s FROM sales`, n, strings.Repeat(", 0 AS extra", n%3)[:len(", 0 AS extra")*min(n%3, 1)])
	}
	s.manage(t, "v", version(0), "refresh_interval", "1 day")
	pgtest.Exec(t, s.alice, `CREATE VIEW direct AS SELECT id, version FROM v`, `CREATE VIEW other AS SELECT version AS v2 FROM v`,
		`CREATE VIEW deep AS SELECT min(version) || '-' || max(version) || '-' || (SELECT max(v2) FROM other) || '-' || count(*) AS said FROM direct`)
	s.manage(t, "down", `SELECT min(version) AS low, max(version) AS high FROM v`, "refresh_interval", "1 second")
	startSidecar(t, s.db)
	refreshed(t, s.alice, "v", "down")
	watches := []*watch{startWatch(t, s, `SELECT said FROM deep`), startWatch(t, s, `SELECT said FROM deep`),
		startWatch(t, s, `SELECT min(version) || '-' || max(version) || '-' || max(version) || '-' || count(*) FROM v`),
		startWatch(t, s, `SELECT low || '-' || high || '-' || high || '-100' FROM down`)}
	// Whole transactions, which take the same locks in the other order.
	transactions := make(chan error, 1)
	stop := make(chan struct{})
	conn := s.db.Conn(t, s.owner)
	go func() {
		for {
			select {
			case <-stop:
				transactions <- nil
				return
			default:
			}
			for _, sql := range []string{`BEGIN`, `SELECT count(id) FROM v`, `SELECT said FROM deep`, `SELECT count(v2) FROM other`, `COMMIT`} {
				if _, err := conn.Exec(context.Background(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
					transactions <- fmt.Errorf("%s: %w", sql, err)
					return
				}
				time.Sleep(2 * time.Millisecond)
			}
		}
	}()
	const versions = 6
	for n := 1; n <= versions; n++ {
		s.redefine(t, "v", version(n))
		s.oneVersion(t, "v")
	}
	for _, w := range watches {
		consistent(t, w.end(t))
	}
	t.Logf("%d kinds of answers", len(watches[0].seen))
	close(stop)
	require.NoError(t, <-transactions)
}

func TestAPreparedSelectStarHasToBePlannedAnewOnce(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", `SELECT id, amount FROM sales`, "refresh_interval", "1 day")
	startSidecar(t, s.db)
	refreshed(t, s.alice, "v")
	pgtest.Exec(t, s.alice, `PREPARE star AS SELECT * FROM v`, `PREPARE named AS SELECT sum(amount) FROM v`, `EXECUTE star`, `EXECUTE named`)
	s.redefine(t, "v", `SELECT id, amount, 1 AS one FROM sales`)
	s.oneVersion(t, "v")
	requireSQLState(t, s.alice, "0A000", `EXECUTE star`) // cached plan must not change result type
	pgtest.Exec(t, s.alice, `EXECUTE named`, `DEALLOCATE star`, `PREPARE star AS SELECT * FROM v`, `EXECUTE star`)
}

func TestARedefinitionFollowsItsViewToAnotherOwner(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	bob := s.db.User(t, "bob")
	s.db.Exec(t, `GRANT USAGE, CREATE ON SCHEMA `+s.owner+` TO `+bob)
	s.manage(t, "v", `SELECT id, amount FROM sales`, "refresh_interval", "1 day")
	pgtest.Exec(t, s.alice, `GRANT SELECT ON sales TO `+bob, `CREATE VIEW mine AS SELECT id FROM v`)
	s.redefine(t, "v", `SELECT id, amount, current_user::text AS who FROM sales`)
	_, err := s.root.Exec(t.Context(), `UPDATE mvscheduler.views SET owner = $1::text::regrole`, bob)
	var refusal *pgconn.PgError
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, "view "+s.owner+".mine belongs to "+s.owner+".", refusal.Detail)
	pgtest.Exec(t, s.alice, `DROP VIEW mine`)
	_, err = s.root.Exec(t.Context(), `UPDATE mvscheduler.views SET owner = $1::text::regrole`, bob)
	require.ErrorContains(t, err, "still serves the query that it had before", "to a role that alice cannot become")
	pgtest.Exec(t, s.root, `GRANT `+bob+` TO `+s.owner)
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.views SET owner = `+quote(bob)+`::regrole`)
	require.Equal(t, []string{bob}, ask[[]string](t, s.root, `SELECT array_agg(DISTINCT relowner::regrole::text) FROM pg_class WHERE relname ~ '^v(__|$)'`))
	startSidecar(t, s.db)
	s.oneVersion(t, "v")
	require.Equal(t, bob, ask[string](t, s.db.Conn(t, bob), `SELECT DISTINCT who FROM `+s.owner+`.v`))
}
