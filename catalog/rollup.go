package catalog

import (
	"context"
	"fmt"
	"time"
)

// RollUp puts the samples of a day that is over into one row, makes hours of the bins of days that are older than fine, forgets
// what is older than keep, and what belongs to views that are gone. Look-backs become months where they are older than keep, and
// are forgotten after lookBacks.
func RollUp(ctx context.Context, q Querier, fine, keep, lookBacks time.Duration) error {
	statements := []struct {
		sql  string
		args []any
	}{
		{`
WITH hour AS (
    DELETE FROM mvscheduler.sampled
     WHERE width = 300
       AND cardinality(reads) = 12
       AND cardinality(changes) = 12
       AND at < date_trunc('day', clock_timestamp() - interval '1 hour', 'UTC')
    RETURNING view_id, date_trunc('day', at, 'UTC') AS day, extract(hour FROM at AT TIME ZONE 'UTC')::int AS hour, reads, changes
), whole AS (
    SELECT h.view_id, h.day, h.hour, coalesce(max(h.reads), array_fill(NULL::real, ARRAY[12])) AS reads, coalesce(max(h.changes), array_fill(NULL::real, ARRAY[12])) AS changes
      FROM (SELECT * FROM hour UNION ALL SELECT d.view_id, d.day, hour, NULL, NULL FROM (SELECT DISTINCT view_id, day FROM hour) AS d, generate_series(0, 23) AS hour) AS h
     GROUP BY h.view_id, h.day, h.hour
)
INSERT INTO mvscheduler.sampled AS s (view_id, at, width, reads, changes)
SELECT d.view_id, d.day, 300, ARRAY(SELECT unnest(d.reads)), ARRAY(SELECT unnest(d.changes))
  FROM (SELECT w.view_id, w.day, array_agg(w.reads ORDER BY w.hour) AS reads, array_agg(w.changes ORDER BY w.hour) AS changes FROM whole AS w GROUP BY w.view_id, w.day) AS d
ON CONFLICT (view_id, at) DO UPDATE
   SET reads = ARRAY(SELECT coalesce(x.was, x.late) FROM unnest(s.reads, EXCLUDED.reads) AS x(was, late)),
       changes = ARRAY(SELECT coalesce(x.was, x.late) FROM unnest(s.changes, EXCLUDED.changes) AS x(was, late))
 WHERE s.width = 300`, nil},
		{`
WITH old AS (
    DELETE FROM mvscheduler.sampled
     WHERE width = 300
       AND at < date_trunc('day', clock_timestamp() - make_interval(secs => $1), 'UTC')
    RETURNING view_id, at, reads, changes
), bin AS (
    SELECT o.view_id, date_trunc('day', o.at, 'UTC') AS day, extract(hour FROM o.at AT TIME ZONE 'UTC')::int + (x.i - 1) / 12 AS hour, x.reads, x.changes
      FROM old AS o, unnest(o.reads, o.changes) WITH ORDINALITY AS x(reads, changes, i)
     UNION ALL
    SELECT d.view_id, d.day, hour, NULL, NULL
      FROM (SELECT DISTINCT view_id, date_trunc('day', at, 'UTC') AS day FROM old) AS d, generate_series(0, 23) AS hour
), hour AS (
    SELECT b.view_id, b.day, b.hour, CASE WHEN count(b.reads) >= 6 THEN sum(b.reads) * 12 / count(b.reads) END AS reads, CASE WHEN count(b.changes) >= 6 THEN sum(b.changes) * 12 / count(b.changes) END AS changes
      FROM bin AS b
     GROUP BY b.view_id, b.day, b.hour
)
INSERT INTO mvscheduler.sampled (view_id, at, width, reads, changes)
SELECT h.view_id, h.day, 3600, array_agg(h.reads ORDER BY h.hour)::real[], array_agg(h.changes ORDER BY h.hour)::real[]
  FROM hour AS h
 GROUP BY h.view_id, h.day
ON CONFLICT DO NOTHING`, []any{fine.Seconds()}},
		{`DELETE FROM mvscheduler.sampled WHERE at < clock_timestamp() - make_interval(secs => $1)`, []any{keep.Seconds()}},
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
		{`DELETE FROM mvscheduler.recommendation AS d WHERE NOT EXISTS (SELECT FROM mvscheduler.view_state AS s WHERE s.view_id = d.view_id)`, nil},
	}
	for _, s := range statements {
		if _, err := q.Exec(ctx, s.sql, s.args...); err != nil {
			return fmt.Errorf("roll samples up: %w", err)
		}
	}
	return nil
}
