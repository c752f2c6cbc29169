package jobs

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestANotificationRingsTheBell(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	config, err := pgx.ParseConfig(db.URL())
	require.NoError(t, err)
	rings := make(chan struct{}, 10)
	l := listener{config: config, log: slog.New(slog.NewTextHandler(io.Discard, nil)), hint: func() { rings <- struct{}{} }}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- l.Run(ctx) }()
	rung := func(why string) {
		t.Helper()
		select {
		case <-rings:
		case <-time.After(30 * time.Second):
			t.Fatal(why)
		}
	}
	rung("what was notified while nobody listened")
	for range 3 {
		db.Exec(t, `SELECT pg_notify('mvscheduler_due', '')`)
		rung("a notification")
	}
	db.Exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN mvscheduler_due' AND datname = current_database()`)
	rung("it listens again after its connection was lost")
	db.Exec(t, `INSERT INTO mvscheduler.views (name, query) VALUES ('public.v', 'SELECT 1 AS a')`)
	rung("the trigger of a row")
	stop()
	require.NoError(t, <-ended)
}
