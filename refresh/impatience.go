package refresh

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mvscheduler/mvscheduler/internal/pgexec"
)

// refreshIn runs REFRESH. While a plain one waits for the tables below, readers already wait for it: lock_timeout
// bounds each of its locks, so it is watched that all of them together take no longer.
func refreshIn(ctx context.Context, tx *pgexec.Tx, session *pgexec.Session, catalogs querier, view View, method string) error {
	if method == Concurrent || view.LockTimeout <= 0 {
		return tx.Refresh(ctx, view.Target, method == Concurrent)
	}
	lostPatience := watch(ctx, catalogs, session.PID(), view.LockTimeout)
	err := tx.Refresh(ctx, view.Target, false)
	if lostPatience() && SQLState(err) == "57014" {
		return &pgconn.PgError{Severity: "ERROR", Code: "55P03", Message: "canceling statement due to lock timeout: all locks together took longer"}
	}
	return err
}

// watch cancels what a backend does once it has waited for locks for as long as it may, or nearly: it looks a
// few times within that time, and seldom when the backend has its locks. The function that it returns ends the
// watch and says whether it cancelled; what comes afterwards is not hit.
func watch(ctx context.Context, catalogs querier, pid uint32, patience time.Duration) (lostPatience func() bool) {
	ctx, stop := context.WithCancel(ctx)
	step := max(patience/8, 20*time.Millisecond)
	var (
		watching  sync.WaitGroup
		cancelled bool
	)
	watching.Go(func() {
		const seldom = time.Second
		every, waited := step, time.Duration(0)
		for waited+step < patience {
			select {
			case <-ctx.Done():
				return
			case <-time.After(every):
			}
			switch waits, err := waitsForALock(ctx, catalogs, pid); {
			case err != nil: // the server's own lock_timeout is there still
			case waits:
				waited += step
				every = step
			case every < seldom:
				every *= 2
			}
		}
		rows, err := catalogs.Query(ctx, `SELECT pg_cancel_backend($1)`, int32(pid))
		if err == nil {
			cancelled, _ = pgx.CollectExactlyOneRow(rows, pgx.RowTo[bool])
		}
	})
	return func() bool {
		stop()
		watching.Wait()
		return cancelled
	}
}

func waitsForALock(ctx context.Context, catalogs querier, pid uint32) (bool, error) {
	rows, err := catalogs.Query(ctx, `SELECT EXISTS (SELECT FROM pg_locks AS l WHERE l.pid = $1 AND NOT l.granted AND l.locktype = 'relation')`, int32(pid))
	if err != nil {
		return false, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowTo[bool])
}
