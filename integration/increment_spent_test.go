package integration

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// executed is how many statements with each text the sidecar has sent.
func (s *scene) executed(t testing.TB, texts ...string) []int {
	t.Helper()
	counts := make([]int, len(texts))
	for _, line := range s.db.Log(t) {
		for n, text := range texts {
			if strings.HasPrefix(line.Application, "mvscheduler ") && strings.Contains(line.Executed(), text) {
				counts[n]++
			}
		}
	}
	return counts
}

// Of what is below only a glance is taken: before the attempt, to find out whether the run can be skipped, or beside what
// opens it, where somebody has asked; the snapshot is asked once for what the change log has. Files are looked at once
// more after something was written.
func TestARefreshLooksOnceAtWhatIsBelow(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	s.incremented(t, "v") // the row was new to the first
	looks := func() []int {
		return s.executed(t, "FROM mvscheduler.tables_below(", "FROM mvscheduler.visible_increments AS i", "FROM mvscheduler.visible_changes AS c", "WITH RECURSIVE reads(rel, kind)", "array_agg(k.transactionid")
	}
	grown := func(before []int) []int {
		now := looks()
		for n := range now {
			now[n] -= before[n]
		}
		return now
	}

	before := looks()
	s.incremented(t, "v")
	require.Equal(t, []int{1, 2, 1, 1, 0}, grown(before), "somebody asked, and nothing changed")
	before = looks()
	pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES ('2026-03-02 05:00+00', 1, 1)`)
	s.incremented(t, "v")
	require.Equal(t, []int{1, 2, 1, 2, 0}, grown(before), "somebody asked")
	before = looks()
	pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES ('2026-03-02 05:00+00', 1, 1)`)
	pgtest.Exec(t, s.root, makeDue)
	until(t, s.alice, `SELECT max(n) = 8 FROM v WHERE hour = '2026-03-02 05:00+00'`)
	require.Equal(t, []int{1, 2, 2, 2, 0}, grown(before), "its time came")
	before = looks()
	pgtest.Exec(t, s.alice, `TRUNCATE metrics`)
	s.incremented(t, "v")
	require.Positive(t, grown(before)[4], "another table than before: is somebody still within the COMMIT of that?")
}

// filled has the database note how many rows there are in each table that a step makes by a query. Event triggers
// are not told of it what was made.
func (s *scene) filled(t testing.TB) {
	t.Helper()
	pgtest.Exec(t, s.root, `CREATE TABLE public.filled (made regclass, rows bigint)`, `GRANT SELECT, INSERT ON public.filled TO PUBLIC`,
		`CREATE FUNCTION public.note_filled() RETURNS event_trigger LANGUAGE plpgsql AS $$
DECLARE
    made regclass;
    n    bigint;
BEGIN
    FOR made IN SELECT c.oid FROM pg_class AS c WHERE c.relname LIKE 'mvscheduler %' AND c.relkind = 'r' AND NOT EXISTS (SELECT FROM public.filled AS f WHERE f.made = c.oid) LOOP
        EXECUTE format('SELECT count(*) FROM %s', made) INTO n;
        INSERT INTO public.filled VALUES (made, n);
    END LOOP;
END $$`, `CREATE EVENT TRIGGER filled ON ddl_command_end WHEN TAG IN ('CREATE TABLE AS') EXECUTE FUNCTION public.note_filled()`)
}

// Where all is computed, what the query gives is compared as it comes, and only what differs is kept. Rows whose key is NULL
// come in twice and are compared once more, unless it is known that there are many. Rows that are the same are not written.
func TestOfAWideRefreshOnlyWhatDiffersIsWritten(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newMetrics(t)
	pgtest.Exec(t, s.alice, `ALTER TABLE metrics ALTER device DROP NOT NULL`, `ALTER TABLE metrics ADD tag text`, `UPDATE metrics SET tag = 'a'`)
	s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, device, tag, count(*) AS n, sum(value) AS total FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1, 2, 3`)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	s.filled(t)
	refresh := func(change string) string {
		pgtest.Exec(t, s.alice, change)
		pgtest.Exec(t, s.root, `INSERT INTO mvscheduler.dirt (view_id, lo, hi) SELECT view_id, '-infinity', 'infinity' FROM mvscheduler.view_state`,
			`UPDATE mvscheduler.view_health SET rows_estimate = 10000000`, `TRUNCATE public.filled`)
		s.incremented(t, "v")
		require.Contains(t, s.last(t, "v", "reason"), "in one pass")
		require.Zero(t, ask[int](t, s.alice, `SELECT count(*)::int FROM ((TABLE v EXCEPT ALL TABLE v__query) UNION ALL (TABLE v__query EXCEPT ALL TABLE v)) AS d`))
		require.Equal(t, ask[string](t, s.alice, `SELECT count(DISTINCT hour)::text FROM v`), s.last(t, "v", "buckets"))
		return s.last(t, "v", "changed") + " written of " + ask[string](t, s.root, `SELECT string_agg(rows::text, ' ' ORDER BY rows DESC) FROM public.filled`)
	}
	const ends = ` ts IN ('2026-03-01 00:00+00', '2026-03-04 23:00+00')`

	require.Equal(t, "2 written of 2", refresh(`UPDATE metrics SET value = value + 1 WHERE device = 2 AND`+ends))
	require.Equal(t, "3 written of 3", refresh(`DELETE FROM metrics WHERE ts >= '2026-03-02 10:00+00' AND ts < '2026-03-02 11:00+00'`))
	require.Equal(t, "285 written of 285 285 190", refresh(`INSERT INTO metrics SELECT ts, CASE WHEN device < 3 THEN 9 END, 7, CASE device WHEN 1 THEN 'a' END FROM metrics`),
		"in each hour a row with a new key, and two with keys that are NULL")
	require.Equal(t, "6 written of 382 6 4", refresh(`UPDATE metrics SET value = value + 1 WHERE (device = 9 OR device IS NULL) AND`+ends))
	require.Equal(t, "2 written of 380 2 2", refresh(`UPDATE metrics SET tag = 'b' WHERE device IS NULL AND ts >= '2026-03-02 00:00+00' AND ts < '2026-03-02 01:00+00'`), "one comes and one goes")
	pgtest.Exec(t, s.alice, `ANALYZE v__data`)
	require.Equal(t, "6 written of 6", refresh(`UPDATE metrics SET value = value + 1 WHERE (device = 9 OR device IS NULL) AND`+ends))
}
