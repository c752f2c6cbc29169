package catalog

import (
	"context"
	"fmt"
	"time"
)

// RollUp puts the samples of a day that is over into one row, makes hours of the bins of days that are older than fine, forgets
// what is older than keep, what belongs to views that are gone, and recommendations that
// expired long ago. Look-backs become months where they are older than keep, and are forgotten after lookBacks, as are recommendations
// that were decided about, but for what may be in force.
func RollUp(ctx context.Context, q Querier, fine, keep, lookBacks time.Duration) error {
	statements := []struct {
		sql  string
		args []any
	}{
		{`
WITH hour AS (
    DELETE FROM mvscheduler.sampled
     WHERE at < date_trunc('day', clock_timestamp() - interval '1 hour', 'UTC')
    RETURNING view_id, date_trunc('day', at, 'UTC') AS day, extract(hour FROM at AT TIME ZONE 'UTC')::int AS hour, reads, changes
), whole AS (
    SELECT h.view_id, h.day, h.hour, coalesce(max(h.reads), array_fill(NULL::real, ARRAY[12])) AS reads, coalesce(max(h.changes), array_fill(NULL::real, ARRAY[12])) AS changes
      FROM (SELECT * FROM hour UNION ALL SELECT d.view_id, d.day, hour, NULL, NULL FROM (SELECT DISTINCT view_id, day FROM hour) AS d, generate_series(0, 23) AS hour) AS h
     GROUP BY h.view_id, h.day, h.hour
)
INSERT INTO mvscheduler.sampled_days AS s (view_id, day, width, reads, changes)
SELECT d.view_id, d.day, 300, ARRAY(SELECT unnest(d.reads))::text, ARRAY(SELECT unnest(d.changes))::text
  FROM (SELECT w.view_id, w.day, array_agg(w.reads ORDER BY w.hour) AS reads, array_agg(w.changes ORDER BY w.hour) AS changes FROM whole AS w GROUP BY w.view_id, w.day) AS d
ON CONFLICT (view_id, day) DO UPDATE
   SET reads = ARRAY(SELECT coalesce(x.was, x.late) FROM unnest(s.reads::real[], EXCLUDED.reads::real[]) AS x(was, late))::text,
       changes = ARRAY(SELECT coalesce(x.was, x.late) FROM unnest(s.changes::real[], EXCLUDED.changes::real[]) AS x(was, late))::text
 WHERE s.width = 300`, nil},
		{`
UPDATE mvscheduler.sampled_days AS d
   SET width = 3600, reads = ` + hours("d.reads") + `, changes = ` + hours("d.changes") + `
 WHERE d.width = 300
   AND d.day < date_trunc('day', clock_timestamp() - make_interval(secs => $1), 'UTC')`, []any{fine.Seconds()}},
		{`DELETE FROM mvscheduler.sampled_days WHERE width = 3600 AND day < clock_timestamp() - make_interval(secs => $1)`, []any{keep.Seconds()}},
		{`DELETE FROM mvscheduler.sampled_days AS d WHERE NOT EXISTS (SELECT FROM mvscheduler.view_state AS s WHERE s.view_id = d.view_id)`, nil},
		{`DELETE FROM mvscheduler.sampled AS d WHERE NOT EXISTS (SELECT FROM mvscheduler.view_state AS s WHERE s.view_id = d.view_id)`, nil},
		{`
WITH old AS (
    DELETE FROM mvscheduler.looked_back
     WHERE NOT monthly
       AND at < date_trunc('month', (clock_timestamp() - make_interval(secs => $1)) AT TIME ZONE 'UTC')
    RETURNING view_id, at, days_back, entire, asked, days, reads
)
INSERT INTO mvscheduler.looked_back (view_id, at, monthly, days_back, entire, asked, days, reads)
SELECT o.view_id, date_trunc('month', o.at), true, o.days_back, o.entire, o.asked, sum(o.days), sum(o.reads)
  FROM old AS o
 GROUP BY 1, 2, 4, 5, 6
ON CONFLICT DO NOTHING`, []any{keep.Seconds()}},
		{`DELETE FROM mvscheduler.looked_back AS d WHERE d.at < clock_timestamp() - make_interval(secs => $1) OR NOT EXISTS (SELECT FROM mvscheduler.view_state AS s WHERE s.view_id = d.view_id)`, []any{lookBacks.Seconds()}},
		{`DELETE FROM mvscheduler.tested AS d WHERE d.at < (clock_timestamp() - make_interval(secs => $1)) AT TIME ZONE 'UTC' OR NOT EXISTS (SELECT FROM mvscheduler.view_state AS s WHERE s.view_id = d.view_id)`, []any{KeepTested.Seconds()}},
		{`DELETE FROM mvscheduler.watched_index AS d WHERE NOT EXISTS (SELECT FROM mvscheduler.view_state AS s WHERE s.view_id = d.view_id)`, nil},
		{`DELETE FROM mvscheduler.view_usage AS d WHERE NOT EXISTS (SELECT FROM mvscheduler.view_state AS s WHERE s.view_id = d.view_id)`, nil},
		{`DELETE FROM mvscheduler.recommendation AS d WHERE d.state = 'expired' AND d.decided_at < clock_timestamp() - make_interval(secs => $1) OR NOT EXISTS (SELECT FROM mvscheduler.view_state AS s WHERE s.view_id = d.view_id)`, []any{KeepRejected.Seconds()}},
		{`
DELETE FROM mvscheduler.recommendation AS d
 WHERE d.state NOT IN ('proposed', 'snoozed')
   AND d.decided_at < clock_timestamp() - make_interval(secs => $1)
   AND NOT EXISTS (SELECT FROM mvscheduler.view_state AS s WHERE s.view_id = d.view_id AND d.id IN (s.tuned_by, s.retained_by))
   AND (d.state <> 'applied'   -- the last one may be what the row still says
        OR EXISTS (SELECT FROM mvscheduler.recommendation AS r WHERE r.view_id = d.view_id AND r.kind = d.kind AND r.state = 'applied' AND r.id > d.id))`, []any{lookBacks.Seconds()}},
		{`DELETE FROM mvscheduler.recommendation_decision AS d WHERE NOT EXISTS (SELECT FROM mvscheduler.recommendation AS r WHERE r.id = d.recommendation_id)`, nil},
	}
	for _, s := range statements {
		if _, err := q.Exec(ctx, s.sql, s.args...); err != nil {
			return fmt.Errorf("roll samples up: %w", err)
		}
	}
	return nil
}

// hours makes sums by the hour of the bins of a day, in SQL. Half of an hour has to be known.
func hours(bins string) string {
	return `ARRAY(SELECT CASE WHEN count(x.n) >= 6 THEN sum(x.n) * 12 / count(x.n) END::real FROM unnest(` + bins + `::real[]) WITH ORDINALITY AS x(n, i) GROUP BY (x.i - 1) / 12 ORDER BY (x.i - 1) / 12)::text`
}
