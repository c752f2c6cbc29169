package integration

import (
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
		`CREATE VIEW direct AS SELECT hour, n FROM v`, `CREATE VIEW deep AS SELECT sum(n) AS n FROM direct`, `CREATE MATERIALIZED VIEW stored AS SELECT count(*) FROM v`, `CREATE INDEX by_n ON v__data (n) WHERE n > 5`)
	oid := ask[uint32](t, s.alice, `SELECT 'v'::regclass::oid`)
	kept := func() {
		t.Helper()
		same(t, s.alice, "v")
		require.Equal(t, "hourly how many {security_barrier=true} t", ask[string](t, s.root, `SELECT concat_ws(' ', obj_description(c.oid), col_description(c.oid, (SELECT attnum FROM pg_attribute WHERE attrelid = c.oid AND attname = 'n')), c.reloptions::text, has_table_privilege($2, c.oid, 'SELECT')) FROM pg_class AS c WHERE c.oid = $1::text::regclass`, s.owner+".v", bob))
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
	require.Contains(t, s.last(t, "v", "reason"), "a new version took the place of the old one")
	require.Equal(t, "build", s.last(t, "v", "kind"))
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
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET unique_key = '{}'`)
	s.incremented(t, "v")
	kept()
	require.True(t, ask[bool](t, s.alice, `SELECT mvscheduler.key_of('v__data'::regclass) IS NULL`))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET unique_key = NULL, time_column = 'started', query = replace(query, 'AS hour', 'AS hour, date_trunc(''hour'', ts) AS started') || ', 3'`)
	require.Equal(t, "{started,hour,device}", ask[string](t, s.alice, `SELECT mvscheduler.key_of('v__next'::regclass)::text`))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET time_column = 'hour', query = $$SELECT date_trunc('day', ts) AS hour, device, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1, 2$$, bucket_width = '1 day'`)
	s.incremented(t, "v")
	kept()
	require.Equal(t, "v__data_20260101", ask[string](t, s.alice, `SELECT string_agg(inhrelid::regclass::text, ', ') FROM pg_inherits WHERE inhparent = 'v__data'::regclass`))
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
