package integration

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// least and greatest pass NULL over, but a date that is NULL, or infinite, is in no bucket, so it is no change of any.
func TestADateThatIsNullChangesNoBucket(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE days (d date, k int)`, `INSERT INTO days VALUES ('2020-03-01', 1), ('2026-03-01', 1)`)
	s.incremental(t, "v", `SELECT d AS hour, count(*) AS n FROM days WHERE mvscheduler.in_window(d) GROUP BY 1`, "bucket_width", "1 day")
	startSidecar(t, s.db)
	s.incremented(t, "v")
	for _, d := range []string{"NULL", "'-infinity'", "'infinity'"} {
		pgtest.Exec(t, s.alice, `INSERT INTO days VALUES (`+d+`, 1)`)
		s.incremented(t, "v")
		t.Log(d, s.last(t, "v", "reason"))
	}
	pgtest.Exec(t, s.alice, `INSERT INTO days VALUES (NULL, 1), ('2026-03-01', 1)`)
	s.incremented(t, "v")
	require.Contains(t, s.last(t, "v", "reason"), "changed: 2026-03-01 00:00:00 UTC;")
}

// in_window leaves them out. Without a window the query gives them, and no partition could hold them: the view is what has a time.
func TestWithoutAWindowRowsWithoutAFiniteTimeAreLeftOut(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	views := map[string][]any{"keyed": nil, "keyless": {"unique_key", "{}"}}
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE odd (ts timestamptz, k int)`)
	const strange = `INSERT INTO odd VALUES (NULL, 1), ('infinity', 2), ('-infinity', 3), ('2026-03-01 10:05+00', %d), ('250000-01-01', 5)`
	pgtest.Exec(t, s.alice, fmt.Sprintf(strange, 1))
	for view, settings := range views {
		s.incremental(t, view, `SELECT date_trunc('hour', ts) AS hour, k, count(*) AS n FROM odd GROUP BY 1, 2`, settings...)
	}
	startSidecar(t, s.db)
	for n, size := range []int{1000, 1000000000} { // the latter in one pass
		for view := range views {
			s.incremented(t, view)
			require.Empty(t, ask[string](t, s.alice, `SELECT coalesce(string_agg(d::text, ' '), '') FROM ((SELECT * FROM `+view+`__query WHERE isfinite(hour) EXCEPT ALL TABLE `+view+`) UNION ALL (TABLE `+view+` EXCEPT ALL SELECT * FROM `+view+`__query WHERE isfinite(hour))) AS d`), view)
			require.Equal(t, int64(n+2), ask[int64](t, s.alice, `SELECT count(*) FROM `+view), view)
		}
		pgtest.Exec(t, s.root, fmt.Sprintf(`UPDATE mvscheduler.view_health SET rows_estimate = %d`, size))
		pgtest.Exec(t, s.alice, fmt.Sprintf(strange, n+2))
	}
}
