package retention

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func at(t require.TestingT, text string) Timestamp {
	parsed, err := time.Parse(time.DateTime, text)
	require.NoError(t, err)
	return At(parsed)
}

// TestBoundsAreReadAsPostgreSQLPrintsThem has texts of PostgreSQL 15 to 18.
func TestBoundsAreReadAsPostgreSQLPrintsThem(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		key  KeyType
		text string
	}{
		"DEFAULT": {TypeTimestamptz, "DEFAULT"},
		"FOR VALUES FROM ('2026-06-01 00:00:00+00') TO ('2026-07-01 00:00:00+00')":           {TypeTimestamptz, "2026-06-01 to 2026-07-01"},
		"FOR VALUES FROM ('2026-06-01 05:30:00.25+00') TO ('2026-06-01 06:00:00.000001+00')": {TypeTimestamptz, "2026-06-01 05:30:00.25 UTC to 2026-06-01 06:00:00.000001 UTC"},
		"FOR VALUES FROM (MINVALUE) TO ('2026-07-01 00:00:00')":                              {TypeTimestamp, "before 2026-07-01"},
		"FOR VALUES FROM ('2026-07-01') TO (MAXVALUE)":                                       {TypeDate, "from 2026-07-01"},
		"FOR VALUES FROM (MINVALUE) TO (MAXVALUE)":                                           {TypeDate, "any time"},
		"FOR VALUES FROM ('-infinity') TO ('infinity')":                                      {TypeDate, "any time"},
		"FOR VALUES FROM ('4713-01-01 00:00:00+00 BC') TO ('294276-12-31 23:59:59+00')":      {TypeTimestamptz, "4713-01-01 BC to 294276-12-31 23:59:59 UTC"},
		"FOR VALUES FROM ('0001-02-29 BC') TO ('5874897-12-31')":                             {TypeDate, "from 0001-02-29 BC"},
	} {
		bound, err := ParseBound(text, want.key)
		require.NoError(t, err, text)
		require.Equal(t, want.text, bound.String(), text)
	}
}

func TestBoundsThatAreNoRangeOfTimeAreRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": `"" is no bound of a range`,
		"FOR VALUES IN ('2026-06-01 00:00:00+00')":                                            "it is a list of values",
		"FOR VALUES WITH (modulus 4, remainder 0)":                                            "it is a part of a hash",
		"FOR VALUES FROM ('2026-06-01 00:00:00+00', 1) TO ('2026-07-01 00:00:00+00', 1)":      "('2026-06-01 00:00:00+00', 1) are several columns",
		"FOR VALUES FROM (1) TO (2)":                                                          "1 is no timestamptz",
		"FOR VALUES FROM ('2026-06-01') TO ('2026-07-01')":                                    `"2026-06-01" is no timestamptz`,
		"FOR VALUES FROM ('2026-06-01 00:00:00+02') TO ('2026-07-01 00:00:00+02')":            `"2026-06-01 00:00:00+02" is no timestamptz in ISO style and UTC`,
		"FOR VALUES FROM ('01.06.2026 00:00:00 CEST') TO (MAXVALUE)":                          `"01.06.2026 00:00:00 CEST" is no timestamptz in ISO style and UTC`,
		"FOR VALUES FROM ('2026-02-29 00:00:00+00') TO (MAXVALUE)":                            `"2026-02-29 00:00:00+00" is no date of the calendar`,
		"FOR VALUES FROM ('0000-01-01 00:00:00+00') TO (MAXVALUE)":                            `"0000-01-01 00:00:00+00" is no date: there is no year 0`,
		"FOR VALUES FROM ('2026-07-01 00:00:00+00') TO ('2026-06-01 00:00:00+00')":            "'2026-07-01 00:00:00+00' is later than '2026-06-01 00:00:00+00'",
		"FOR VALUES FROM ('2026-06-01 00:00:00+00') TO ('2026-07-01 00:00:00+00') OR DEFAULT": `"FOR VALUES FROM ('2026-06-01 00:00:00+00') TO ('2026-07-01 00:00:00+00') OR DEFAULT" is no bound of a range`,
	} {
		_, err := ParseBound(text, TypeTimestamptz)
		require.EqualError(t, err, want, text)
	}
}

// boundText prints a bound as PostgreSQL does.
func boundText(b Bound, key KeyType) string {
	if b.Default {
		return "DEFAULT"
	}
	datum := func(t Timestamp) string {
		switch t {
		case NegInfinity:
			return "MINVALUE"
		case Infinity:
			return "MAXVALUE"
		}
		layout := map[KeyType]string{TypeTimestamptz: "-01-02 15:04:05.999999+00", TypeTimestamp: "-01-02 15:04:05.999999", TypeDate: "-01-02"}[key]
		year, era := t.Time().Year(), ""
		if year < 1 {
			year, era = 1-year, " BC"
		}
		return "'" + fmt.Sprintf("%04d", year) + t.Time().Format(layout) + era + "'"
	}
	return "FOR VALUES FROM (" + datum(b.From) + ") TO (" + datum(b.To) + ")"
}

func FuzzParseBound(f *testing.F) {
	f.Add("FOR VALUES FROM ('2026-06-01 00:00:00+00') TO ('2026-07-01 00:00:00+00')", uint8(0))
	f.Add("FOR VALUES FROM ('0044-03-15 12:00:00.5 BC') TO (MAXVALUE)", uint8(1))
	f.Add("FOR VALUES FROM ('-infinity') TO ('5874897-12-31')", uint8(2))
	f.Add("DEFAULT", uint8(3))
	f.Add("FOR VALUES IN ('a', 'b')", uint8(0))
	keys := []KeyType{TypeTimestamptz, TypeTimestamp, TypeDate, "text"}
	f.Fuzz(func(t *testing.T, text string, n uint8) {
		key := keys[int(n)%len(keys)]
		bound, err := ParseBound(text, key)
		if err != nil {
			require.Zero(t, bound)
			require.NotEmpty(t, err.Error())
			return
		}
		require.LessOrEqual(t, bound.From, bound.To)
		require.NotEmpty(t, bound.String())
		if key == "text" {
			return
		}
		again, err := ParseBound(boundText(bound, key), key)
		require.NoError(t, err)
		require.Equal(t, bound, again)
	})
}

func TestTimesConvertThereAndBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := Timestamp(rapid.Int64().Draw(t, "microseconds"))
		if !want.Finite() {
			return
		}
		got := At(want.Time())
		if got.Finite() {
			require.Equal(t, want, got)
		}
		d := time.Duration(rapid.Int64().Draw(t, "by"))
		moved := want.Add(d)
		require.Equal(t, d.Microseconds() > 0, moved > want)
		require.Equal(t, d.Microseconds() < 0, moved < want)
	})
	require.Equal(t, "2000-01-01", Timestamp(0).String())
	require.Equal(t, "1999-12-31 23:59:59.999999 UTC", Timestamp(-1).String())
}
