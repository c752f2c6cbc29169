package attribution_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/optimizer/attribution"
)

// The parser tries some parentheses twice, so that a short statement which PostgreSQL runs at once would keep it busy for years.
func TestATextThatTheParserWouldTryForYearsIsLeftAlone(t *testing.T) {
	t.Parallel()
	nested := func(before, open, middle, shut string, n int) string {
		return before + strings.Repeat(open, n) + middle + strings.Repeat(shut, n)
	}
	for _, text := range []string{
		nested("SELECT ", "substring(", "a", ", 1)", 60),
		nested("SELECT ", "SubString /* ( */ (", "a", ", 1)", 60),
		nested("SELECT ", "overlay(", "a", ", b, 1)", 60),
		nested("SELECT ", "json_object(", "a", ", b)", 60),
		nested("SELECT ", "((SELECT ", "1", ") + 1)", 60),
		nested("SELECT ", "((WITH x AS (SELECT 1) SELECT ", "1", ") + 1)", 60),
		nested("SELECT ", "((VALUES (", "1", ")) + 1)", 60),
		nested("SELECT ", "(/* */(TABLE x) + substring(", "1", ", 1))", 60),
		nested("SELECT * FROM ", "((SELECT * FROM ", "v", ") AS a CROSS JOIN b)", 60),
		nested("SELECT ", "1 IN ((SELECT ", "1", "), 2)", 60),
		nested("SELECT ", "1 = ANY ((SELECT ", "1", ") + 1)", 60),
		nested("SELECT ", "(VALUES (NOT ", "1 2", "))", 60), // VALUES can be a name, too
		nested("SELECT ", "(VALUES (f(", "1 2", ")))", 20),
		nested("SELECT ", "f((VALUES (", "1 2", ")))", 20),
		nested("SELECT * FROM ", "(", "v", ")", 8_000), // as often as there are parentheses, each
	} {
		_, err := attribution.Relations(text)
		require.ErrorIs(t, err, attribution.ErrEffort, text)
		_, err = attribution.LowerBound(text, "a", time.Now(), time.UTC)
		require.ErrorIs(t, err, attribution.ErrEffort, text)
	}
}

func TestATextThatPeopleWriteIsNoEffort(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"SELECT " + strings.Repeat("coalesce(", 60) + "a" + strings.Repeat(", b)", 60) + " FROM app.v",
		"SELECT " + strings.Repeat("substring(", 6) + "a" + strings.Repeat(", 1)", 6) + " FROM app.v",
		"SELECT * FROM " + strings.Repeat("(SELECT * FROM ", 60) + "app.v" + strings.Repeat(") AS x", 60),
		"SELECT * FROM app.v WHERE " + strings.Repeat("(", 1_000) + "a" + strings.Repeat(" OR b)", 1_000),
		"SELECT * FROM app.v WHERE a IN (VALUES ($1)" + strings.Repeat(", ($2)", 2_000) + ")",
		"SELECT " + strings.Repeat("coalesce((SELECT json_agg(", 60) + "a" + strings.Repeat(") FROM app.v), $1)", 60),
		"SELECT " + strings.Repeat("(CASE WHEN a > $1 THEN $2 ELSE ", 200) + "b" + strings.Repeat(" END)", 200) + " FROM app.v",
		"SELECT " + strings.Repeat("substring(a, 1) || ", 500) + "((SELECT 1) + 1) FROM app.v",
		"SELECT '" + strings.Repeat("substring(", 60) + "' FROM app.v -- " + strings.Repeat("overlay(", 60),
	} {
		names, err := attribution.Relations(text)
		require.NoError(t, err, text)
		require.Equal(t, []attribution.Name{{"app", "v"}}, names, text)
	}
}
