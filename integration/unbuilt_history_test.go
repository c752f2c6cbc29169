package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// The minutes, from the table, and the hours, from the minutes, get new versions that go less far back and farther again, one at a time or
// both at once, and raw partitions leave and come back. The days have them from the hours: of whatever has left they have every row. Rows come
// late by less than any version was built back: what is older the hours and the days do not follow any more.
func TestWhatHasLeftIsInEachViewThatKeepsItHoweverManyAreBetween(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	minutes := func(more string) string {
		return `SELECT date_trunc('minute', ts) AS minute, device, count(*) AS n` + more + ` FROM readings WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`
	}
	hours := func(more string) string {
		return `SELECT date_trunc('hour', minute) AS hour, device, sum(n)::bigint AS n` + more + ` FROM mins WHERE mvscheduler.in_window(minute) GROUP BY 1, 2`
	}
	s.incremental(t, "mins", minutes(""), "time_column", "minute", "bucket_width", "1 minute", "retention_period", olderThan(rapid.IntRange(3, 12).Example()))
	s.incremental(t, "hourly", hours(""))
	s.incremental(t, "daily", `SELECT date_trunc('day', hour) AS day, device, sum(n)::bigint AS n FROM hourly WHERE mvscheduler.in_window(hour) GROUP BY 1, 2`, "time_column", "day", "bucket_width", "1 day")
	s.incremental(t, "monthly", `SELECT date_trunc('month', day) AS month, device, sum(n)::bigint AS n FROM daily WHERE mvscheduler.in_window(day) GROUP BY 1, 2`, "time_column", "month", "bucket_width", "1 month")
	pgtest.Exec(t, s.alice, `CREATE TABLE mirror AS SELECT * FROM readings`)
	startSidecar(t, s.db)
	views := []string{"mins", "hourly", "daily", "monthly"}
	s.incremented(t, views...)
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '`+olderThan(8)+`')`)
	did, versions := map[string]int{}, 0
	var trace []string
	deed := func(name, sql string) {
		if _, err := s.alice.Exec(t.Context(), sql); err != nil {
			trace = append(trace, name+": "+err.Error())
			name += " fails"
		} else {
			trace = append(trace, name+": "+sql)
		}
		did[name]++
	}
	period := func(r *rapid.T) string {
		if days := rapid.SampledFrom([]int{2, 3, 4, 5, 6, 7, 12, 0, 0, 0}).Draw(r, "days"); days > 0 {
			return "'" + olderThan(days) + "'"
		}
		return "NULL"
	}
	anew := func(r *rapid.T, view string, query func(string) string) {
		versions++
		deed("version", `UPDATE mvscheduler.views SET retention_period = `+period(r)+`, query = `+quote(query(fmt.Sprintf(", count(*) AS c%d", versions)))+` WHERE split_part(name, '.', 2) = '`+view+`'`)
	}
	stuck := false
	settle := func() {
		until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.redefinition)
			OR EXISTS (SELECT FROM mvscheduler.attempt AS a JOIN mvscheduler.run AS r ON r.id = a.run_id JOIN mvscheduler.redefinition AS d ON d.view_id = r.view_id WHERE r.queued_at > d.requested_at - interval '1 hour' AND a.error LIKE '%left while its new version was being made%')`)
		if ask[bool](t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.redefinition)`) {
			stuck = true // what it would be made of has left meanwhile
			return
		}
		s.incremented(t, views...)
	}
	const lost = `SELECT coalesce(string_agg(concat_ws(' ', m.day, m.device, m.n, 'has', m.has), E'\n'), '') FROM (
		SELECT m.*, (SELECT sum(d.n) FROM daily AS d WHERE d.day = m.day AND d.device = m.device) AS has
		  FROM (SELECT date_trunc('day', ts) AS day, device, count(*) AS n FROM mirror GROUP BY 1, 2) AS m
		 WHERE NOT EXISTS (SELECT FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = 'readings'::regclass AND pg_get_expr(c.relpartbound, c.oid) LIKE 'FOR VALUES FROM (''' || m.day || '%')) AS m
		 WHERE m.n > coalesce(m.has, 0)`
	left := 0
	rapid.Check(t, func(r *rapid.T) {
		if stuck {
			return
		}
		pgtest.Exec(t, s.root, `UPDATE mvscheduler.kept SET restored_at = restored_at - interval '30 days'`) // what is back may leave again
		start := len(trace)
		for range rapid.IntRange(1, 3).Draw(r, "deeds") {
			switch rapid.SampledFrom([]string{"mins", "hourly", "mins", "hourly", "both", "period", "late", "late", "restore", "restore", "one"}).Draw(r, "deed") {
			case "mins":
				anew(r, "mins", minutes)
			case "hourly":
				anew(r, "hourly", hours)
			case "both":
				anew(r, "mins", minutes)
				anew(r, "hourly", hours)
			case "period":
				deed("period", `UPDATE mvscheduler.views SET retention_period = `+period(r)+` WHERE split_part(name, '.', 2) = '`+rapid.SampledFrom(views[:2]).Draw(r, "whose")+`'`)
			case "late":
				deed("late", fmt.Sprintf(`WITH new AS (INSERT INTO readings VALUES (date_trunc('day', now(), 'UTC') - interval '%d minutes', %d, 1) RETURNING *) INSERT INTO mirror SELECT * FROM new`, rapid.IntRange(-60, 1440).Draw(r, "minutes"), rapid.IntRange(1, 3).Draw(r, "device")))
			case "restore":
				deed("restore", `SELECT mvscheduler.restore_view('readings')`)
			case "one":
				deed("one", `SELECT mvscheduler.refresh_view('`+rapid.SampledFrom(views).Draw(r, "one")+`')`)
			}
			if rapid.Bool().Draw(r, "settled") {
				settle()
			}
		}
		settle()
		if stuck {
			return
		}
		deed("raw", `UPDATE mvscheduler.source_retention SET retention_period = '`+olderThan(rapid.IntRange(1, 8).Draw(r, "raw"))+`'`)
		out := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".readings", "--wait")
		s.pruned(t)
		left += strings.Count(out.stdout, " detach ")
		for line := range strings.SplitSeq(out.stdout, "\n") {
			if strings.Contains(line, "may lack") {
				did["may lack"]++
			}
		}
		if d := ask[string](t, s.alice, lost); d != "" {
			t.Log(ask[string](t, s.root, `SELECT concat_ws(E'\n', (SELECT string_agg(f::text, E'\n') FROM mvscheduler.frozen AS f), (SELECT string_agg(f::text, E'\n') FROM mvscheduler.frozen_by AS f), (SELECT string_agg(concat_ws(' ', s.name, i.view_id, 'built', i.built_from, 'never', i.never_from, 'whole', i.whole_from, i.unit), E'\n') FROM mvscheduler.increment_state AS i JOIN mvscheduler.view_state AS s USING (view_id)))`))
			t.Log("this round: ", strings.Join(trace[start:], "\n"), out.stdout)
			t.Fatal(strings.Join(trace, "\n") + "\n" + d) // what was lost is lost: nothing to be made smaller
		}
	})
	t.Log(left, "left;", did)
	require.NotZero(t, left)
}
