package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// The reason names who holds a lock that the step needs, on whatever table, and nobody else.
func TestTheReasonOfAPruneThatMeetsALockNamesWhoHoldsIt(t *testing.T) {
	heavy(t)
	t.Parallel()
	hold := func(t *testing.T, s *scene, name, sql string) {
		t.Helper()
		pgtest.Exec(t, s.db.Conn(t, s.owner), `SET application_name = '`+name+`'`, `BEGIN`, sql)
	}
	t.Run("of the partition", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		s.oldYear(t)
		hold(t, s, "report", `SELECT * FROM old`)
		pgtest.Exec(t, s.alice, keepAYear)
		startSidecar(t, s.db)
		until(t, s.root, pruneFailed)
		who := `old was not put aside: .*report.* holds AccessShareLock on old `
		require.Regexp(t, who, ask[string](t, s.root, pruneReason))
		for _, role := range []string{"", s.owner} {
			found, _ := examine(t, s.db, role)
			told := about(found, "pruning")
			require.Len(t, told, 1)
			require.Equal(t, finding{"warning", "pruning", s.owner + ".raw", told[0].What, "mvscheduler runs " + s.owner + ".raw"}, told[0])
			require.Regexp(t, who, told[0].What)
		}
		out := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".raw", "--dry-run")
		require.Regexp(t, `(?s)nothing was changed: --dry-run.*the last try did not come through: .*`+who, out.stderr)
		pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET legal_hold = true`)
		require.NotContains(t, mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".raw", "--dry-run").stderr, "the last try")
	})
	t.Run("by a transaction that is prepared", func(t *testing.T) { // of which there is no session
		t.Parallel()
		s := sceneOn(t, pgtest.Dedicated(t, map[string]string{"max_prepared_transactions": "5"}))
		s.oldYear(t)
		hold(t, s, "loader", `INSERT INTO raw VALUES ('2020-06-06', 1); PREPARE TRANSACTION 'loader'`)
		pgtest.Exec(t, s.alice, keepAYear)
		startSidecar(t, s.db)
		until(t, s.root, pruneFailed)
		require.Regexp(t, `old was not put aside: .*prepared transaction "loader" \(`+s.owner+`\) holds RowExclusiveLock on (old|raw) since 20`, ask[string](t, s.root, pruneReason))
		pgtest.Exec(t, s.alice, `ROLLBACK PREPARED 'loader'`, `UPDATE mvscheduler.source_retention SET enabled = true`)
		until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.kept`)
	})
	t.Run("all of it, of one that is not the first", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		s.oldYear(t)
		pgtest.Exec(t, s.alice, `CREATE TABLE older PARTITION OF raw FOR VALUES FROM ('2019-01-01') TO ('2020-01-01')`)
		hold(t, s, "thief", `LOCK TABLE ONLY old IN ACCESS EXCLUSIVE MODE`)
		pgtest.Exec(t, s.alice, keepAYear)
		startSidecar(t, s.db)
		until(t, s.root, pruneFailed)
		reason := ask[string](t, s.root, pruneReason)
		require.Regexp(t, `put aside 1 partition.*old was not put aside: .*thief.* holds AccessExclusiveLock on old `, reason)
	})
	t.Run("of an index, which counts into the size", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		s.oldYear(t)
		pgtest.Exec(t, s.alice, `CREATE TABLE now_on PARTITION OF raw FOR VALUES FROM ('2021-01-01') TO ('9999-01-01') `, `CREATE INDEX noted ON now_on (k)`)
		hold(t, s, "reindexer", `REINDEX INDEX noted`)
		pgtest.Exec(t, s.alice, keepAYear)
		startSidecar(t, s.db)
		until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.visible_kept`)
	})
	t.Run("of what is aside, while another one reads the table", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		s.aside(t)
		s.pruned(t)
		hold(t, s, "innocent", `SELECT * FROM raw`)
		hold(t, s, "report", `SELECT * FROM old__kept`)
		pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET grace_period = '0'`)
		until(t, s.root, pruneFailed)
		reason := ask[string](t, s.root, pruneReason)
		require.Regexp(t, `old__kept was not dropped: .*report.* holds AccessShareLock on old__kept `, reason)
		require.NotContains(t, reason, "innocent")
	})
	t.Run("of what a foreign key points at, while another one reads it", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE devices (k int PRIMARY KEY)`, `CREATE TABLE raw (ts timestamptz NOT NULL, k int REFERENCES devices) PARTITION BY RANGE (ts)`,
			`CREATE TABLE old PARTITION OF raw FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')`)
		hold(t, s, "innocent", `SELECT * FROM devices`)
		hold(t, s, "writer", `INSERT INTO devices VALUES (2)`)
		pgtest.Exec(t, s.alice, keepAYear)
		startSidecar(t, s.db)
		until(t, s.root, pruneFailed)
		reason := ask[string](t, s.root, pruneReason)
		require.Regexp(t, `old was not put aside: .*writer.* holds RowExclusiveLock on devices `, reason)
		require.NotContains(t, reason, "innocent")
	})
}
