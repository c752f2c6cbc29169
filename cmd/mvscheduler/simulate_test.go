package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/optimizer"
)

// simulateOutput runs simulate on eight weeks of office hours.
func simulateOutput(t *testing.T, format string, change func(*simulateCmd)) (stdout, stderr string, err error) {
	t.Helper()
	var trace strings.Builder
	trace.WriteString("t,count\n")
	monday := time.Date(2025, 1, 6, 0, 0, 0, 0, time.UTC)
	for at := monday; at.Before(monday.AddDate(0, 0, 56)); at = at.Add(5 * time.Minute) {
		reads := 0
		if at.Weekday()%6 != 0 && at.Hour() >= 9 && at.Hour() < 17 {
			reads = 5
		}
		fmt.Fprintf(&trace, "%d,%d\n", at.Unix(), reads)
	}
	file := filepath.Join(t.TempDir(), "reads.csv")
	require.NoError(t, os.WriteFile(file, []byte(trace.String()), 0o600))

	var out, talk bytes.Buffer
	a := newApp(&globals{Output: format}, nil, strings.NewReader(""), &out, &talk)
	c := &simulateCmd{Reads: file, RefreshCost: traceSpan(30 * time.Second), Target: traceSpan(time.Hour), Policy: []string{"all"}, Timezone: "UTC"}
	change(c)
	err = c.Run(t.Context(), a)
	return out.String(), talk.String(), err
}

func TestSimulatePrintsEveryPolicyOfTheContract(t *testing.T) {
	t.Parallel()
	out, talk, err := simulateOutput(t, "json", func(*simulateCmd) {})
	require.NoError(t, err)
	require.Contains(t, talk, "after 21d 00h to learn from")
	var rows []map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &rows))
	regret := map[string]float64{}
	for _, row := range rows {
		require.Len(t, row, 7)
		for _, field := range []string{"policy", "refreshes", "refresh_seconds", "read_weighted_mean_age_seconds", "p95_age_seconds", "cost_j", "regret"} {
			require.Contains(t, row, field)
		}
		regret[row["policy"].(string)] = row["regret"].(float64)
	}
	require.Len(t, regret, len(optimizer.PolicyNames()))
	require.Zero(t, regret["clairvoyant"])
	require.Less(t, regret["mvscheduler"], 0.05)
	require.Greater(t, regret["best_fixed"], 0.3)
}

func TestSimulateTakesSomePolicies(t *testing.T) {
	t.Parallel()
	out, _, err := simulateOutput(t, "csv", func(c *simulateCmd) {
		c.Policy = []string{"fixed", "mvscheduler"}
		c.Interval = traceSpan(5 * time.Minute)
		c.Span = traceSpan(7 * 24 * time.Hour)
	})
	require.NoError(t, err)
	lines, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	require.NoError(t, err)
	require.Len(t, lines, 3)
	require.Equal(t, []string{"fixed", "2016"}, lines[1][:2])
	require.Equal(t, "mvscheduler", lines[2][0])

	table, _, err := simulateOutput(t, "table", func(c *simulateCmd) { c.Policy = []string{"eoq"} })
	require.NoError(t, err)
	require.Contains(t, table, "REGRET")
}

func TestSimulateSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for complaint, change := range map[string]func(*simulateCmd){
		"unknown policy":    func(c *simulateCmd) { c.Policy = []string{"guess"} },
		"unknown time zone": func(c *simulateCmd) { c.Timezone = "Mars/Olympus" },
		"no such file":      func(c *simulateCmd) { c.Reads = "/nowhere/reads.csv" },
		"header":            func(c *simulateCmd) { c.Changes = os.Args[0] },
	} {
		_, _, err := simulateOutput(t, "json", change)
		require.ErrorContains(t, err, complaint)
	}
}

func TestATraceSpanIsALengthOfTime(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"30s": 30 * time.Second, "1h30m": 90 * time.Minute, "14d": 14 * 24 * time.Hour, "0.5d": 12 * time.Hour} {
		var s traceSpan
		require.NoError(t, s.UnmarshalText([]byte(text)))
		require.Equal(t, want, time.Duration(s))
	}
	for _, text := range []string{"", "30", "-1h", "-1d", "xd", "1e99d", "NaNd"} {
		var s traceSpan
		require.Error(t, s.UnmarshalText([]byte(text)), text)
	}
}

func TestLengthsOfTimeAreReadAsGoAndPostgreSQLWriteThem(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"30s": 30 * time.Second, "1h30m": 90 * time.Minute, "10min": 10 * time.Minute, "14 days": 14 * 24 * time.Hour, "1.5d": 36 * time.Hour, "2 hours": 2 * time.Hour, "1 week": 7 * 24 * time.Hour, "1w": 7 * 24 * time.Hour,
	} {
		var s traceSpan
		require.NoError(t, s.UnmarshalText([]byte(text)), text)
		require.Equal(t, want, time.Duration(s), text)
	}
	for _, text := range []string{"", "10", "-1h", "1 month", "99999999 days", "x"} {
		require.Error(t, new(traceSpan).UnmarshalText([]byte(text)), text)
	}
	for _, text := range []string{"0", "0s", "0 days", "0.0000000001s"} { // would be the default, and not what was asked for
		require.ErrorContains(t, new(traceSpan).UnmarshalText([]byte(text)), "must be longer than zero", text)
	}
}

func TestSimulateSaysThatNothingChanged(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "changes.csv")
	require.NoError(t, os.WriteFile(file, []byte("t,count\n1736121600,0\n1740960000,0\n"), 0o600))
	_, talk, err := simulateOutput(t, "json", func(c *simulateCmd) { c.Changes = file })
	require.NoError(t, err)
	require.Contains(t, talk, "note: nothing changed below it in that time: any clock would have skipped every refresh")
	_, talk, err = simulateOutput(t, "json", func(*simulateCmd) {})
	require.NoError(t, err)
	require.NotContains(t, talk, "nothing changed")
	var often strings.Builder
	for at := range 56 * 288 {
		fmt.Fprintf(&often, "%d,1\n", 1736121600+300*at)
	}
	require.NoError(t, os.WriteFile(file, []byte("t,count\n"+often.String()), 0o600))
	out, _, err := simulateOutput(t, "table", func(c *simulateCmd) {
		c.Changes, c.Policy, c.Interval = file, []string{"fixed"}, traceSpan(5*time.Minute)
	})
	require.NoError(t, err)
	require.Regexp(t, `fixed .* < 5 minutes +< 5 minutes `, out, "what is younger than a bin is not told apart")
}
