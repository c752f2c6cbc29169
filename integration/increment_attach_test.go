package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Others see a transaction as committed before they hear of the partitions that it has attached: by its number, which it holds until then,
// it is told that it is not over. It is told to itself here, who is the only one for whom that moment can be made to last.
func TestAPartitionIsBeingAttachedUntilTheEndOfCommit(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE raw (ts timestamptz NOT NULL) PARTITION BY RANGE (ts)`, `CREATE TABLE old PARTITION OF raw FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')`,
		`CREATE TABLE month (ts timestamptz NOT NULL) PARTITION BY RANGE (ts)`, `CREATE TABLE day PARTITION OF month FOR VALUES FROM ('2026-02-01') TO ('2026-02-02')`)
	oid := func(name string) uint32 { return ask[uint32](t, s.alice, `SELECT $1::text::regclass::oid`, name) }
	attaching := func(name string) string {
		found, err := catalog.Attaching(t.Context(), s.alice, []uint32{oid(name)})
		require.NoError(t, err)
		return found
	}
	pgtest.Exec(t, s.alice, `BEGIN`, `ALTER TABLE raw ATTACH PARTITION month FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')`)
	require.Equal(t, s.owner+".month", attaching("month"))
	require.Equal(t, s.owner+".month", attaching("day"), "what is below it comes with it")
	require.Equal(t, "", attaching("old"))
	pgtest.Exec(t, s.alice, `COMMIT`)
	require.Equal(t, "", attaching("month"))
	require.Equal(t, "", attaching("day"))
}
