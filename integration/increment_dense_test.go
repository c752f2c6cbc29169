package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// The query of a wide refresh is sorted as a whole where it gives about as many rows as it reads, by a key that compares quickly.
func TestAWideRefreshSortsWhatItReadsWhereBucketsHaveFewRows(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE metrics (ts timestamptz NOT NULL, device int, label text, value float8)`, `CREATE INDEX ON metrics (ts)`,
		`INSERT INTO metrics SELECT t, nullif(d, 3), 'label ' || d, (1000 * random())::int FROM generate_series('2026-03-01 00:00+00'::timestamptz, '2026-03-04 23:59+00', '1 minute') AS t, generate_series(1, 3) AS d`)
	views := map[string]struct {
		unit, key string
		dense     bool
	}{"fine": {"minute", "device", true}, "coarse": {"day", "device", false}, "worded": {"minute", "label", false}, "floating": {"minute", "value", false}}
	for view, v := range views {
		s.incremental(t, view, `SELECT date_trunc('`+v.unit+`', ts) AS at, `+v.key+`, sum(value + 1) AS total, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, "time_column", "at", "bucket_width", "1 "+v.unit)
	}
	startSidecar(t, s.db)
	for view := range views {
		s.incremented(t, view)
	}
	for view, v := range views {
		require.Equal(t, v.dense, ask[bool](t, s.root, `SELECT mvscheduler.is_dense(($1 || '__data')::regclass, ($2 || '.metrics')::regclass)`, s.owner+"."+view, s.owner), view)
	}
	pgtest.Exec(t, s.alice, `UPDATE metrics SET value = value + 1 WHERE extract(minute FROM ts)::int % 7 = 0`, `DELETE FROM metrics WHERE extract(minute FROM ts)::int % 11 = 0`,
		`INSERT INTO metrics SELECT ts, 7, 'new', 1 FROM metrics WHERE extract(minute FROM ts)::int % 13 = 0`)
	s.wide(t)
	for view := range views {
		s.incremented(t, view)
		same(t, s.alice, view)
	}
}
