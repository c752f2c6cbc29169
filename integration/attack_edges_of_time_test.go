package integration

import (
	"cmp"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Whoever may write to a table can write any time of the calendar: it stops no view, and in_window means the same in a refresh as by hand.
func TestASingleRowAtTheEdgesOfTimeStopsNoView(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE tz (ts timestamptz)`, `CREATE TABLE bare (ts timestamp)`, `CREATE TABLE days (ts date)`)
	zones := map[string]string{"west": "America/New_York", "east": "Asia/Tokyo"}
	views := map[string]struct{ table, bucket, width string }{
		"west":   {"tz", `(ts AT TIME ZONE 'America/New_York')::date`, "1 day"},
		"east":   {"tz", `(ts AT TIME ZONE 'Asia/Tokyo')::date`, "1 day"},
		"cut":    {"tz", `date_trunc('hour', ts)`, "1 hour"},
		"binned": {"tz", `date_bin('1 hour', ts, '2000-01-01 00:30+00')`, "1 hour"},
		"years":  {"tz", `date_trunc('century', ts)`, "100 years"},
		"bared":  {"bare", `date_trunc('day', ts)`, "1 day"},
		"months": {"days", `date_trunc('month', ts::timestamp)`, "1 month"},
	}
	all := func(check string) {
		t.Helper()
		for name := range views {
			s.incremented(t, name)
		}
		for name := range views {
			t.Log(check, name, s.last(t, name, "reason"))
			same(t, s.alice, name)
		}
	}
	register := func() {
		for name, v := range views {
			s.incremental(t, name, fmt.Sprintf(`SELECT %s AS hour, count(*) AS n FROM %s WHERE mvscheduler.in_window(ts) GROUP BY 1`, v.bucket, v.table), "bucket_width", v.width, "max_attempts", 1, "timezone", cmp.Or(zones[name], "UTC"))
		}
	}
	register()
	startSidecar(t, s.db)
	all("empty")
	write := func(instant string) {
		for _, table := range []string{"tz", "bare", "days"} {
			_, err := s.alice.Exec(t.Context(), `INSERT INTO `+table+` VALUES ('`+instant+`')`, pgx.QueryExecModeSimpleProtocol)
			require.NoError(t, err)
		}
	}
	for _, instant := range []string{"4714-11-24 00:00 BC", "4001-12-31 23:59 BC", "4000-01-01 00:00 BC", "4000-01-01 00:10 BC", "4000-01-01 12:00 BC", "199999-12-31 23:59", "200000-01-01 00:00", "200000-01-01 12:00", "294276-12-31 12:00"} {
		write(instant)
		all(instant)
	}
	pgtest.Exec(t, s.alice, `DELETE FROM tz WHERE ts < '2000-01-01'`, `DELETE FROM bare WHERE ts < '2000-01-01'`, `DELETE FROM days WHERE ts < '2000-01-01'`)
	all("deleted")
	write("4001-12-31 23:59 BC")
	write("4000-01-01 00:10 BC")
	write("4000-01-01 12:00 BC")
	pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.views`)
	register()
	all("filled")
	for name := range views {
		v, talk := s.verify(t, 0, s.owner+"."+name, "--all")
		require.Zero(t, v.Wrong, "%s: %s", name, talk)
	}
}
