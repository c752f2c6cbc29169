package integration

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// What comes as time goes on finds its partition there, so that the refresh that computes it attaches none.
func TestThePartitionAfterThatOfNowIsMadeAhead(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`)
	for _, table := range []string{"metrics", "past"} {
		pgtest.Exec(t, s.alice, `CREATE TABLE `+table+` (ts timestamptz NOT NULL, device int NOT NULL, value numeric)`, `INSERT INTO `+table+` VALUES (now() - interval '40 days', 1, 1)`)
	}
	pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES (now(), 1, 1)`)
	s.incremental(t, "v", hourly)
	s.incremental(t, "old", strings.Replace(hourly, "metrics", "past", 1))
	startSidecar(t, s.db)
	s.incremented(t, "v", "old")
	partitions := func(view string) string {
		return ask[string](t, s.alice, `SELECT string_agg(c.oid || ' ' || pg_get_expr(c.relpartbound, c.oid), ', ' ORDER BY c.oid) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = ($1 || '__data')::regclass`, view)
	}
	next := ask[string](t, s.alice, `SELECT format('FROM (%L) TO (%L)', m, m + interval '1 month') FROM (SELECT date_trunc('month', now()) + interval '1 month' AS m) AS n`)
	filled := partitions("old")

	// What is old makes none.
	pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES (now() - interval '40 days', 2, 1)`, `INSERT INTO past VALUES (now() - interval '40 days', 2, 1)`)
	s.incremented(t, "v", "old")
	require.NotContains(t, partitions("v"), next)
	require.Equal(t, filled, partitions("old"))

	pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES (now(), 2, 1)`)
	s.incremented(t, "v")
	ahead := partitions("v")
	require.Contains(t, ahead, next)

	// The time that comes.
	pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES (date_trunc('month', now()) + interval '40 days', 3, 1)`)
	s.incremented(t, "v")
	require.Equal(t, ahead, partitions("v"))
	s.whole(t, "v")
}

// A refresh does not fail for a partition that it does not need.
func TestWhatIsNotNeededYetIsLeftWhereItCannotBeMade(t *testing.T) {
	heavy(t)
	t.Parallel()
	metrics := func(t *testing.T) *scene {
		t.Helper()
		s := newScene(t)
		pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE metrics (ts timestamptz NOT NULL, device int NOT NULL, value numeric)`, `INSERT INTO metrics VALUES (now(), 1, 1)`)
		return s
	}
	t.Run("its owner may create nothing in the schema any more", func(t *testing.T) {
		t.Parallel()
		s := metrics(t)
		schema := s.owner + "_dba"
		pgtest.Exec(t, s.root, `CREATE SCHEMA `+schema, `GRANT USAGE, CREATE ON SCHEMA `+schema+` TO `+s.owner, `GRANT USAGE ON SCHEMA `+schema+` TO mvscheduler_worker`)
		v := schema + ".v"
		s.incremental(t, v, hourly)
		startSidecar(t, s.db)
		s.incremented(t, v)
		pgtest.Exec(t, s.root, `REVOKE CREATE ON SCHEMA `+schema+` FROM `+s.owner)
		pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES (now(), 2, 1)`)
		s.incremented(t, v)
		require.Equal(t, int64(2), ask[int64](t, s.alice, `SELECT count(*) FROM `+v))
	})
	t.Run("rows of then are in a DEFAULT partition that was made by hand", func(t *testing.T) {
		t.Parallel()
		s := metrics(t)
		s.incremental(t, "v", hourly)
		startSidecar(t, s.db)
		s.incremented(t, "v")
		pgtest.Exec(t, s.alice, `CREATE TABLE rest PARTITION OF v__data DEFAULT`)
		s.incremented(t, "v") // everything, since somebody altered it
		pgtest.Exec(t, s.alice, `INSERT INTO rest (hour, device) VALUES (date_trunc('month', now()) + interval '45 days', 9)`)
		pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES (now(), 2, 1)`)
		s.incremented(t, "v")
		require.Equal(t, int64(2), ask[int64](t, s.alice, `SELECT count(*) FROM v WHERE hour < now()`))
	})
	for name, hold := range map[string]string{"a table whose foreign key points at it is written to": `INSERT INTO note SELECT hour, device FROM v__data LIMIT 1`, "it is analyzed": `ANALYZE v__data`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := metrics(t)
			s.incremental(t, "v", hourly)
			startSidecar(t, s.db)
			s.incremented(t, "v")
			pgtest.Exec(t, s.alice, `CREATE TABLE note (hour timestamptz, device int, FOREIGN KEY (hour, device) REFERENCES v__data (hour, device))`)
			other := s.db.Conn(t, s.owner)
			pgtest.Exec(t, other, `BEGIN`, hold)
			before := ask[int64](t, s.alice, `SELECT count(*) FROM pg_inherits WHERE inhparent = 'v__data'::regclass`)
			pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES (now(), 2, 1)`)
			s.incremented(t, "v")
			same(t, s.alice, "v")
			require.Equal(t, before, ask[int64](t, s.alice, `SELECT count(*) FROM pg_inherits WHERE inhparent = 'v__data'::regclass`))
			pgtest.Exec(t, other, `COMMIT`)
			pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES (now(), 3, 1)`)
			s.incremented(t, "v")
			require.Equal(t, before+1, ask[int64](t, s.alice, `SELECT count(*) FROM pg_inherits WHERE inhparent = 'v__data'::regclass`))
		})
	}
}
