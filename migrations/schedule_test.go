package migrations_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/mvscheduler/mvscheduler/catalog/schedule"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestSQLAndGoAgreeOnCron(t *testing.T) {
	t.Parallel()
	conn := pgtest.New(t).Conn(t, "postgres")
	value := `([0-9]{1,2}|[*?]|jan|FEB|sun|Fri|xyz|L|)`
	part := value + `(-` + value + `)?(/[0-9]{1,2})?`
	field := `(\*|` + part + `(,` + part + `)?)`
	lines := rapid.OneOf(
		rapid.StringMatching(field+"[ \t]"+field+" +"+field+" "+field+" "+field),
		rapid.StringMatching(`([0-9]|[1-5][0-9]|\*)(/[0-9]{1,2})? ([0-9]|1[0-9]|2[0-3]|\*)(-[0-9])? ([1-9]|[12][0-9]|3[01]) ([1-9]|1[0-2]|\*) (\*|[0-7]|[0-6]-[0-7])`),
		rapid.String(),
		rapid.SampledFrom([]string{"@daily", "TZ=UTC * * * * *", "30 2 30 2 *", "0 0 31 4,6,9,11 *", "0 0 31 4 1", "* * * *", "* * * * * *", "5,* * * * 1"}),
	)
	valid := 0
	rapid.Check(t, func(rt *rapid.T) {
		for range 20 {
			line := lines.Filter(func(s string) bool { return s != "" && !containsNUL(s) }).Draw(rt, "cron")
			goErr := schedule.Spec{Cron: line}.Validate()
			var sqlErr *string
			if err := conn.QueryRow(t.Context(), `SELECT mvscheduler.cron_error($1)`, line).Scan(&sqlErr); err != nil {
				rt.Fatalf("%q: %v", line, err)
			}
			if (goErr == nil) != (sqlErr == nil) {
				said := "valid"
				if sqlErr != nil {
					said = *sqlErr
				}
				rt.Fatalf("%q: Go says %v, SQL says %s", line, goErr, said)
			}
			if goErr == nil {
				valid++
			}
		}
	})
	require.Greater(t, valid, 100, "too few valid lines were tried")
}

func TestSQLAndGoAgreeOnCalendars(t *testing.T) {
	t.Parallel()
	conn := pgtest.New(t).Conn(t, "postgres")
	text := func(of ...string) *rapid.Generator[any] {
		return rapid.Map(rapid.SampledFrom(of), func(s string) any { return s })
	}
	odd := rapid.SampledFrom([]any{nil, 30, true, []string{"mon"}, map[string]string{}, "", " ", "x\ny", "ſat", "\u212a", "07:00 ", "30 minutes\n"})
	values := map[string]*rapid.Generator[any]{
		"days":  text("mon-fri", "sat,sun", "Mon, WED-thu", "mon-", "fri-mon", "mon - fri", "monday", "mon,,tue", "mon-tue-wed", "MON"),
		"from":  text("00:00", "7:00", "07:30", "19:00", "24:00", "7", "07:60", "007:00"),
		"to":    text("19:00", "24:00", "24:01", "07:00", "0:00", "99:00"),
		"every": text("30 minutes", "1 minute", "2 hours", "1 day", "2 days", "0 hours", "1441 minutes", "1440 minutes", "30min", "00:30:00", "30  minutes", "99999 minutes"),
		"at":    text("06:45", "23:59", "24:00", "6:5", "-1:00"),
		"day":   text("mon"), "e": text("x"), strings.Repeat("long", 20): text("x"),
	}
	shapes := [][]string{{"days", "at"}, {"days", "from", "to", "every"}, {"every"}, {"from", "every"}, {"days"}, {"at", "every"}, {"days", "day", "e", "at"}, {strings.Repeat("long", 20), "at"}, {}}
	valid := 0
	rapid.Check(t, func(rt *rapid.T) {
		var rules []any
		for range rapid.SampledFrom([]int{0, 1, 1, 1, 1, 2, 3, 50, 51}).Draw(rt, "rules") {
			rule := map[string]any{}
			for _, key := range rapid.SampledFrom(shapes).Draw(rt, "shape") {
				rule[key] = values[key].Draw(rt, key)
				if rapid.IntRange(0, 30).Draw(rt, "odd") == 30 {
					rule[key] = odd.Draw(rt, "value")
				}
			}
			rules = append(rules, rule)
		}
		document, err := json.Marshal(rules)
		require.NoError(rt, err)
		var goErr, sqlErr string
		if _, err := schedule.ParseCalendar(string(document)); err != nil {
			goErr = err.Error()
		}
		require.NoError(rt, conn.QueryRow(t.Context(), `SELECT coalesce(mvscheduler.calendar_error($1::text::jsonb), '')`, string(document)).Scan(&sqlErr))
		require.Equal(rt, goErr, sqlErr, string(document))
		if goErr == "" {
			valid++
		}
	})
	require.Positive(t, valid)
}

func TestTheGapsOfACalendarAreWhatItsSlotsSay(t *testing.T) {
	t.Parallel()
	conn := pgtest.New(t).Conn(t, "postgres")
	monday := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	rapid.Check(t, func(rt *rapid.T) {
		var rules []map[string]string
		for range rapid.IntRange(1, 3).Draw(rt, "rules") {
			rules = append(rules, rapid.SampledFrom([]map[string]string{
				{"every": "1 day"}, {"every": "90 minutes"}, {"every": "7 minutes", "from": "23:00"}, {"days": "Mon, WED-fri", "from": "7:00", "to": "19:01", "every": "2 hours"},
				{"days": "sun", "at": "23:59"}, {"days": "mon", "at": "00:00"}, {"at": "06:45"}, {"days": "sat,sun", "to": "4:00", "every": "30 minutes"},
			}).Draw(rt, "rule"))
		}
		document, err := json.Marshal(rules)
		require.NoError(rt, err)
		clock := schedule.Spec{Calendar: string(document)}
		var longest time.Duration
		for at := clock.Next(monday.Add(-1)); at.Before(monday.AddDate(0, 0, 7)); {
			next := clock.Next(at)
			longest, at = max(longest, next.Sub(at)), next
		}
		within := func(shortest, longest time.Duration) (is bool) {
			require.NoError(rt, conn.QueryRow(t.Context(), `SELECT mvscheduler.calendar_within($1::text::jsonb, $2, $3)`, string(document), shortest, longest).Scan(&is))
			return is
		}
		shortest := clock.ShortestGap(monday)
		require.True(rt, within(shortest, longest), string(document))
		require.False(rt, within(shortest+1e9, longest), string(document))
		require.False(rt, within(shortest, longest-1e9), string(document))
	})
}

func containsNUL(s string) bool {
	for _, r := range s {
		if r == 0 {
			return true
		}
	}
	return false
}

func TestSQLAndGoAgreeOnIntervals(t *testing.T) {
	t.Parallel()
	conn := pgtest.New(t).Conn(t, "postgres")
	for text, ok := range map[string]bool{
		"1 second": true, "1 microsecond": true, "5 minutes": true, "1 day": true, "3653 days": true, "3653 days 1 second": false,
		"0": false, "-1 hour": false, "1 month": false, "1 month -30 days": false, "1 year": false, "25:00:00": true, "1 day -23 hours": true, "1 day -25 hours": false,
	} {
		var (
			sqlErr *string
			micros int64
		)
		require.NoError(t, conn.QueryRow(t.Context(), `SELECT mvscheduler.interval_error($1), (extract(epoch FROM $1::interval) * 1000000)::bigint`, text).Scan(&sqlErr, &micros))
		require.Equal(t, ok, sqlErr == nil, text)
		if ok {
			spec := schedule.Spec{Interval: time.Duration(micros) * time.Microsecond}
			require.NoError(t, spec.Validate(), text)
			require.True(t, spec.HasClock(), text)
		}
	}
}

func TestEveryZoneThatTheCatalogTakesIsKnownToGo(t *testing.T) {
	t.Parallel()
	conn := pgtest.New(t).Conn(t, "postgres")
	rows, err := conn.Query(t.Context(), `SELECT name FROM pg_timezone_names ORDER BY name`)
	require.NoError(t, err)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Greater(t, len(names), 400)
	taken := 0
	for i, name := range names {
		if i%20 != 0 && name != "Europe/Berlin" { // each question lists all zones
			continue
		}
		var why *string
		require.NoError(t, conn.QueryRow(t.Context(), `SELECT mvscheduler.timezone_error($1)`, name).Scan(&why))
		if why != nil {
			continue
		}
		taken++
		_, err := time.LoadLocation(name)
		require.NoError(t, err)
	}
	require.Greater(t, taken, 20)
	for _, bad := range []string{"europe/berlin", "CEST", "FOO5", "Foo/Bar5", "+02:00", "Mars/Olympus", "", "posixrules", "localtime"} {
		var why *string
		require.NoError(t, conn.QueryRow(t.Context(), `SELECT mvscheduler.timezone_error($1)`, bad).Scan(&why))
		require.NotNil(t, why, bad)
	}
}
