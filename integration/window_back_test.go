package integration

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Where clocks go back, what came before that is called later than what came after it, and where they go forth, a time that
// there is not is called after the one an hour later. So of changes near to that, of an instant or of less than an hour,
// more labels are replaced on either side, and for these more rows are read: each row that changed has one of these labels,
// and each row that has one of them is read.
func TestChangesSoonBeforeAndAfterClocksMoveHaveAllOfTheirLabelsAndTheseAllOfTheirRows(t *testing.T) {
	t.Parallel()
	conn := pgtest.New(t).Conn(t, "")
	for _, c := range []struct{ label, source string }{
		{"date_trunc(%[1]s, at AT TIME ZONE %[2]s)", "timestamptz"},
		{"date_trunc(%[1]s, at, %[2]s)", "timestamptz"},
		{"date_trunc(%[1]s, at AT TIME ZONE %[2]s, %[2]s)", "timestamp"},
		{"date_trunc(%[1]s, at)", "timestamp"},
	} {
		for _, unit := range []string{"minute", "hour"} {
			for zone, moves := range map[string][]string{"Europe/Berlin": {"2024-03-31 01:00+00", "2024-10-27 01:00+00"}, "Antarctica/Troll": {"2024-10-27 01:00+00"}} {
				for _, moment := range moves {
					label := fmt.Sprintf(c.label, quote(unit), quote(zone))
					wrong := ask[string](t, conn, fmt.Sprintf(`
WITH row AS MATERIALIZED (
    SELECT r.at, %[1]s AS label, CASE WHEN %[2]s THEN r.at::timestamptz ELSE r.at::timestamp AT TIME ZONE 'UTC' END AS instant, n
      FROM generate_series(-70, 70) AS n, LATERAL (SELECT (CASE WHEN %[2]s THEN t.at::text ELSE (t.at AT TIME ZONE %[3]s)::text END)::%[4]s AS at FROM (SELECT %[5]s::timestamptz + n * interval '9 minutes' AS at) AS t) AS r
), change AS (
    SELECT r.instant AS lo, r.instant + CASE r.n %% 2 WHEN 0 THEN interval '0' ELSE interval '45 minutes' END AS hi FROM row AS r WHERE r.n BETWEEN -30 AND 40
), span AS MATERIALIZED (
    SELECT c.*, w.window_start, w.window_end, l.first::%[6]s, l.last::%[6]s
      FROM change AS c
     CROSS JOIN LATERAL mvscheduler.window_of(c.lo, c.hi, %[7]s, %[3]s, NULL) AS w
     CROSS JOIN LATERAL (SELECT mvscheduler.label_text(w.label_start, %[8]s, %[9]s, %[3]s) AS first, mvscheduler.label_text(w.label_end, %[8]s, %[9]s, %[3]s) AS last) AS l
)
SELECT coalesce(string_agg(format('%%s to %%s: row %%s, label %%s', s.lo, s.hi, r.at, r.label), '; '), '')
  FROM span AS s JOIN row AS r ON r.instant BETWEEN s.lo AND s.hi AND (r.label >= s.first AND r.label < s.last) IS NOT TRUE
                               OR r.label >= s.first AND r.label < s.last AND (r.instant >= s.window_start AND r.instant < s.window_end) IS NOT TRUE`,
						label, fmt.Sprint(c.source == "timestamptz"), quote(zone), c.source, quote(moment), ask[string](t, conn, fmt.Sprintf(`SELECT pg_typeof(%s)::text FROM (SELECT now()::%s AS at) AS r`, label, c.source)),
						quote("1 "+unit)+"::interval", `(SELECT pg_typeof(r.label)::oid FROM row AS r LIMIT 1)`, quote(c.source)+"::regtype::oid"))
					require.Empty(t, wrong, "%s in %s at %s", label, zone, moment)
				}
			}
		}
	}
}
