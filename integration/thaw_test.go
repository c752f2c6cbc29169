package integration

import (
	"testing"

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
