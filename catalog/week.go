package catalog

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// WeekOfReads is how often a view was read in each hour of a week, which begins on Monday, on average of the last four; -1 = not
// known.
type WeekOfReads struct {
	Timezone string // IANA, of the view, in which the hours are
	Reads    [168]float64
}

// WeeksOfReads reads the weeks of the views of these names. Those that were never sampled are not in the answer.
func WeeksOfReads(ctx context.Context, q Querier, names []string) (map[string]WeekOfReads, error) {
	rows, err := q.Query(ctx, `
SELECT v.name, v.timezone, (extract(isodow FROM b.at)::int - 1) * 24 + extract(hour FROM b.at)::int AS hour,
       (sum(b.reads) / sum(b.width) * 3600)::float8 AS reads
  FROM mvscheduler.visible_views AS v
  JOIN mvscheduler.samples AS s ON s.view_id = v.view_id AND s.view_name = ANY ($1)
 CROSS JOIN LATERAL (SELECT (s.at + (r.n - 1) * s.width * interval '1 second') AT TIME ZONE v.timezone AS at, r.reads, s.width
                       FROM unnest(s.reads) WITH ORDINALITY AS r(reads, n)) AS b
 WHERE v.name = ANY ($1)
   AND s.at > now() - interval '28 days'
   AND b.reads IS NOT NULL
 GROUP BY 1, 2, 3`, names)
	if err != nil {
		return nil, fmt.Errorf("read when views are read: %w", err)
	}
	weeks := map[string]WeekOfReads{}
	var (
		name, zone string
		hour       int
		reads      float64
	)
	_, err = pgx.ForEachRow(rows, []any{&name, &zone, &hour, &reads}, func() error {
		week, known := weeks[name]
		if !known {
			week.Timezone = zone
			for i := range week.Reads {
				week.Reads[i] = -1
			}
		}
		week.Reads[hour] = reads
		weeks[name] = week
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read when views are read: %w", err)
	}
	return weeks, nil
}
