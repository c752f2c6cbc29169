package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A day is loaded anew by TRUNCATE of its partition and INSERT: what that can have held is computed, and no other day.
func TestOfAPartitionThatIsTruncatedItsTimesAloneAreComputed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ table, reason string }{
		"a day":              {"day", "changed: 2026-03-01 00:00:00 to 2026-03-02 00:00:00 UTC"},
		"a part of a day":    {"part", "changed: 2026-03-01 00:00:00 to 2026-03-02 00:00:00 UTC"},
		"what DEFAULT holds": {"other", "changed: everything"},
		"everything":         {"loads", "changed: everything"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			pgtest.Exec(t, s.alice, `SET TimeZone = 'Asia/Kathmandu'`, `SET DateStyle = 'German'`,
				`CREATE TABLE loads (ts timestamp NOT NULL, k int NOT NULL) PARTITION BY RANGE (ts)`,
				`CREATE TABLE day PARTITION OF loads FOR VALUES FROM ('2026-03-01') TO ('2026-03-02') PARTITION BY LIST (k)`, `CREATE TABLE part PARTITION OF day DEFAULT`,
				`CREATE TABLE next PARTITION OF loads FOR VALUES FROM ('2026-03-02') TO ('2026-03-03')`, `CREATE TABLE other PARTITION OF loads DEFAULT`,
				`INSERT INTO loads SELECT '2026-02-28'::timestamp + n * interval '1 hour', n FROM generate_series(0, 99) AS n`)
			s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, sum(k) AS n FROM loads WHERE mvscheduler.in_window(ts) GROUP BY 1`, "change_tracking", "trigger")
			startSidecar(t, s.db)
			s.incremented(t, "v")
			same(t, s.alice, "v")
			pgtest.Exec(t, s.alice, `TRUNCATE `+c.table, `INSERT INTO loads VALUES ('2026-03-01 10:00', 5)`)
			s.incremented(t, "v")
			same(t, s.alice, "v")
			require.Contains(t, s.last(t, "v", "reason"), c.reason)
		})
	}
}

// By an operator class that has the latest time first, the end of a partition is before its beginning.
func TestBoundsInAnOrderOfTheirOwnTellNothingOfTheTimes(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.root, `CREATE SCHEMA odd`, `SET search_path = odd`,
		`CREATE FUNCTION latest_first(timestamptz, timestamptz) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT pg_catalog.timestamptz_cmp($2, $1)'`,
		`CREATE OPERATOR CLASS latest_first FOR TYPE timestamptz USING btree AS OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =, OPERATOR 4 <=, OPERATOR 5 <, FUNCTION 1 latest_first(timestamptz, timestamptz)`,
		`CREATE TABLE loads (ts timestamptz NOT NULL) PARTITION BY RANGE (ts latest_first)`, `CREATE TABLE month PARTITION OF loads FOR VALUES FROM ('2026-02-01') TO ('2026-01-01')`,
		`RESET search_path`)
	require.Equal(t, "-infinity to infinity", ask[string](t, s.root, `SELECT concat_ws(' to ', lo, hi) FROM mvscheduler.part_times('odd.month'::regclass, 'odd.loads'::regclass, 1::smallint)`))
}
