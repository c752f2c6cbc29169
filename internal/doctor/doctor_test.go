package doctor

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOldMinorReleasesAreKnown(t *testing.T) {
	t.Parallel()
	count := func(version int, shown string) (errors, notes int) {
		for _, f := range holesOf(version, shown) {
			require.Contains(t, f.Fix, "apt-get")
			switch f.Severity {
			case Error:
				errors++
			case Note:
				notes++
			default:
				t.Errorf("%s is a %s", f.Subject, f.Severity)
			}
		}
		return errors, notes
	}
	for _, c := range []struct {
		version       int
		shown         string
		errors, notes int
	}{
		{150005, "15.5", 4, 1}, {150008, "15.8", 2, 1}, {150009, "15.9", 0, 1}, {150018, "15.18", 0, 1}, {150019, "15.19", 0, 0},
		{160001, "16.1", 4, 1}, {160015, "16.15", 0, 0}, {170000, "17.0", 2, 1}, {170001, "17.1", 0, 1}, {170011, "17.11", 0, 0},
		{180000, "18.0", 0, 1}, {180006, "18.6", 0, 0}, {190000, "19.0", 0, 0},
	} {
		errors, notes := count(c.version, c.shown)
		require.Equal(t, []int{c.errors, c.notes}, []int{errors, notes}, c.shown)
	}
	require.Contains(t, holesOf(140009, "14.9")[0].What, "15 or later")
}

func TestRefreshesAreFoundInCommands(t *testing.T) {
	t.Parallel()
	views := func(text string) (names []string) {
		for _, c := range eachRefresh([]Command{{Text: text, Stop: "stop"}}) {
			names = append(names, c.View)
		}
		return names
	}
	require.Equal(t, []string{"app.v"}, views(`refresh   materialized view concurrently app.v`))
	require.Equal(t, []string{`"App"."V w"`, "x"}, views(`REFRESH MATERIALIZED VIEW "App"."V w"; REFRESH MATERIALIZED VIEW x WITH DATA`))
	require.Equal(t, []string{`"an ""odd"" . name".x`}, views(`REFRESH MATERIALIZED VIEW "an ""odd"" . name" . x`))
	require.Equal(t, []string{"x"}, views("REFRESH /* as\n every night */ MATERIALIZED VIEW x -- and not y"))
	require.Empty(t, views(`SELECT 1 -- refreshed`))
	require.Empty(t, views("-- REFRESH MATERIALIZED VIEW x\n/* REFRESH MATERIALIZED VIEW y */ SELECT 1"))
	require.Equal(t, []string{"x"}, views(`SELECT '--'; REFRESH MATERIALIZED VIEW x`))
	require.Equal(t, "stop", eachRefresh([]Command{{Text: "REFRESH MATERIALIZED VIEW x; -- nightly", Stop: "stop"}})[0].Stop)
	require.Empty(t, eachRefresh([]Command{{Text: "REFRESH MATERIALIZED VIEW x; SELECT 1", Stop: "stop"}})[0].Stop)
	require.Equal(t, "stop", eachRefresh([]Command{{Text: "REFRESH MATERIALIZED VIEW x WITH DATA", Stop: "stop"}})[0].Stop)
}

func TestTheFixOfAnotherSchedulerStopsWhatItDoesToOurViewsAlone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		command string
		ours    string
		fix     string
	}{
		{`REFRESH MATERIALIZED VIEW x; SELECT 1`, "x", `less 'SELECT 1'`},
		{`ANALYZE "a"";b"; refresh materialized view "x" -- now`, `"x"`, `less 'ANALYZE "a"";b"'`},
		{`REFRESH MATERIALIZED VIEW x; REFRESH MATERIALIZED VIEW CONCURRENTLY x; VACUUM`, "x", `less 'VACUUM'`},
		{`SELECT ';'; REFRESH MATERIALIZED VIEW x`, "x", `less 'SELECT '';'''`},
		{`REFRESH MATERIALIZED VIEW x; -- nightly`, "x", "stop"},
		{`REFRESH MATERIALIZED VIEW "a\b"`, `"a\b"`, "stop"},
		{`REFRESH MATERIALIZED VIEW x; REFRESH MATERIALIZED VIEW y`, "x", `less 'REFRESH MATERIALIZED VIEW y'`},
		{`REFRESH MATERIALIZED VIEW x; REFRESH MATERIALIZED VIEW y`, "x y", "stop"},
		{`BEGIN; REFRESH MATERIALIZED VIEW x; REFRESH MATERIALIZED VIEW y; COMMIT`, "x y", `less 'BEGIN; COMMIT'`},
		{`DO $$BEGIN REFRESH MATERIALIZED VIEW x; END$$`, "x", "look"},
		{`SELECT 1; EXPLAIN REFRESH MATERIALIZED VIEW x`, "x", "look"},
	} {
		found := eachRefresh([]Command{{Text: c.command, Stop: "stop", less: "less %s", look: "look"}})
		fix, why := found[0].fix(func(view string) bool { return slices.Contains(strings.Fields(c.ours), view) })
		require.Equal(t, c.fix, fix, c.command)
		require.Equal(t, c.fix == "look", why != "", c.command)
	}
}

func TestNamesAreComparedAsPostgreSQLReadsThem(t *testing.T) {
	t.Parallel()
	require.True(t, sameView(`APP.v`, `app.v`))
	require.True(t, sameView(`"App".V`, `"App".v`))
	require.True(t, sameView(`v`, `app.v`))
	require.False(t, sameView(`"V"`, `app.v`))
	require.False(t, sameView(`other.v`, `app.v`))
	require.False(t, sameView(`w`, `app.v`))
}

func TestClocksThatAreApartAreNamed(t *testing.T) {
	t.Parallel()
	skew := func(s time.Duration) []Finding {
		found, err := clockSkew(t.Context(), nil, server{Skew: s})
		require.NoError(t, err)
		return found
	}
	require.Empty(t, skew(skewAtMost-time.Millisecond))
	require.Contains(t, skew(-7 * time.Second)[0].What, "7s apart")
	require.Contains(t, skew(time.Hour)[0].Fix, "set-ntp")
}

// What needs no connection is looked at here as it is looked at there: by the list of checks.
func TestTheServerItselfIsLookedAt(t *testing.T) {
	t.Parallel()
	ill := server{Version: 150002, Shown: "15.2", Standby: true, Skew: time.Hour}
	found := map[string]string{}
	for _, c := range checks {
		if c.name == "pooler" || c.name == "statistics" { // by the connection: see integration
			continue
		}
		findings, err := c.look(t.Context(), nil, ill)
		require.NoError(t, err)
		for _, f := range findings {
			found[c.name] += f.What + "; "
		}
	}
	require.Contains(t, found["version"], "PostgreSQL 15.2")
	require.Contains(t, found["standby"], "this server is a standby")
	require.Contains(t, found["clock"], "1h0m0s apart")
}
