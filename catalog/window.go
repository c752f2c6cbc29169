package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Window is a pause of every view, in force or to come. There is one at a time.
type Window struct {
	From   time.Time  `db:"paused_from"`
	Until  *time.Time `db:"paused_until"` // nil = until it is ended by hand
	Reason *string    `db:"pause_reason"`
	AsOf   time.Time  `db:"as_of"` // the database's clock when this was read
}

// InForce says that every view is paused now.
func (w *Window) InForce() bool { return w != nil && !w.From.After(w.AsOf) }

// Covers says that no clock runs at t.
func (w *Window) Covers(t time.Time) bool {
	return w != nil && !t.Before(w.From) && (w.Until == nil || t.Before(*w.Until))
}

// ReadWindow returns nil without an error when there is none, when it is over, and for a caller that may not read
// settings.
func ReadWindow(ctx context.Context, q Querier) (*Window, error) {
	rows, err := q.Query(ctx, `
SELECT greatest(g.paused_from, 'epoch') AS paused_from, `+writable("g.paused_until")+` AS paused_until, g.pause_reason, clock_timestamp() AS as_of
  FROM mvscheduler.settings AS g
 WHERE g.paused_from < 'infinity'
   AND coalesce(g.paused_until, 'infinity') > clock_timestamp()`)
	if err != nil {
		return nil, fmt.Errorf("read the pause of every view: %w", err)
	}
	w, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[Window])
	var pg *pgconn.PgError
	switch {
	case errors.Is(err, pgx.ErrNoRows), errors.As(err, &pg) && pg.Code == "42501":
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read the pause of every view: %w", err)
	}
	return w, nil
}
