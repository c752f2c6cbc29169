package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// commitPause is between two looks at transactions that are within COMMIT, commitPatience how long they are waited for.
const commitPause, commitPatience = 5 * time.Millisecond, 5 * time.Second

// ErrCommitting is returned where it cannot be told yet what a transaction has brought.
var ErrCommitting = errors.New("a transaction is within its COMMIT")

// Settle waits for the transactions that are within COMMIT. PostgreSQL shows others what a transaction wrote before it tells them of the
// partitions that it attached and the functions that it replaced: for so long, and no lock keeps them out, others go on by what
// they knew. Whatever a query has seen before Settle is known to every session afterwards. [ErrCommitting] says that a COMMIT does not end.
func Settle(ctx context.Context, q Querier) error {
	committing, err := loadCommitting(ctx, q, nil)
	for began := time.Now(); err == nil && len(committing) > 0; committing, err = loadCommitting(ctx, q, committing) {
		if time.Since(began) > commitPatience {
			return fmt.Errorf("%w: that of transaction %d has not ended for %s", ErrCommitting, committing[0], commitPatience)
		}
		time.Sleep(commitPause)
	}
	return err
}

// loadCommitting are the transactions that others see as over, and that still hold their numbers; of these alone where some are
// given.
func loadCommitting(ctx context.Context, q Querier, of []uint32) (numbers []uint32, err error) {
	err = q.QueryRow(ctx, `
SELECT coalesce(array_agg(k.transactionid::text::oid), '{}')
  FROM pg_locks AS k
 WHERE k.locktype = 'transactionid' AND k.mode = 'ExclusiveLock' AND k.granted
   AND (k.transactionid::text::oid = ANY ($1::oid[]) OR $1 IS NULL)
   AND CASE WHEN k.pid IS NULL THEN NOT EXISTS (SELECT FROM pg_prepared_xacts AS p WHERE p.transaction = k.transactionid)
            ELSE NOT EXISTS (SELECT FROM pg_stat_get_activity(k.pid) AS a WHERE a.backend_xid IS NOT NULL) END`, of).Scan(&numbers)
	if err != nil {
		return nil, fmt.Errorf("look which transactions are within COMMIT: %w", err)
	}
	return numbers, nil
}
