package integration

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// pieces of a view with the names that they have.
func (s *scene) pieces(t testing.TB) string {
	t.Helper()
	return ask[string](t, s.root, `SELECT coalesce(string_agg(kind || ' ' || relation::oid::regclass::text, ', ' ORDER BY kind), '') FROM mvscheduler.piece`)
}

func TestANewVersionOfAnIncrementalViewTakesThePlaceOfTheOldOne(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly, "indexes", []string{"(device)"})
	sidecar := startSidecar(t, s.db)
	s.incremented(t, "v")
	bob := s.db.User(t, "bob")
	pgtest.Exec(t, s.alice, `GRANT USAGE ON SCHEMA `+s.owner+` TO `+bob, `GRANT SELECT ON v TO `+bob, `COMMENT ON VIEW v IS 'hourly'`, `COMMENT ON COLUMN v.n IS 'how many'`, `ALTER VIEW v SET (security_barrier)`,
		`GRANT SELECT ON v__data, v__query TO `+bob, `COMMENT ON COLUMN v__query.n IS 'counted'`, `ALTER VIEW v__query SET (security_barrier)`,
		`CREATE VIEW direct AS SELECT hour, n FROM v`, `CREATE VIEW deep AS SELECT sum(n) AS n FROM direct`, `CREATE MATERIALIZED VIEW stored AS SELECT count(*) FROM v`, `CREATE INDEX by_n ON v__data (n) WHERE n > 5`)
	oid := ask[uint32](t, s.alice, `SELECT 'v'::regclass::oid`)
	kept := func() {
		t.Helper()
		same(t, s.alice, "v")
		require.Equal(t, "hourly how many {security_barrier=true} t", ask[string](t, s.root, `SELECT concat_ws(' ', obj_description(c.oid), col_description(c.oid, (SELECT attnum FROM pg_attribute WHERE attrelid = c.oid AND attname = 'n')), c.reloptions::text, has_table_privilege($2, c.oid, 'SELECT')) FROM pg_class AS c WHERE c.oid = $1::text::regclass`, s.owner+".v", bob))
		require.Equal(t, "counted {security_barrier=true} t t", ask[string](t, s.root, `SELECT concat_ws(' ', col_description(c.oid, (SELECT attnum FROM pg_attribute WHERE attrelid = c.oid AND attname = 'n')), c.reloptions::text, has_table_privilege($2, c.oid, 'SELECT'), has_table_privilege($2, $3::text::regclass, 'SELECT')) FROM pg_class AS c WHERE c.oid = $1::text::regclass`, s.owner+".v__query", bob, s.owner+".v__data"))
		require.Equal(t, "data "+s.owner+".v__data, gate "+s.owner+".v__gate", s.pieces(t))
		require.Zero(t, ask[int](t, s.root, `SELECT count(*)::int FROM pg_class WHERE relname ~ '__(next|old|probe)' AND relkind <> 'i'`))
		require.Equal(t, 1, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.increment_state`))
		require.Equal(t, "fresh ", ask[string](t, s.alice, `SELECT freshness || ' ' || reason FROM mvscheduler.status`))
		require.Equal(t, int64(1728), ask[int64](t, s.alice, `SELECT n::bigint FROM deep`))
	}

	// Columns are appended: nothing that hangs on the view is touched.
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = replace(query, 'AS total', 'AS total, max(value) AS most')`)
	require.Equal(t, "data "+s.owner+".v__data, gate "+s.owner+".v__gate, next "+s.owner+".v__next, next_query "+s.owner+".v__next__query", s.pieces(t))
	s.incremented(t, "v")
	kept()
	require.Equal(t, oid, ask[uint32](t, s.alice, `SELECT 'v'::regclass::oid`))
	require.Equal(t, "hour timestamp with time zone, device integer, n bigint, total numeric, most numeric", s.columns(t, "v"))
	require.Equal(t, "by_n, v__data_device_idx, v__data_key", ask[string](t, s.alice, `SELECT string_agg(indexrelid::regclass::text, ', ' ORDER BY indexrelid::regclass::text) FROM pg_index WHERE indrelid = 'v__data'::regclass`))
	require.Equal(t, "v__data_20260301", ask[string](t, s.alice, `SELECT string_agg(inhrelid::regclass::text, ', ') FROM pg_inherits WHERE inhparent = 'v__data'::regclass`))
	require.Equal(t, 1, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.run WHERE kind = 'build' AND state = 'succeeded' AND reason LIKE '%a new version took the place of the old one%'`)) // the UPDATE's run, or the one that was asked for
	pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100)`, `DELETE FROM metrics WHERE ts = '2026-03-02 12:00+00' AND device = 1`)
	s.incremented(t, "v")
	kept()
	require.Equal(t, "2", s.last(t, "v", "changed"))

	// Columns that go: what cannot follow is named.
	const shorter = `UPDATE mvscheduler.views SET query = replace(query, ', sum(value) AS total', '')`
	require.Contains(t, s.refusal(t, shorter), "stored reads it directly")
	pgtest.Exec(t, s.alice, `DROP MATERIALIZED VIEW stored`)
	require.Contains(t, s.refusal(t, `UPDATE mvscheduler.views SET query = replace(query, 'count(*) AS n', 'count(*)::int AS n')`), "direct uses column n, whose type changes from bigint to integer")
	pgtest.Exec(t, s.alice, shorter)
	s.incremented(t, "v")
	kept()
	require.NotEqual(t, oid, ask[uint32](t, s.alice, `SELECT 'v'::regclass::oid`))
	require.Equal(t, "hour timestamp with time zone, device integer, n bigint, most numeric", s.columns(t, "v"))

	// The key, the time column, the width.
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.pause_view('v')`, `UPDATE mvscheduler.views SET unique_key = '{}'`, `CREATE INDEX made_meanwhile ON v__data (most)`, `SELECT mvscheduler.resume_view('v')`)
	s.incremented(t, "v")
	kept()
	require.Contains(t, ask[string](t, s.alice, `SELECT string_agg(indexrelid::regclass::text, ', ') FROM pg_index WHERE indrelid = 'v__data'::regclass`), "made_meanwhile")
	require.True(t, ask[bool](t, s.alice, `SELECT mvscheduler.key_of('v__data'::regclass) IS NULL`))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET unique_key = NULL, time_column = 'started', query = replace(query, 'AS hour', 'AS hour, date_trunc(''hour'', ts) AS started') || ', 3'`)
	require.Equal(t, "{started,hour,device}", ask[string](t, s.alice, `SELECT mvscheduler.key_of('v__next'::regclass)::text`))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET time_column = 'hour', query = $$SELECT date_trunc('day', ts) AS hour, device, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1, 2$$, bucket_width = '1 day'`)
	s.incremented(t, "v")
	kept()
	require.Equal(t, "v__data_20260101", ask[string](t, s.alice, `SELECT string_agg(DISTINCT tableoid::regclass::text, ', ') FROM v__data`)) // in 2026 the next one may have been made ahead
	s.incremented(t, "v")
	require.Equal(t, "nothing changed below; changes are noted by triggers", s.last(t, "v", "reason"))
	require.Zero(t, sidecar.stop())
	pgtest.Exec(t, s.alice, `DROP VIEW direct CASCADE`, `DELETE FROM mvscheduler.views`)
	require.Equal(t, "", s.relations(t))
}

// refusal is what PostgreSQL says to a statement of alice that it refuses.
func (s *scene) refusal(t testing.TB, statement string) string {
	t.Helper()
	_, err := s.alice.Exec(t.Context(), statement)
	require.Error(t, err, statement)
	return errorText(err)
}

const another = `UPDATE mvscheduler.views SET query = replace(query, 'AS total', 'AS total, max(value) AS most') WHERE name LIKE '%.v'`

func TestUntilANewVersionOfAnIncrementalViewIsThereTheOldOneIsServed(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly, "refresh_on", "manual")
	sidecar := startSidecar(t, s.db)
	s.incremented(t, "v")
	require.Zero(t, sidecar.stop())
	before := ask[string](t, s.alice, `SELECT md5(string_agg(v::text, '' ORDER BY v)) FROM v`)
	untouched := func() {
		t.Helper()
		require.Equal(t, before, ask[string](t, s.alice, `SELECT md5(string_agg(v::text, '' ORDER BY v)) FROM v`))
	}
	const versions = `SELECT count(*)::int FROM pg_class WHERE relname ~ '^(v|w)__next' AND relkind NOT IN ('i', 'I')`
	oid := ask[uint32](t, s.alice, `SELECT 'v__data'::regclass::oid`)
	pgtest.Exec(t, s.alice, another)
	require.Contains(t, ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status`), "a new version waits for a refresh to be asked for, the old one is served until then")
	next := ask[uint32](t, s.alice, `SELECT 'v__next'::regclass::oid`)
	pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100)`)
	untouched()

	// What is changed meanwhile goes to the new version; another one replaces it; the way back cancels it.
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET name = `+quote(s.owner+".w")+`, indexes = '{(n)}'`)
	require.Equal(t, "w v, w__data p, w__gate m, w__next p, w__next__query v, w__query v", s.relations(t))
	require.Equal(t, "1 2", ask[string](t, s.root, `SELECT string_agg(n::text, ' ' ORDER BY n) FROM (SELECT count(*) AS n FROM pg_index WHERE indrelid IN ($1, $2) GROUP BY indrelid) AS i`, oid, next))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET name = `+quote(s.owner+".v"), `UPDATE mvscheduler.views SET unique_key = '{}'`)
	require.NotEqual(t, next, ask[uint32](t, s.alice, `SELECT 'v__next'::regclass::oid`))
	require.Equal(t, 2, ask[int](t, s.root, versions))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET unique_key = NULL, query = replace(query, ', max(value) AS most', '')`)
	require.Zero(t, ask[int](t, s.root, versions))
	require.Equal(t, oid, ask[uint32](t, s.alice, `SELECT 'v__data'::regclass::oid`))
	require.Equal(t, 2, ask[int](t, s.root, `SELECT count(*)::int FROM pg_index WHERE indrelid = $1::oid`, oid), "indexes that were changed meanwhile")
	require.Equal(t, "data "+s.owner+".v__data, gate "+s.owner+".v__gate", s.pieces(t))
	untouched()
	sidecar = startSidecar(t, s.db)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	require.Equal(t, "1", s.last(t, "v", "changed"))
	require.Zero(t, sidecar.stop())

	// Dropped or given away by hand: the view is paused, and resuming makes the version anew.
	bob := s.db.User(t, "bob")
	s.db.Exec(t, `GRANT USAGE, CREATE ON SCHEMA `+s.owner+` TO `+bob)
	pgtest.Exec(t, s.alice, another)
	startSidecar(t, s.db)
	for n, broken := range []string{`DROP TABLE v__next`, `DROP VIEW v__next__query`, `DROP MATERIALIZED VIEW v__gate`, `ALTER TABLE ` + s.owner + `.v__next OWNER TO ` + bob} {
		conn := s.alice
		if n == 3 {
			conn = s.root
		}
		pgtest.Exec(t, conn, broken)
		pgtest.Exec(t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
		until(t, s.alice, `SELECT activity = 'paused' AND reason LIKE '%paused by mvscheduler%' FROM mvscheduler.status`)
		t.Log(ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status`))
		require.Equal(t, int64(3*96), ask[int64](t, s.alice, `SELECT count(*) FROM v`))
		require.NotContains(t, s.columns(t, "v"), "most")
		pgtest.Exec(t, s.alice, `SELECT mvscheduler.resume_view('v')`)
		require.True(t, ask[bool](t, s.alice, `SELECT count(*) = 4 FROM mvscheduler.visible_pieces AS p JOIN pg_class AS c ON c.oid = p.relation::oid AND c.relowner = $1::text::regrole`, s.owner))
	}
	s.incremented(t, "v")
	same(t, s.alice, "v")
	require.Contains(t, s.columns(t, "v"), "most")
	require.Equal(t, "data "+s.owner+".v__data, gate "+s.owner+".v__gate", s.pieces(t))

	// All of it goes with the row.
	pgtest.Exec(t, s.root, `DROP TABLE IF EXISTS `+s.owner+`.v__next`)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET unique_key = '{}'`, `DELETE FROM mvscheduler.views`)
	require.Equal(t, "", s.relations(t))
	require.Zero(t, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.piece`)+ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.redefinition`))
}

func TestWhatHangsOnTheContentsOfAnIncrementalViewIsNamedBeforeItWouldGo(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly)
	sidecar := startSidecar(t, s.db)
	s.incremented(t, "v")
	require.Zero(t, sidecar.stop())
	for made, c := range map[string]struct{ undo, says string }{
		`CREATE VIEW direct AS SELECT * FROM v__data`: {`DROP VIEW direct`, "direct reads it directly"},
		`CREATE TABLE follows (hour timestamptz, device int, FOREIGN KEY (hour, device) REFERENCES v__data (hour, device))`:     {`DROP TABLE follows`, ""},
		`CREATE TRIGGER noted AFTER INSERT ON v__data FOR EACH STATEMENT EXECUTE FUNCTION suppress_redundant_updates_trigger()`: {`DROP TRIGGER noted ON v__data`, "trigger noted on table"},
		`ALTER TABLE v__data ADD CONSTRAINT few CHECK (n > 0)`:                                                                  {`ALTER TABLE v__data DROP CONSTRAINT few`, "constraint few on table"},
		`ALTER TABLE v__data ADD COLUMN remark text`:                                                                            {`ALTER TABLE v__data DROP COLUMN remark`, "is not what it was made as"},
		`ALTER TABLE v__data ALTER COLUMN n SET DEFAULT 7`:                                                                      {`ALTER TABLE v__data ALTER COLUMN n DROP DEFAULT`, "default value for column n"},
		`CREATE STATISTICS both_ (ndistinct) ON device, n FROM v__data`:                                                         {`DROP STATISTICS both_`, "statistics object"},
		`CREATE FUNCTION takes(v__data) RETURNS int LANGUAGE sql AS 'SELECT 1'`:                                                 {`DROP FUNCTION takes(v__data)`, "v__data) hangs on it"},
		`CREATE OR REPLACE VIEW v AS SELECT hour, device, n, total FROM v__data WHERE device <> 2`:                              {`CREATE OR REPLACE VIEW v AS SELECT hour, device, n, total FROM v__data`, "is not what it was made as"},
		`CREATE INDEX alone ON v__data_20260301 (total)`:                                                                        {`DROP INDEX alone`, "alone hangs on one of its partitions"},
		`ALTER VIEW v RENAME COLUMN n TO m`:                                                                                     {`ALTER VIEW v RENAME COLUMN m TO n`, "is not what it was made as"},
	} {
		if _, err := s.alice.Exec(t.Context(), made); err != nil {
			require.Empty(t, c.says, "%s: %s", made, err)
			continue
		}
		require.Contains(t, s.refusal(t, another), c.says, made)
		pgtest.Exec(t, s.alice, c.undo)
	}
	const goes = `UPDATE mvscheduler.views SET query = replace(query, ', sum(value) AS total', '')`
	for made, c := range map[string]struct{ undo, says string }{
		`CREATE RULE aside AS ON INSERT TO v DO INSTEAD NOTHING`:                   {`DROP RULE aside ON v`, "rule aside on"},
		`CREATE FUNCTION many() RETURNS SETOF v LANGUAGE sql AS 'SELECT * FROM v'`: {`DROP FUNCTION many()`, "many() uses it"},
		`ALTER VIEW v ALTER COLUMN n SET DEFAULT 7`:                                {`ALTER VIEW v ALTER COLUMN n DROP DEFAULT`, "the default of column n of"},
		`CREATE VIEW used AS SELECT total FROM v`:                                  {`DROP VIEW used`, "used uses column total, which goes"},
	} {
		pgtest.Exec(t, s.alice, made)
		require.Contains(t, s.refusal(t, goes), c.says, made)
		pgtest.Exec(t, s.alice, another) // columns are appended: nothing of that minds
		pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = replace(query, ', max(value) AS most', '')`, c.undo)
	}
	require.Equal(t, "v v, v__data p, v__gate m, v__query v", s.relations(t))

	// What was made meanwhile keeps the new version back, and the old one is served.
	pgtest.Exec(t, s.alice, goes, `CREATE MATERIALIZED VIEW stored AS SELECT total FROM v`)
	startSidecar(t, s.db)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
	until(t, s.alice, `SELECT activity = 'paused' AND reason LIKE '%stored reads it directly%' FROM mvscheduler.status`)
	require.Contains(t, s.columns(t, "v"), "total")
	pgtest.Exec(t, s.alice, `DROP MATERIALIZED VIEW stored`, `SELECT mvscheduler.resume_view('v')`)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	require.NotContains(t, s.columns(t, "v"), "total")
}

func TestViewsOnAnIncrementalViewFollowItsNewVersion(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 3)
	s.chain(t)
	startSidecar(t, s.db)
	s.incremented(t, "hourly", "daily")
	for _, change := range []string{
		`replace(query, 'AS total', 'AS total, max(value) AS most')`,                       // appended
		`replace(query, 'device, count(*)', 'device, min(value) AS least, count(*)')`,      // in between
		`replace(replace(query, ', min(value) AS least', ''), ', max(value) AS most', '')`, // gone
	} {
		pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = `+change+` WHERE name LIKE '%.hourly'`)
		s.incremented(t, "hourly", "daily")
		s.whole(t, "hourly")
		s.whole(t, "daily")
		pgtest.Exec(t, s.alice, `INSERT INTO readings VALUES (now(), 1, 5)`)
		s.incremented(t, "hourly", "daily")
		same(t, s.alice, "daily")
		require.Equal(t, 4, ask[int](t, s.alice, `SELECT count(*)::int FROM pg_trigger WHERE tgrelid = 'hourly__data'::regclass AND tgname LIKE 'mvscheduler_changed_%'`), "changes are noted on the new contents; of rows that are applied on their partitions")
	}
	require.Contains(t, s.refusal(t, `UPDATE mvscheduler.views SET query = replace(query, 'sum(value) AS total', 'sum(value)::float8 AS total') WHERE name LIKE '%.hourly'`), "managed view "+s.owner+".daily uses column total, whose type changes")
	require.Equal(t, s.owner+".hourly", ask[string](t, s.alice, `SELECT array_to_string(upstream, ' ') FROM mvscheduler.status WHERE name LIKE '%.daily'`))
}

func TestANewVersionLosesNothingThatRetentionHasTakenFromUnderIt(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.incremental(t, "hourly", hourlyReadings, "refresh_on", "manual")
	s.minutely(t, "young", "retention_period", "3 days")
	startSidecar(t, s.db)
	s.incremented(t, "hourly", "young")
	appended := func(view string) string {
		return `UPDATE mvscheduler.views SET query = replace(query, 'AS total', 'AS total, max(value) AS most') WHERE name LIKE '%.` + view + `'`
	}

	// While a new version is being built, nothing leaves that it is built from.
	pgtest.Exec(t, s.alice, appended("hourly"), `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '5 days')`)
	s.snapshotOf(t, "hourly__next__query", "hourly_wanted")
	dry := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".readings", "--dry-run", "-o", "json")
	require.Zero(t, dry.code, dry.stderr)
	require.NotContains(t, dry.stdout, `"action": "detach"`)
	require.Contains(t, dry.stdout, s.owner+".hourly")
	t.Log(dry.stdout[:600])
	s.incremented(t, "hourly")
	require.Zero(t, s.lost(t, "hourly_wanted", "hourly", "true"))
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'prune' AND state = 'succeeded' AND view_name LIKE '%.readings')`)
	require.Less(t, s.leaves(t), int64(11))

	// Afterwards the old buckets cannot be computed again.
	require.Contains(t, s.refusal(t, `UPDATE mvscheduler.views SET unique_key = '{}' WHERE name LIKE '%.hourly'`), "would be lost")
	require.Zero(t, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.redefinition`))
	// A view whose own buckets have left before can be built anew.
	pgtest.Exec(t, s.alice, appended("young"))
	s.incremented(t, "young")
	require.Contains(t, s.columns(t, "young"), "most")
	require.Equal(t, int64(2*72*3), ask[int64](t, s.alice, `SELECT count(*) FROM young WHERE minute >= date_trunc('day', now(), 'UTC') - interval '3 days' AND minute < date_trunc('day', now(), 'UTC')`))
	require.Zero(t, s.lost(t, "hourly_wanted", "hourly", "true"))
}

func TestReadersOfAnIncrementalViewSeeOneVersionOrTheOtherAndWaitForNeither(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newMetrics(t)
	version := func(n int) string { // by turns columns are appended and go
		return fmt.Sprintf(`SELECT date_trunc('hour', ts) AS hour, device, count(*) AS n, %d AS version%s FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, n, []string{"", ", 0 AS extra"}[n%2])
	}
	s.incremental(t, "v", version(0))
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, `CREATE VIEW through AS SELECT hour, device, n, version FROM v`)
	const said = ` SELECT concat_ws('-', min(version), max(version), max(version), count(*) / 288 * 100) FROM `
	direct, through := startWatch(t, s, said+`v`), startWatch(t, s, said+`through`)
	for n := 1; n <= 6; n++ {
		pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = `+quote(version(n)))
		s.incremented(t, "v")
		s.whole(t, "v")
		require.Equal(t, n, ask[int](t, s.alice, `SELECT max(version) FROM through`))
	}
	consistent(t, direct.end(t))
	consistent(t, through.end(t))

	// Somebody who stays in the view keeps the new version back, and no other reader.
	reader := s.db.Conn(t, s.owner)
	pgtest.Exec(t, reader, `SET application_name = 'report'`, `BEGIN`, `SELECT count(*) FROM v`)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = `+quote(version(7)))
	until(t, s.alice, `SELECT activity = 'waiting' AND waiting_for LIKE '%report%' AND reason LIKE '%the old one is served until then%' FROM mvscheduler.status`)
	pgtest.Exec(t, s.alice, `SET lock_timeout = '2s'`)
	for range 20 {
		require.Equal(t, 6, ask[int](t, s.alice, `SELECT max(version) FROM v`))
		pgtest.Exec(t, s.alice, `SELECT pg_sleep(0.05)`)
	}
	vacuum := s.db.Conn(t, s.owner)
	pgtest.Exec(t, vacuum, `BEGIN`, `LOCK TABLE v__next_20260301 IN SHARE UPDATE EXCLUSIVE MODE`)
	pgtest.Exec(t, reader, `COMMIT`)
	until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.redefinition)`)
	pgtest.Exec(t, vacuum, `COMMIT`)
	s.whole(t, "v")
	require.Equal(t, 7, ask[int](t, s.alice, `SELECT max(version) FROM v`))

	// Who holds its contents alone keeps these from being dropped, and nothing else: a later refresh drops them.
	pgtest.Exec(t, reader, `BEGIN`, `SELECT count(*) FROM v__next_20260301`) // which was being vacuumed, so it has the name yet
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = `+quote(version(8)))
	s.incremented(t, "v")
	require.Equal(t, 8, ask[int](t, s.alice, `SELECT max(version) FROM v`))
	require.Contains(t, s.pieces(t), "old "+s.owner+".v__old, old_query "+s.owner+".v__old__query")
	pgtest.Exec(t, reader, `COMMIT`)
	s.incremented(t, "v")
	s.whole(t, "v")
}

func TestANewVersionOfAnIncrementalViewComesToItsNewOwnerAndToAViewThatWasNeverFilled(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	bob := s.db.User(t, "bob")
	pgtest.Exec(t, s.root, `GRANT USAGE, CREATE ON SCHEMA `+s.owner+` TO `+bob, `GRANT `+bob+` TO `+s.owner)
	pgtest.Exec(t, s.alice, `GRANT SELECT, TRIGGER ON metrics TO `+bob)
	s.incremental(t, "v", hourly)
	for _, column := range []string{"one", "two"} {
		pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = replace(query, 'AS total', 'AS total, 1 AS `+column+`')`)
	}
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET owner = `+quote(bob)+`::regrole`)
	require.Equal(t, []string{bob}, ask[[]string](t, s.root, `SELECT array_agg(DISTINCT relowner::regrole::text) FROM pg_class WHERE relname ~ '^v(__|$)' AND relkind <> 'S'`))
	startSidecar(t, s.db)
	until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.redefinition) AND EXISTS (SELECT FROM mvscheduler.run WHERE state = 'succeeded')`)
	s.whole(t, "v")
	require.Equal(t, "hour timestamp with time zone, device integer, n bigint, total numeric, two integer, one integer", s.columns(t, "v"))
	require.Equal(t, []string{bob}, ask[[]string](t, s.root, `SELECT array_agg(DISTINCT relowner::regrole::text) FROM pg_class WHERE relname ~ '^v(__|$)' AND relkind <> 'S'`))
}

// What is said of a new version when a partition of what it reads leaves in the moment in which it is filled, although none may.
func TestANewVersionThatMayLackWhatTheOldOneHasDoesNotTakeItsPlace(t *testing.T) {
	t.Parallel()
	for name, noted := range map[string]string{
		"what it reads lacked rows": `UPDATE mvscheduler.redefinition SET lacking = true`,
		"a partition left":          `INSERT INTO mvscheduler.frozen_by (view_id, target, below) SELECT view_id, -1, '2026-03-02 00:00+00' FROM mvscheduler.redefinition`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newMetrics(t)
			s.incremental(t, "v", hourly, "refresh_on", "manual")
			startSidecar(t, s.db)
			s.incremented(t, "v")
			data := ask[uint32](t, s.alice, `SELECT 'v__data'::regclass::oid`)
			pgtest.Exec(t, s.alice, another)
			pgtest.Exec(t, s.root, noted)
			pgtest.Exec(t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
			until(t, s.alice, `SELECT reason LIKE '%left while its new version was being made%UPDATE the row back to what it was%' FROM mvscheduler.status`)
			require.Equal(t, data, ask[uint32](t, s.alice, `SELECT 'v__data'::regclass::oid`))
			require.NotContains(t, s.columns(t, "v"), "most")
			require.Equal(t, int64(3*96), ask[int64](t, s.alice, `SELECT count(*) FROM v`))
		})
	}
}
