package doctor

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/catalog"
)

// pauses tells of a pause of every view, in force or to come: somebody may have forgotten it.
func pauses(ctx context.Context, conn *pgx.Conn, _ server) ([]Finding, error) {
	w, err := catalog.ReadWindow(ctx, conn)
	if err != nil || w == nil {
		return nil, err
	}
	what := "every view will be paused from "
	if w.InForce() {
		what = "every view is paused from "
	}
	what += w.From.UTC().Format(time.DateTime) + " UTC"
	if w.Until != nil {
		what += " until " + w.Until.UTC().Format(time.DateTime) + " UTC"
	}
	if w.Reason != nil && *w.Reason != "" {
		what += ": " + *w.Reason
	}
	return []Finding{{Severity: Note, What: what, Fix: "mvscheduler resume --all"}}, nil
}
