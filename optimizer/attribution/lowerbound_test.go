package attribution_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/optimizer/attribution"
)

func TestALowerBoundIsFoundInTheTextOfAStatement(t *testing.T) {
	t.Parallel()
	tokyo, err := time.LoadLocation("Asia/Tokyo")
	require.NoError(t, err)
	now := time.Date(2026, 11, 27, 20, 30, 0, 0, time.UTC) // Saturday the 28th, 05:30 in Tokyo
	for condition, want := range map[string]string{
		`hour >= now() - interval '7 days'`:                                "2026-11-21 05:30",
		`v.hour > CURRENT_TIMESTAMP - '7 days'::interval AND origin = 'X'`: "2026-11-21 05:30",
		`hour >= date_trunc('day', now()) - interval '1 month 2 days'`:     "2026-10-26 00:00",
		`hour >= date_trunc('month', current_date)`:                        "2026-11-01 00:00",
		`hour >= date_trunc('week', now() - interval '1 week')`:            "2026-11-16 00:00",
		`hour >= date_trunc('quarter', now())`:                             "2026-10-01 00:00",
		`hour >= current_date - 30 AND hour < current_date`:                "2026-10-29 00:00",
		`hour BETWEEN now() - interval '36 hours' AND now()`:               "2026-11-26 17:30",
		`hour::date >= (now() - interval '1 year')::date`:                  "2025-11-28 00:00",
		`hour >= now() AT TIME ZONE 'UTC' - interval '1 day'`:              "2026-11-27 05:30",
		`hour >= date_trunc('day', now(), 'UTC') - interval '3 days'`:      "2026-11-24 00:00",
		`hour = current_date`:                                              "2026-11-28 00:00",
		`hour >= LOCALTIMESTAMP - interval '2 weeks'`:                      "2026-11-14 05:30",
		// The least of several.
		`hour >= now() - interval '1 day' OR hour >= now() - interval '9 days'`: "2026-11-19 05:30",
		// Nothing that is understood.
		`hour < now() - interval '7 days'`:             "",
		`hour >= '2026-11-01'`:                         "", // its value stands in the constant
		`hour >= $1 AND hour < $2`:                     "",
		`hour >= now() - $1::interval`:                 "",
		`hour >= now() - interval '7' day`:             "",
		`hour >= now() - interval '-7 days'`:           "",
		`hour >= app.start_of_year()`:                  "",
		`hour IN (now(), now())`:                       "",
		`other >= now() - interval '7 days'`:           "",
		`hour >= date_trunc('century', now())`:         "",
		`now() - interval '7 days' <= hour`:            "flipped",
		`hour > now() AND '2026-11-01'::date < v.hour`: "flipped",
	} {
		b, err := attribution.LowerBound("SELECT * FROM app.v AS v WHERE "+condition, "hour", now, tokyo)
		require.NoError(t, err, condition)
		got := ""
		switch {
		case b.Flipped:
			got = "flipped"
		case b.Known:
			got = b.At.Format("2006-01-02 15:04")
		}
		require.Equal(t, want, got, condition)
	}
	b, err := attribution.LowerBound(`WITH x AS (SELECT * FROM (SELECT * FROM app.v WHERE hour >= now() - interval '3 days') AS y) SELECT * FROM x`, "hour", now, tokyo)
	require.NoError(t, err)
	require.True(t, b.Known, "wherever it stands")
}

func TestLowerBoundsOfATextThatAnybodyWroteDoNoHarm(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "SELECT", "\x00", strings.Repeat("(", 16_000), "SELECT * FROM v WHERE hour >= now()" + strings.Repeat(" - interval '1 day'", 800), strings.Repeat("x", 100_000),
		"SELECT * FROM v WHERE hour >= now() - interval '99999999999999999999 days'", "SELECT * FROM v WHERE hour >= current_date - 2147483647"} {
		_, _ = attribution.LowerBound(text, "hour", time.Now(), time.UTC)
	}
	b, err := attribution.LowerBound("SELECT 1 FROM v WHERE hour >= now() - interval '100000 years'", "hour", time.Now(), time.UTC)
	require.NoError(t, err)
	require.Negative(t, b.At.Year())
}
