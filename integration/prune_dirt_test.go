package integration

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

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
	sources := ask[map[string][]string](t, s.root, `SELECT jsonb_object_agg(k.col, k.sources) FROM (
		SELECT CASE r.col WHEN 0 THEN 'any' WHEN -1 THEN 'blind' ELSE 'time' END AS col, array_agg(format('%s, %s', r.oid, r.col) ORDER BY r.oid) AS sources
		FROM (SELECT v.relation::oid AS oid, greatest(v.col, 1) AS col FROM mvscheduler.view_source AS v
		       UNION SELECT v.relation::oid, 0 FROM mvscheduler.view_source AS v
		       UNION SELECT (l ->> 'oid')::oid, -1 FROM mvscheduler.increment_state AS i CROSS JOIN jsonb_array_elements(i.leaves) AS l) AS r GROUP BY 1) AS k`)
	found := 0
	seed := uint64(time.Now().UnixNano())
	rnd := rand.New(rand.NewPCG(seed, 0))
	t.Log("seed", seed)
	for range 150 {
		found += s.plannedAsLogged(t, rnd, id, views, sources)
	}
	t.Log(found, "ranges compared")
	require.NotZero(t, found)
}

// plannedAsLogged makes up a change log, and what each view and a plan have seen of it, and compares what the plan is told of each view.
func (s *scene) plannedAsLogged(t testing.TB, rnd *rand.Rand, id int64, views []int64, sources map[string][]string) (found int) {
	t.Helper()
	tx, err := s.root.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(t.Context()) }()
	exec := func(sql string, args ...any) {
		_, err := tx.Exec(t.Context(), sql, args...)
		require.NoError(t, err)
	}
	xid := func() int { return 1 + rnd.IntN(40) }
	one := func(of []string) string { return of[rnd.IntN(len(of))] }
	snapshot := func() string {
		xmin := xid()
		xmax, open := xmin, ""
		for range rnd.IntN(7) {
			if xmax == xmin || rnd.IntN(2) == 0 {
				open += fmt.Sprintf(",%d", xmax)
			}
			xmax++
		}
		return fmt.Sprintf("%d:%d:%s", xmin, xmax, strings.TrimPrefix(open, ","))
	}
	exec(`DELETE FROM mvscheduler.dirt`)
	for _, view := range views {
		exec(`UPDATE mvscheduler.increment_state SET taken = $2::text::pg_snapshot, leaves = (SELECT jsonb_agg(l || jsonb_build_object('since', $3::text)) FROM jsonb_array_elements(leaves) AS l) WHERE view_id = $1`,
			view, snapshot(), fmt.Sprint(xid()))
	}
	often := one(sources["time"])
	var entries []string
	for range 1 + rnd.IntN(40) {
		what, view := often, "NULL"
		if column := one([]string{"", "", "", "time", "any", "blind"}); column != "" {
			what = one(sources[column])
		}
		if rnd.IntN(10) == 0 {
			what, view = "NULL, NULL", fmt.Sprint(views[rnd.IntN(len(views))])
		}
		lo := rnd.IntN(30)
		entries = append(entries, fmt.Sprintf("(%s, %s, %d, %d, '%d', '%s')", what, view, lo, lo+rnd.IntN(20), xid(), snapshot()))
	}
	exec(`INSERT INTO mvscheduler.dirt (source, col, view_id, lo, hi, xid, snapshot)
		SELECT x.source::oid::regclass, x.col::smallint, x.view::bigint, '2026-03-01 00:00+00'::timestamptz + x.lo * interval '1 hour', '2026-03-01 00:00+00'::timestamptz + x.hi * interval '1 hour', x.xid::xid8,
		       CASE WHEN x.col::smallint = -1 THEN x.snapshot::pg_snapshot END
		  FROM (VALUES ` + strings.Join(entries, ", ") + `) AS x(source, col, view, lo, hi, xid, snapshot)`)
	seen := ""
	if rnd.IntN(2) == 0 {
		seen = snapshot()
		require.NoError(t, catalog.OnlySince(t.Context(), tx, seen))
	}
	target, err := catalog.LoadPruneTarget(t.Context(), tx, id)
	require.NoError(t, err)
	facts, ids, err := retention.Decode(target.Facts)
	require.NoError(t, err)
	require.Len(t, ids, len(views))
	for _, reader := range facts.Readers {
		var want []retention.Range
		require.NoError(t, tx.QueryRow(t.Context(), `SELECT (`+untaken+`)::jsonb FROM mvscheduler.increment_state AS i WHERE i.view_id = $1`, ids[reader.Name], seen).Scan(&want))
		require.ElementsMatch(t, want, reader.Dirt, "%s, of %s, seen %q", reader.Name, entries, seen)
		found += len(want)
	}
	return found
}
