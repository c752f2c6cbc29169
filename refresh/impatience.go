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
// watch, waits for a question that is on its way, so that no cancel comes later, and says whether it cancelled.
func watch(ctx context.Context, catalogs querier, pid uint32, patience time.Duration) (lostPatience func() bool) {
	const seldom, answer = time.Second, 5 * time.Second
	step := max(patience/8, 20*time.Millisecond)
	var (
		watching  sync.WaitGroup
		ended     = make(chan struct{})
		cancelled bool
	)
	ask := func(sql string) (bool, error) { // not with ctx: to give up on an answer is not to take back the question
		asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), answer)
		defer cancel()
		rows, err := catalogs.Query(asking, sql, int32(pid))
		if err != nil {
			return false, err
		}
		return pgx.CollectExactlyOneRow(rows, pgx.RowTo[bool])
	}
	watching.Go(func() {
		every, waited := step, time.Duration(0)
		for waited+step < patience {
			select {
			case <-ended:
				return
			case <-time.After(every):
			}
			switch waits, err := ask(`SELECT EXISTS (SELECT FROM pg_locks AS l WHERE l.pid = $1 AND NOT l.granted AND l.locktype = 'relation')`); {
			case err != nil: // the server's own lock_timeout is there still
				every = seldom
			case waits:
				waited += step
				every = step
			case every < seldom:
				every *= 2
			}
		}
		cancelled, _ = ask(`SELECT pg_cancel_backend($1)`)
	})
	return func() bool {
		close(ended)
		watching.Wait()
		return cancelled
	}
}
