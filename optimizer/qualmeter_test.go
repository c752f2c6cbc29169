package optimizer

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOnlyWhatCameSinceTheSampleBeforeIsCounted(t *testing.T) {
	t.Parallel()
	var m QualMeter
	q := Qual{View: 1, Query: 7, Node: 1, Seen: 100, Examined: 1000, Removed: 900}
	require.Empty(t, m.Take([]Qual{q}), "there is nothing to compare with")
	require.Empty(t, m.Take([]Qual{q}))
	q.Seen, q.Examined, q.Removed = 103, 1030, 920
	other := Qual{View: 1, Query: 8, Node: 1, Seen: 2, Examined: 20}
	since := m.Take([]Qual{q, other})
	require.Len(t, since, 2)
	require.Equal(t, [3]int64{3, 30, 20}, [3]int64{since[0].Seen, since[0].Examined, since[0].Removed})
	require.Equal(t, int64(2), since[1].Seen, "it was not there before")
	require.Empty(t, m.Take(nil), "a reset, or an eviction")
	q.Seen = 1
	require.Equal(t, int64(1), m.Take([]Qual{q})[0].Seen, "it began anew")
	q.Seen = 5
	m.Take([]Qual{q})
	q.Seen = 2
	require.Equal(t, int64(2), m.Take([]Qual{q})[0].Seen, "reset and counted again meanwhile")
}

func TestConditionsThatAnIndexCouldServeAreFound(t *testing.T) {
	t.Parallel()
	equal := func(column string, node int64) Qual {
		return Qual{View: 1, Relation: 10, Query: 7, Node: node, Column: column, Compared: Equal, Seen: 5, Examined: 500, Removed: 450}
	}
	in := func(group int64, quals ...Qual) []Qual {
		for i := range quals {
			quals[i].Group = group
		}
		return quals
	}
	after := equal("hour", 3)
	after.Compared = GreaterOrEqual
	tested := func(quals ...Qual) []Tested { return TestedBy(quals)[1] }

	require.Equal(t, []Tested{{Columns: []string{"a"}, Reads: 5, Examined: 500, Removed: 450}}, tested(equal("a", 1)))
	require.Equal(t, []Tested{{Columns: []string{"a", "b", "hour"}, Range: true, Reads: 5, Examined: 500, Removed: 450}},
		tested(in(99, after, equal("b", 2), equal("a", 1))...), "= first, each row counted once")
	require.Equal(t, []Tested{{Columns: []string{"hour"}, Range: true, Reads: 5, Examined: 500, Removed: 450}}, tested(after))
	require.Empty(t, tested(equal("a", 1), equal("b", 2)), "a = 1 OR b = 2")
	strange := equal("a", 1)
	strange.Compared = 0
	require.Empty(t, tested(strange), "LIKE")
	indexed := equal("b", 2)
	indexed.Indexed = true
	require.Empty(t, tested(equal("a", 1), indexed), "it was found by an index on b, and a was tested besides")

	// Several constants are several reads; several partitions are one, of all their rows.
	require.Equal(t, []Tested{{Columns: []string{"a"}, Reads: 10, Examined: 1000, Removed: 900}}, tested(equal("a", 1), equal("a", 2)))
	there := equal("a", 3)
	there.Relation = 11
	require.Equal(t, []Tested{{Columns: []string{"a"}, Reads: 5, Examined: 1000, Removed: 900}}, tested(equal("a", 1), there))
	many := []Qual{}
	for i, c := range []string{"a", "b", "c", "d", "e"} {
		many = append(many, equal(c, int64(i)))
	}
	require.Equal(t, []string{"a", "b", "c", "d"}, tested(in(99, append(many, after)...)...)[0].Columns)
	most := MostRead([]Tested{{Columns: []string{"a"}, Reads: 1}, {Columns: []string{"b"}, Reads: 3}, {Columns: []string{"c"}, Reads: 2}}, 2)
	require.Equal(t, []string{"b"}, most[0].Columns)
	require.Len(t, most, 2)
}

func TestHowFarBackReadsAskedIsTold(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 27, 18, 0, 0, 0, time.UTC)
	from := func(q Qual) (time.Time, bool) { return ParseConstant(q.Constant, time.UTC) }
	since := func(query int64, relation uint32, days string, reads int64) Qual {
		return Qual{View: 1, Relation: relation, Query: query, Column: "hour", Time: true, Compared: GreaterOrEqual, Constant: days, Seen: reads}
	}
	const tenDays, hundred = "'2026-11-18 12:00:00+00'::timestamp with time zone", "'2026-08-20'::date"
	require.Equal(t, map[LookedBack]float64{{10, false}: 5, {108, false}: 2}, AskedBy([]Qual{
		since(1, 10, tenDays, 3), since(1, 10, hundred, 2), since(2, 10, tenDays, 2),
		since(1, 11, tenDays, 3), // the same reads, of another partition
	}, now, from)[1])
	unknown, upper, other := since(3, 10, "", 4), since(3, 10, tenDays, 4), since(5, 10, "", 6)
	upper.Compared, other.Time, other.Compared = Less, false, Equal
	require.Empty(t, AskedBy([]Qual{unknown, upper}, now, from), "a lower bound that is not understood")
	require.Equal(t, map[LookedBack]float64{{farthest, true}: 4}, AskedBy([]Qual{upper}, now, from)[1], "an upper bound alone")
	require.Equal(t, map[LookedBack]float64{{farthest, true}: 6}, AskedBy([]Qual{other}, now, from)[1])
	require.Equal(t, map[LookedBack]float64{{1, false}: 1}, AskedBy([]Qual{since(1, 10, "'2027-01-01'::date", 1)}, now, from)[1], "the future")
}

func TestConstantsOfATimeAreRead(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	for constant, want := range map[string]string{
		"'2026-11-20 06:00:00+00'::timestamp with time zone":          "2026-11-20T06:00:00Z",
		"'2026-11-20 06:00:00.25+05:30'::timestamp(3) with time zone": "2026-11-20T00:30:00Z",
		"'2026-07-20 06:00:00'::timestamp without time zone":          "2026-07-20T04:00:00Z",
		"'2026-11-20'::date": "2026-11-19T23:00:00Z",
		"'infinity'::date":   "",
		"'20/11/2026'::date": "",
		"'2026-11-20 06:00:00 BC'::timestamp without time zone": "",
		"'{2026-11-20,2026-11-21}'::date[]":                     "",
		"7::integer":                                            "",
		"NULL::date":                                            "",
		"":                                                      "",
		"<insufficient privilege>":                              "",
		"'2026-11-20'::app.day":                                 "",
	} {
		at, ok := ParseConstant(constant, berlin)
		require.Equal(t, want != "", ok, constant)
		if ok {
			require.Equal(t, want, at.UTC().Truncate(time.Second).Format(time.RFC3339), constant)
		}
	}
}
