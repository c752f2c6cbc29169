package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A horizon at the beginning of the calendar moves back as any other does: it keeps nobody's from that.
func TestAPartitionOfTheBeginningOfTheCalendarIsNoticedWhenItIsBack(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE raw (ts timestamptz NOT NULL, k int) PARTITION BY RANGE (ts)`,
		`CREATE TABLE first PARTITION OF raw FOR VALUES FROM ('4714-11-25 BC') TO ('4713-01-01 BC')`, `CREATE TABLE second PARTITION OF raw FOR VALUES FROM ('4713-01-01 BC') TO ('4712-01-01 BC')`,
		`CREATE TABLE since PARTITION OF raw FOR VALUES FROM ('4712-01-01 BC') TO (MAXVALUE)`, `INSERT INTO raw VALUES (now(), 1)`)
	s.incremental(t, "centuries", `SELECT date_trunc('century', ts) AS hour, count(*) AS n FROM raw WHERE mvscheduler.in_window(ts) GROUP BY 1`, "bucket_width", "100 years")
	startSidecar(t, s.db)
	s.incremented(t, "centuries")
	pgtest.Exec(t, s.alice, keepAYear)
	until(t, s.root, `SELECT count(*) = 2 FROM mvscheduler.kept WHERE detached_at IS NOT NULL`)
	s.pruned(t)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.restore_partitions(t.target, t.relation) FROM mvscheduler.visible_kept AS t WHERE t.was = 'second'`)
	_, err := catalog.NoteRestored(t.Context(), s.root, ask[int64](t, s.root, `SELECT id FROM mvscheduler.source_state`), nil, catalog.ByOwner) // where the sidecar has not noticed it yet
	require.NoError(t, err)
	require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.kept AS k JOIN pg_inherits AS i ON i.inhrelid = k.relation::oid WHERE k.detached_at IS NOT NULL`))
	s.incremented(t, "centuries")
	same(t, s.alice, "centuries")
}
