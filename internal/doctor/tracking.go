package doctor

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/refresh"
)

// countedViews finds incremental views with change_tracking = 'auto' that find changes by the server's counters, which come late:
// no partition of a table of source_retention that they read leaves. Where it takes a privilege, the fix is the GRANT.
func countedViews(ctx context.Context, conn *pgx.Conn, _ server) ([]Finding, error) {
	rows, err := conn.Query(ctx, `
SELECT i.view_id, i.name, i.owner::text, i.tracking_reason,
       (SELECT string_agg(t.name, ', ' ORDER BY t.name)
          FROM mvscheduler.visible_sources AS s
          JOIN mvscheduler.visible_targets AS t ON t.kind = 'source' AND t.relation::oid = s.relation::oid
         WHERE s.view_id = i.view_id)
  FROM mvscheduler.visible_increments AS i
 WHERE i.change_tracking = 'auto'
   AND i.tracking = 'counters'
   AND i.tracking_reason IS NOT NULL
 ORDER BY i.name`)
	if err != nil {
		return nil, err
	}
	type counted struct {
		id                  int64
		name, owner, reason string
		kept                *string // tables of which it keeps the partitions
	}
	views, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c counted, err error) {
		return c, row.Scan(&c.id, &c.name, &c.owner, &c.reason, &c.kept)
	})
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, v := range views {
		f := Finding{Severity: Note, Subject: v.name, What: v.reason}
		if v.kept != nil {
			f.Severity, f.What = Warning, v.reason+": no partition of "+*v.kept+" leaves before that is mended"
		}
		leaves, err := catalog.LoadLeaves(ctx, conn, v.id)
		if err != nil {
			return nil, err
		}
		f.Fix = refresh.GrantTriggers(leaves, v.owner)
		found = append(found, f)
	}
	return found, nil
}
