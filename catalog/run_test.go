package catalog_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Whatever the dispatchers believe: the indexes keep a view from having two runs at once, and a slot from having two.
func TestTheIndexesAloneKeepRunsApart(t *testing.T) {
	t.Parallel()
	conn := pgtest.New(t).Conn(t, "")
	insert := func(cause, state string, slot int) error {
		_, err := conn.Exec(t.Context(), `
INSERT INTO mvscheduler.run (view_id, view_name, owner, cause, slot, due_at, state)
VALUES (7, 'app.v', 'postgres', $1, to_timestamp($3), to_timestamp($3), $2)`, cause, state, slot)
		return err
	}
	require.NoError(t, insert("schedule", "queued", 1))
	for _, state := range []string{"queued", "running"} {
		require.ErrorContains(t, insert("manual", state, 2), "run_active")
	}
	require.ErrorContains(t, insert("schedule", "skipped", 1), "run_slot")
	require.ErrorContains(t, insert("catchup", "skipped", 1), "run_slot")
	require.NoError(t, insert("schedule", "skipped", 2))
	require.NoError(t, insert("manual", "skipped", 2))
}

func TestARequestIsAnsweredAlthoughTheSlotHasARunAlready(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := db.Conn(t, "")
	now := time.Now().UTC().Truncate(time.Microsecond)
	_, err := conn.Exec(t.Context(), `
INSERT INTO mvscheduler.run (id, view_id, view_name, owner, cause, slot, due_at, state)
VALUES (1, 7, 'app.v', 'postgres', 'schedule', $1, $1, 'succeeded')`, now)
	require.NoError(t, err)
	// As after the clock of the server was set back.
	decision := catalog.Decision{
		Run:    &catalog.NewRun{ViewID: 7, ViewName: "app.v", Owner: 10, Cause: "schedule", Slot: now, DueAt: now},
		Joined: []int64{11, 12},
	}
	var queued []catalog.Queued
	require.NoError(t, pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) (err error) {
		queued, err = catalog.Apply(t.Context(), tx, now, []catalog.Decision{decision})
		return err
	}))
	require.Equal(t, []catalog.Queued{{RunID: 11}}, queued)
	var cause string
	var joined int64
	require.NoError(t, conn.QueryRow(t.Context(), `
SELECT a.cause, b.joined_run FROM mvscheduler.run AS a, mvscheduler.run AS b WHERE a.id = 11 AND b.id = 12`).Scan(&cause, &joined))
	require.Equal(t, "manual", cause)
	require.Equal(t, int64(11), joined)
}

// A refresh that was asked for is taken together with its request: nothing else makes a run of the view until it is there.
func TestARunThatPrunesDoesNotComeBetweenARequestAndItsRun(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn, pruner := db.Conn(t, ""), db.Conn(t, "")
	pgtest.Exec(t, conn, `CREATE TABLE public.m (ts timestamptz)`,
		`INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width, refresh_on, refresh_interval) VALUES ('public.v', 'SELECT date_trunc(''hour'', ts) AS hour, count(*) FROM public.m WHERE mvscheduler.in_window(ts) GROUP BY 1', 'incremental', 'hour', '1 hour', 'manual', NULL)`,
		`SELECT mvscheduler.refresh_view('public.v')`)
	prune := func() (queued []catalog.Queued) {
		require.NoError(t, pgx.BeginFunc(t.Context(), pruner, func(tx pgx.Tx) (err error) {
			queued, err = catalog.QueuePrune(t.Context(), tx, 1, time.Minute)
			return err
		}))
		return queued
	}
	require.NoError(t, pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
		now, _, err := catalog.Tick(t.Context(), tx)
		require.NoError(t, err)
		due, err := catalog.LockDue(t.Context(), tx, now, 10, 10)
		require.NoError(t, err)
		require.Len(t, due, 1)
		require.Empty(t, prune())
		queued, err := catalog.Apply(t.Context(), tx, now, []catalog.Decision{catalog.Decide(due[0], now)})
		require.Len(t, queued, 1)
		return err
	}))
	require.Empty(t, prune(), "a run is under way")
	pgtest.Exec(t, conn, `UPDATE mvscheduler.run SET state = 'succeeded'`)
	require.Len(t, prune(), 1)
}
