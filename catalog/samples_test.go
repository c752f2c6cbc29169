package catalog

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestCountsAreReadFromTheTextOfAnArray(t *testing.T) {
	t.Parallel()
	unknown := float32(math.NaN())
	for text, counts := range map[string]Counts{
		"{}": {}, "{7}": {7}, "{0,12,NULL}": {0, 12, unknown}, "{NULL,1.5,9999999,1e+06}": {unknown, 1.5, 9999999, 1e6},
		"{Infinity,3e+38,-Infinity,NaN,1e+15}":    {unknown, unknown, unknown, unknown, 1e15},
		"{0.8333333,16777216,123456789,1e-45,-3}": {0.8333333, 16777216, 123456789, 1e-45, -3},
	} {
		c := Counts{5, 5}
		require.NoError(t, c.ScanBytes([]byte(text)), text)
		require.Equal(t, fmt.Sprint(counts), fmt.Sprint(c), text) // NaN is not itself
	}
	for _, text := range []string{"", "{", "}", "{1", "1}", "{1,}", "{,1}", "{1,,2}", "{{1}}", "{1;2}", "{1.2.3}", "{.}", "{1e99}", "{null}"} {
		require.Error(t, new(Counts).ScanBytes([]byte(text)), text)
	}
	require.Error(t, new(Counts).ScanBytes(nil))
}

func TestCountsAreRoundedAsAnyParserDoes(t *testing.T) {
	t.Parallel()
	draw := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		digits := strconv.Itoa(draw.IntN(100_000_000))
		point := 1 + draw.IntN(len(digits))
		text := digits[:point] + "." + digits[point:]
		if point == len(digits) {
			text = digits
		}
		want, err := strconv.ParseFloat(text, 32)
		require.NoError(t, err)
		var c Counts
		require.NoError(t, c.ScanBytes([]byte("{"+text+"}")), text)
		require.Equal(t, Counts{float32(want)}, c, text)
	}
}

func TestSamplesSinceAnInstantAreCutAtABin(t *testing.T) {
	t.Parallel()
	midnight := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	day := Samples{At: midnight, Width: 3600, Reads: make(Counts, 24), Changes: make(Counts, 24)}
	for after, hours := range map[time.Duration]int{-time.Hour: 24, 0: 24, time.Minute: 23, time.Hour: 23, 23 * time.Hour: 1, 24 * time.Hour: 0, 48 * time.Hour: 0} {
		s := day.since(midnight.Add(after))
		require.Len(t, s.Reads, hours, after)
		require.Len(t, s.Changes, hours)
		if hours > 0 {
			require.Equal(t, midnight.Add(24*time.Hour), s.At.Add(time.Duration(hours)*time.Hour), after)
		}
	}
}

func TestSamplesAreReadFromAnInstantOnWhereverTheyAreKept(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := db.Conn(t, "")
	alice := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, alice, `CREATE TABLE t (id bigint)`, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT id FROM t')`)
	var view int64
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT view_id FROM mvscheduler.view_state`).Scan(&view))
	today := midnight(time.Now())
	day := func(before int) time.Time { return today.AddDate(0, 0, -before) }
	// Of the first hour of each day half is known, of the second less.
	const bins = `(array_fill(%s::real, ARRAY[6]) || array_fill(NULL::real, ARRAY[13]) || array_fill(%[1]s::real, ARRAY[269]))::text`
	for _, before := range []int{30, 3} {
		_, err := conn.Exec(t.Context(), `INSERT INTO mvscheduler.sampled_days (view_id, day, width, reads, changes) VALUES ($1, $2, 300, `+fmt.Sprintf(bins, "2")+`, `+fmt.Sprintf(bins, "1")+`)`, view, day(before))
		require.NoError(t, err)
	}
	for range 2 { // what was made hours stays so
		require.NoError(t, RollUp(t.Context(), conn, 21*24*time.Hour, 70*24*time.Hour, 400*24*time.Hour))
		// What comes late for a day of hours is dropped.
		_, err := conn.Exec(t.Context(), `INSERT INTO mvscheduler.sampled (view_id, at, reads, changes) VALUES ($1, $2, array_fill(9::real, ARRAY[12]), array_fill(9::real, ARRAY[12]))`, view, day(30).Add(time.Hour))
		require.NoError(t, err)
	}
	require.NoError(t, RollUp(t.Context(), conn, 21*24*time.Hour, 70*24*time.Hour, 400*24*time.Hour))
	since := func(from, changes time.Time) (told []string) {
		require.NoError(t, EachSample(t.Context(), conn, view, from, changes, func(s Samples) {
			require.Equal(t, view, s.ViewID)
			told = append(told, fmt.Sprint(today.Sub(s.At), s.Width, len(s.Reads), len(s.Changes), s.Reads[0], s.Reads[1]))
		}))
		return told
	}
	require.Equal(t, []string{"720h0m0s 3600 24 24 24 NaN", "72h0m0s 300 288 288 2 2"}, since(day(40), day(40)))
	require.Equal(t, []string{"719h0m0s 3600 23 0 NaN 24", "72h0m0s 300 288 288 2 2"}, since(day(30).Add(time.Hour), day(3)), "in the midst of a day")
	require.Equal(t, []string{"70h0m0s 300 264 264 2 2"}, since(day(3).Add(2*time.Hour), day(3).Add(time.Hour)), "changes of the whole day in which they begin")

	hours, err := VisibleSamples(t.Context(), alice, view, day(30).Add(23*time.Hour))
	require.NoError(t, err)
	require.Len(t, hours, 2)
	require.Equal(t, Counts{24}, hours[0].Reads)
	require.Equal(t, float32(24), hours[0].Reads[0])
	require.Len(t, hours[1].Reads, 288)
}
