package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
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
	heavy(t)
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

// Of one table partitions have to leave, to be dropped and to come back, several each, and of each step somebody reads one:
// what is older than that one has left, and the others are dropped and brought back in the same run, which names all three.
func TestAPartitionThatCannotLeaveKeepsNoneFromBeingDroppedOrBroughtBack(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 14)
	s.minutely(t, "v")
	worker := startSidecar(t, s.db)
	s.incremented(t, "v")
	s.snapshotOf(t, "v", "before")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '2 days'`)
	until(t, s.root, `SELECT count(*) = 12 FROM mvscheduler.visible_kept`)
	s.pruned(t)
	aside := ask[[]string](t, s.root, `SELECT array_agg(k.relation::oid::text ORDER BY k.until) FROM mvscheduler.kept AS k`)
	name := func(n int) string {
		return ask[string](t, s.alice, `SELECT relname::text FROM pg_class WHERE oid = $1::text::oid`, aside[n])
	}
	was := ask[[]string](t, s.root, `SELECT array_agg(k.name ORDER BY k.until) FROM mvscheduler.kept AS k`)
	for _, oid := range aside[:3] {
		pgtest.Exec(t, s.alice, fmt.Sprintf(`SELECT mvscheduler.restore_partitions(mvscheduler.view_id('v'), %s)`, oid))
	}
	s.incremented(t, "v")
	until(t, s.root, `SELECT count(*) = 3 FROM mvscheduler.kept WHERE restored_at IS NOT NULL`)
	s.pruned(t)
	require.Zero(t, worker.stop())

	pgtest.Exec(t, s.root, `UPDATE mvscheduler.kept SET restored_at = restored_at - interval '30 days'`,
		fmt.Sprintf(`UPDATE mvscheduler.kept SET detached_at = detached_at - interval '30 days' WHERE relation::oid IN (%s)`, strings.Join(aside[3:6], ", ")))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '8 days'`)
	var readers []*pgx.Conn
	for _, n := range []int{1, 4, 8} {
		reader := s.db.Conn(t, s.owner)
		pgtest.Exec(t, reader, fmt.Sprintf(`SET application_name = 'reader of %s'`, name(n)), `BEGIN`, `SELECT FROM `+name(n))
		readers = append(readers, reader)
	}
	read := [3]string{name(1), name(4), name(8)}
	last := ask[int64](t, s.root, `SELECT max(id) FROM mvscheduler.run`)
	startSidecar(t, s.db)
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'prune' AND state = 'failed' AND id > $1)`, last)
	run := ask[int64](t, s.root, `SELECT min(id) FROM mvscheduler.run WHERE kind = 'prune' AND state = 'failed' AND id > $1`, last)
	moved := func(action string) []string {
		return ask[[]string](t, s.root, `SELECT coalesce(array_agg(x.name ORDER BY x.name), '{}') FROM mvscheduler.pruning AS p, replace(split_part(p.partition, '.', 2), '__kept', '') AS x(name) WHERE p.run_id = $1 AND p.action = $2`, run, action)
	}
	require.Equal(t, was[:1], moved("detach"))
	require.Equal(t, []string{was[3], was[5]}, moved("drop"))
	require.Equal(t, slices.Concat(was[6:8], was[9:]), moved("restore"))
	reason := ask[string](t, s.root, `SELECT reason FROM mvscheduler.run WHERE id = $1`, run)
	for n, how := range []string{"put aside", "dropped", "brought back"} {
		require.Regexp(t, fmt.Sprintf(`%[1]s was not %[2]s: .*reader of %[1]s.* holds AccessShareLock on %[1]s `, read[n], how), reason)
	}
	require.NotContains(t, reason, was[2], "what is younger than the one that cannot leave is not tried")

	for _, reader := range readers {
		pgtest.Exec(t, reader, `COMMIT`)
	}
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.run SET finished_at = '2026-01-01' WHERE kind = 'prune' AND state = 'failed'`)
	s.incremented(t, "v") // after which it is looked at once
	until(t, s.root, `SELECT array_agg(k.name ORDER BY k.until) FILTER (WHERE k.detached_at IS NOT NULL) = $1 AND count(*) = 9 FROM mvscheduler.kept AS k`, was[:3])
	s.incremented(t, "v")
	require.Zero(t, s.lost(t, "before", "v", "minute >= date_trunc('day', now(), 'UTC') - interval '8 days'"))
}

// The statement that the reason names is what it takes, whatever the column is called.
func TestWhereTheColumnOfAPartitionedTableIsRenamedTheReasonNamesTheStatementThatHelps(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE "odd'Name" (ts date NOT NULL) PARTITION BY RANGE (ts)`, `CREATE TABLE y2020 PARTITION OF "odd'Name" FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')`,
		`INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('"odd''Name"', '1 year')`, `ALTER TABLE "odd'Name" RENAME ts TO "placed'At"`)
	dryRun := func() string {
		r := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+`."odd'Name"`, "--dry-run")
		require.Equal(t, 0, r.code, r.stderr)
		return strings.Join(strings.Fields(r.stdout), " ")
	}
	_, fix, found := strings.Cut(dryRun(), "if that was renamed: ")
	require.True(t, found, dryRun())
	fix, _, found = strings.Cut(fix, "::regclass")
	require.True(t, found, fix)
	pgtest.Exec(t, s.alice, fix+"::regclass")
	require.NotContains(t, dryRun(), "renamed")
	require.Contains(t, dryRun(), " detach ")
}
