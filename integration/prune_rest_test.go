package integration

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

const (
	pruneFailed = `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'prune' AND state = 'failed')`
	pruneReason = `SELECT reason FROM mvscheduler.run WHERE kind = 'prune' AND state = 'failed' ORDER BY id DESC LIMIT 1`
)

// A view of the owner's upon what is aside keeps that one, and says so; it does not keep the others.
func TestAPartitionThatCannotBeDroppedKeepsNoOtherOne(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE raw (ts timestamptz NOT NULL, k int) PARTITION BY RANGE (ts)`)
	for y := 2015; y < 2019; y++ {
		pgtest.Exec(t, s.alice, fmt.Sprintf(`CREATE TABLE y%d PARTITION OF raw FOR VALUES FROM ('%d-01-01') TO ('%d-01-01')`, y, y, y+1))
	}
	pgtest.Exec(t, s.alice, keepAYear)
	startSidecar(t, s.db)
	until(t, s.root, `SELECT count(*) = 4 FROM mvscheduler.kept`)
	s.pruned(t)
	pgtest.Exec(t, s.alice, `CREATE VIEW audit AS SELECT * FROM y2015__kept`, `UPDATE mvscheduler.source_retention SET grace_period = '0'`)
	until(t, s.root, pruneFailed)
	require.Equal(t, "y2015__kept", ask[string](t, s.alice, `SELECT string_agg(relation::text, ' ') FROM mvscheduler.visible_kept`))
	reason := ask[string](t, s.root, pruneReason)
	require.Contains(t, reason, "dropped 3 partitions")
	require.Regexp(t, `y2015__kept was not dropped: .*view \S+audit depends on table \S+y2015__kept`, reason)
	require.Contains(t, reason, "drop or change what the message names")

	pgtest.Exec(t, s.alice, `DROP VIEW audit`, `UPDATE mvscheduler.source_retention SET enabled = true`)
	until(t, s.root, `SELECT count(*) = 0 FROM mvscheduler.kept`)
}

// Who reads the table for long keeps partitions in it; those that are aside already are none of theirs.
func TestAReaderThatKeepsThePartitionsInTheTableKeepsNoneThatIsAside(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.aside(t)
	s.pruned(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE next PARTITION OF raw FOR VALUES FROM ('2021-01-01') TO ('2022-01-01')`)
	reader := s.db.Conn(t, s.owner)
	pgtest.Exec(t, reader, `SET application_name = 'report'`, `BEGIN`, `SELECT * FROM raw`)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET grace_period = '0'`)
	until(t, s.root, pruneFailed)
	require.Equal(t, int64(1), ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.pruning WHERE action = 'drop'`))
	require.Regexp(t, `next was not put aside: .*report.* holds AccessShareLock on `, ask[string](t, s.root, pruneReason))
}
