package integration

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A run that puts a partition of one table aside locks the table's horizon and then that of the view; the other table's partitions
// are back meanwhile.
func TestWhatIsBackIsNotedOfOneTableAtATime(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	ctx := t.Context()
	pgtest.Exec(t, s.root, `INSERT INTO mvscheduler.frozen (target, labels) VALUES (-1, '2026-01-01'), (-2, '2026-01-01')`,
		`INSERT INTO mvscheduler.frozen (target, times) VALUES (1, '2026-01-02')`,
		`INSERT INTO mvscheduler.frozen_by (view_id, target, below) VALUES (1, -1, '2026-01-02'), (1, -2, '2026-01-02')`)
	run, err := s.root.Begin(ctx)
	require.NoError(t, err)
	defer func() { _ = run.Rollback(ctx) }()
	_, err = run.Exec(ctx, `SELECT FROM mvscheduler.frozen WHERE target = -2 FOR UPDATE`)
	require.NoError(t, err)

	forgotten := make(chan error, 1)
	other := s.db.Conn(t, "")
	go func() { forgotten <- catalog.ForgetPrunings(ctx, other) }()
	until(t, s.db.Conn(t, ""), `SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`)
	_, err = run.Exec(ctx, `UPDATE mvscheduler.frozen SET times = '2026-01-03' WHERE target = 1`)
	require.NoError(t, err, "no deadlock")
	require.NoError(t, run.Commit(ctx))
	require.NoError(t, <-forgotten)
}

// Who redefines a view holds the horizon of what it reads until his transaction ends. Nobody else's waits for that.
func TestAHorizonThatIsHeldKeepsNoOtherFromMovingBack(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	ctx := t.Context()
	pgtest.Exec(t, s.root, `INSERT INTO mvscheduler.frozen (target, labels) VALUES (-1, '2026-01-01'), (-2, '2026-01-01'), (-3, '2026-01-01')`,
		`INSERT INTO mvscheduler.pruning (target, name, owner, at, action, partition, bound, reason) SELECT -1, 'x', '`+s.owner+`', now() - g.keep_runs - interval '1 day', 'drop', 'x', 'x', 'x' FROM mvscheduler.settings AS g`)
	holder := s.db.Conn(t, "")
	pgtest.Exec(t, holder, `BEGIN`, `SELECT FROM mvscheduler.frozen WHERE target = -1 FOR SHARE`)
	pgtest.Exec(t, s.root, `SET lock_timeout = '1s'`) // as the control pool has it
	limited, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	require.NoError(t, catalog.ForgetPrunings(limited, s.root))
	require.Equal(t, "-1", ask[string](t, s.root, `SELECT string_agg(target::text, ' ') FROM mvscheduler.frozen WHERE labels > '-infinity'`))
	require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.pruning`))
	pgtest.Exec(t, holder, `COMMIT`)
	require.NoError(t, catalog.ForgetPrunings(ctx, s.root))
	require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.frozen WHERE labels > '-infinity'`))
}

// A run puts a partition aside again that was brought back, while what is older stays frozen in the view. Before it has recorded that, the
// horizons move back: the run sees it, and freezes the view.
func TestARunThatPutsAPartitionAsideSeesThatHorizonsHaveMovedBack(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.incremental(t, "hourly", hourlyReadings)
	startSidecar(t, s.db)
	s.incremented(t, "hourly")
	pgtest.Exec(t, s.alice, fmt.Sprintf(leaveReadings, olderThan(5)))
	until(t, s.root, `SELECT count(*) = 4 FROM mvscheduler.kept WHERE detached_at IS NOT NULL`)
	s.pruned(t)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET enabled = false`,
		`SELECT mvscheduler.restore_partitions(r.id, (SELECT k.relation::oid FROM mvscheduler.visible_kept AS k ORDER BY k.bound LIMIT 1)) FROM mvscheduler.source_retention AS r`)
	until(t, s.root, `SELECT count(*) = 3 FROM mvscheduler.kept WHERE detached_at IS NOT NULL`)
	s.incremented(t, "hourly")
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.kept SET restored_at = restored_at - interval '30 days'`) // may leave again
	thaw := s.db.Conn(t, "")
	pgtest.Exec(t, thaw, `BEGIN`, `SELECT FROM mvscheduler.frozen WHERE target = -1 FOR UPDATE`)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET enabled = true`)
	pgtest.Exec(t, thaw, `DO $$ BEGIN
			WHILE NOT EXISTS (SELECT FROM pg_stat_activity AS a WHERE pg_backend_pid() = ANY (pg_blocking_pids(a.pid))) LOOP   -- it waits for a tenth of a second
				PERFORM pg_stat_clear_snapshot();
			END LOOP; END $$`,
		`UPDATE mvscheduler.frozen SET labels = '-infinity', times = '-infinity'`, `UPDATE mvscheduler.frozen_by SET below = '-infinity'`, `COMMIT`)
	until(t, s.root, `SELECT count(*) = 4 FROM mvscheduler.kept WHERE detached_at IS NOT NULL`)
	require.True(t, ask[bool](t, s.root, `SELECT isfinite(below) FROM mvscheduler.frozen_by`))
}
