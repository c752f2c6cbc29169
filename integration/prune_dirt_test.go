package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
	"github.com/mvscheduler/mvscheduler/retention"
)

// untaken is of one view, entry by entry, what prune_facts reads once for all: what its last refresh has not seen, nor a plan before.
const untaken = `
SELECT coalesce(jsonb_agg(jsonb_build_object('From', mvscheduler.micros(g.lo), 'To', mvscheduler.micros(g.hi)) ORDER BY g.lo, g.hi), '[]')::text
  FROM (SELECT min(u.lo) AS lo, max(u.hi) AS hi
          FROM (SELECT CASE WHEN v.col > 0 THEN d.lo ELSE '-infinity' END AS lo, CASE WHEN v.col > 0 THEN d.hi ELSE 'infinity' END AS hi, d.xid
                  FROM mvscheduler.view_source AS v
                  JOIN mvscheduler.dirt AS d ON d.source = v.relation AND d.view_id IS NULL AND (v.col = 0 OR d.col = v.col)
                 WHERE v.view_id = i.view_id
                UNION ALL
                SELECT coalesce((l ->> 'lo')::timestamptz, '-infinity'), coalesce((l ->> 'hi')::timestamptz, 'infinity'), d.xid
                  FROM jsonb_array_elements(i.leaves) AS l
                  JOIN mvscheduler.dirt AS d ON d.source = (l ->> 'oid')::oid::regclass AND d.view_id IS NULL AND d.col = -1 AND pg_snapshot_xmin(d.snapshot) < (l ->> 'since')::xid8
                UNION ALL
                SELECT d.lo, d.hi, d.xid FROM mvscheduler.dirt AS d WHERE d.source IS NULL AND d.view_id = i.view_id) AS u
         WHERE NOT pg_visible_in_snapshot(u.xid, i.taken) AND pg_visible_in_snapshot(u.xid, nullif($2, '')::pg_snapshot) IS NOT TRUE
         GROUP BY floor(extract(epoch FROM u.lo) / 86400), floor(extract(epoch FROM u.hi) / 86400)) AS g`

func TestThePlanKnowsOfEachViewNoMoreAndNoLessThanTheChangeLogSays(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 2)
	pgtest.Exec(t, s.alice, `CREATE TABLE kinds (device int PRIMARY KEY, kind text)`, `INSERT INTO kinds VALUES (1, 'a'), (2, 'b')`)
	s.chain(t)
	s.minutely(t, "mins")
	s.incremental(t, "kinds_hourly", `SELECT date_trunc('hour', ts, 'UTC') AS hour, kind, count(*) AS n FROM readings JOIN kinds USING (device) WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`)
	startSidecar(t, s.db)
	s.incremented(t, "hourly", "daily", "mins", "kinds_hourly")
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period, enabled) VALUES ('readings', '6 days', false)`)
	id := ask[int64](t, s.alice, `SELECT id FROM mvscheduler.source_retention`)
	views := ask[[]int64](t, s.root, `SELECT array_agg(view_id ORDER BY view_id) FROM mvscheduler.increment_state`)
	sources := ask[[]string](t, s.root, `SELECT array_agg(format('(%s::regclass, %s::smallint)', r.oid, a.attnum) ORDER BY r.oid)
		FROM (SELECT v.relation::oid AS oid FROM mvscheduler.view_source AS v UNION SELECT (l ->> 'oid')::oid FROM mvscheduler.increment_state AS i CROSS JOIN jsonb_array_elements(i.leaves) AS l) AS r
		CROSS JOIN (SELECT -1 AS attnum UNION ALL SELECT 0 UNION ALL SELECT DISTINCT v.col FROM mvscheduler.view_source AS v WHERE v.col > 0) AS a`)
	found := 0
	rapid.Check(t, func(r *rapid.T) {
		tx, err := s.root.Begin(t.Context())
		require.NoError(r, err)
		defer func() { _ = tx.Rollback(t.Context()) }()
		exec := func(sql string, args ...any) {
			_, err := tx.Exec(t.Context(), sql, args...)
			require.NoError(r, err)
		}
		xid := func(label string) int { return rapid.IntRange(1, 40).Draw(r, label) }
		snapshot := func(label string) string {
			xmin := xid(label)
			xmax, open := xmin, ""
			for range rapid.IntRange(0, 6).Draw(r, "transactions") {
				if xmax == xmin || rapid.Bool().Draw(r, "open") {
					open += fmt.Sprintf(",%d", xmax)
				}
				xmax++
			}
			return fmt.Sprintf("%d:%d:%s", xmin, xmax, strings.TrimPrefix(open, ","))
		}
		exec(`DELETE FROM mvscheduler.dirt`)
		for _, view := range views {
			exec(`UPDATE mvscheduler.increment_state SET taken = $2::text::pg_snapshot, leaves = (SELECT jsonb_agg(l || jsonb_build_object('since', $3::text)) FROM jsonb_array_elements(leaves) AS l) WHERE view_id = $1`,
				view, snapshot("taken"), fmt.Sprint(xid("since")))
		}
		often := rapid.SampledFrom(sources).Draw(r, "source that changes often")
		for range rapid.IntRange(1, 30).Draw(r, "entries") {
			what := rapid.SampledFrom([]string{often, rapid.SampledFrom(sources).Draw(r, "source")}).Draw(r, "which")
			view := "NULL"
			if rapid.IntRange(0, 4).Draw(r, "for one view") == 0 {
				what, view = "(NULL::regclass, NULL::smallint)", fmt.Sprint(rapid.SampledFrom(views).Draw(r, "view"))
			}
			lo := rapid.IntRange(0, 30).Draw(r, "from")
			exec(fmt.Sprintf(`INSERT INTO mvscheduler.dirt (source, col, view_id, lo, hi, xid, snapshot)
				SELECT x.source, x.col, %s, timestamptz '2026-03-01 00:00+00' + interval '%d hours', timestamptz '2026-03-01 00:00+00' + interval '%d hours', '%d'::xid8, CASE WHEN x.col = -1 THEN '%s'::pg_snapshot END
				  FROM (VALUES %s) AS x(source, col)`, view, lo, lo+rapid.IntRange(0, 30).Draw(r, "hours"), xid("xid"), snapshot("seen by the writer"), what))
		}
		seen := ""
		if rapid.Bool().Draw(r, "planned") {
			seen = snapshot("plan")
			require.NoError(r, catalog.OnlySince(t.Context(), tx, seen))
		}
		target, err := catalog.LoadPruneTarget(t.Context(), tx, id)
		require.NoError(r, err)
		facts, ids, err := retention.Decode(target.Facts)
		require.NoError(r, err)
		require.Len(r, ids, len(views))
		for _, reader := range facts.Readers {
			var want []retention.Range
			require.NoError(r, tx.QueryRow(t.Context(), `SELECT (`+untaken+`)::jsonb FROM mvscheduler.increment_state AS i WHERE i.view_id = $1`, ids[reader.Name], seen).Scan(&want))
			require.ElementsMatch(r, want, reader.Dirt, reader.Name)
			found += len(want)
		}
	})
	require.NotZero(t, found)
}
