package doctor

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/internal/words"
)

// starvedRetention finds views and tables of which partitions cannot leave, with who keeps them. Each minute it is tried again
// as long as there is something to do, so older failures tell nothing.
func starvedRetention(ctx context.Context, conn *pgx.Conn, _ server) ([]Finding, error) {
	found, err := rowsOf(ctx, conn, `
SELECT 'warning', t.name, 'partitions stay that retention moves: ' || coalesce(r.reason, r.error, 'see its runs'), ''
  FROM mvscheduler.visible_targets AS t
 CROSS JOIN LATERAL (
       SELECT r.state, r.reason, r.error
         FROM mvscheduler.runs AS r
        WHERE r.view_id = t.id
          AND r.kind = 'prune'
          AND r.finished_at > clock_timestamp() - interval '10 minutes'
        ORDER BY r.id DESC
        LIMIT 1) AS r
 WHERE r.state = 'failed'
 ORDER BY 2`)
	for i, f := range found {
		found[i].Fix = "mvscheduler runs " + words.ShellQuote(f.Subject)
	}
	return found, err
}
