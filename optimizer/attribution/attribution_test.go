package attribution_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/optimizer/attribution"
)

func TestTheRelationsOfAStatementAreFoundByItsText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]attribution.Name{
		`SELECT * FROM app.v WHERE ts > now() - interval $1`:                                      {{"app", "v"}},
		`SELECT * FROM v, "Odd"."V w" AS x WHERE d = date $1 AND t < timestamp with time zone $2`: {{"", "v"}, {"Odd", "V w"}},
		`SELECT * FROM app.v WHERE ts > now() - interval $1 day AND ts < now() + interval (3) $2`: {{"app", "v"}},
		`SELECT * FROM app.v WHERE ts > time(3) $1 OR ts > timestamp without time zone $2`:        {{"app", "v"}},
		`WITH v AS (SELECT 1) SELECT * FROM v`:                                                    nil,
		`WITH v AS (SELECT 1) SELECT * FROM app.v`:                                                {{"app", "v"}},
		`SELECT (SELECT max(a) FROM app.v) FROM t WHERE EXISTS (SELECT $1 FROM u)`:                {{"app", "v"}, {"", "t"}, {"", "u"}},
		`PREPARE x AS SELECT * FROM app.v WHERE a = $1`:                                           {{"app", "v"}},
		`COPY (SELECT * FROM app.v) TO STDOUT`:                                                    {{"app", "v"}},
		`REFRESH MATERIALIZED VIEW app.v`:                                                         nil,
		`ANALYZE app.v`:                                                                           nil,
		`SELECT app.v()`:                                                                          nil,
		`SELECT $1`:                                                                               nil,
	} {
		got, err := attribution.Relations(text)
		require.NoError(t, err, text)
		require.ElementsMatch(t, want, got, text)
	}
}

func TestATextThatAnybodyWroteDoesNoHarm(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "<insufficient privilege>", "SELECT", "\x00", strings.Repeat("(", 16_000), "SELECT " + strings.Repeat("(", 8_000) + "1" + strings.Repeat(")", 8_000), "SELECT " + strings.Repeat("-", 1) + strings.Repeat(" - 1", 4_000)} {
		names, _ := attribution.Relations(text)
		require.Empty(t, names)
	}
	var many strings.Builder // which would be remembered of 20,000 statements
	for i := range 700 {
		fmt.Fprintf(&many, " UNION ALL TABLE t%d", i)
	}
	names, err := attribution.Relations("TABLE t" + many.String())
	require.ErrorIs(t, err, attribution.ErrEffort)
	require.Empty(t, names)
	_, err = attribution.Relations(strings.Repeat("x", 100_000))
	require.ErrorIs(t, err, attribution.ErrLong)
}
