package optimizer

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUnusedViewsAreFoundInTwoSteps(t *testing.T) {
	t.Parallel()
	base := Usage{
		Now: monday, CreatedAt: monday.AddDate(-1, 0, 0), LastRead: monday.AddDate(0, 0, -40), LongestPause: 5 * oneDay,
		RateBefore: 1.0 / 86400, Servers: 2, ServersAll: 2, Bytes: 1 << 30, RefreshSeconds: 700,
	}
	a, ok := base.Unused()
	require.True(t, ok)
	require.Equal(t, "refresh it on demand only", a.Proposed)
	require.Contains(t, strings.Join(a.Why, "; "), "by chance")

	again := base
	again.OnDemand, again.Since = true, monday.AddDate(0, 0, -31)
	a, ok = again.Unused()
	require.True(t, ok)
	require.Contains(t, a.Proposed, "drop it")
	again.Since = monday.AddDate(0, 0, -29)
	_, ok = again.Unused()
	require.False(t, ok, "it has 30 days")
	again.Since, again.LastRead, again.Unknown = monday.AddDate(0, 0, -31), monday.AddDate(0, 0, -90), 2*oneDay
	_, ok = again.Unused()
	require.False(t, ok, "of these 30 days two are not known")

	for name, spoil := range map[string]func(*Usage){
		"read lately":             func(u *Usage) { u.LastRead = monday.AddDate(0, 0, -29) },
		"read once a month":       func(u *Usage) { u.LongestPause = 30 * oneDay },
		"a replica is not known":  func(u *Usage) { u.Servers = 1 },
		"something depends on it": func(u *Usage) { u.Dependants = 1 },
		"it is published":         func(u *Usage) { u.Published = true },
		"it was not looked":       func(u *Usage) { u.Unknown = 11 * oneDay },
		"it is new":               func(u *Usage) { u.CreatedAt = monday.AddDate(0, 0, -5) },
	} {
		u := base
		spoil(&u)
		_, ok := u.Unused()
		require.False(t, ok, name)
	}
}

func TestAViewThatCostsMoreThanItSavesShouldBePlain(t *testing.T) {
	t.Parallel()
	w := Worth{Span: 20 * oneDay, Reads: 3, SavedPerRead: 10, Refreshes: 24, Cost: 10}
	_, ok := w.PlainView()
	require.True(t, ok)
	w.Reads = 30
	_, ok = w.PlainView()
	require.False(t, ok)
	w.Reads, w.Span = 3, 10*oneDay
	_, ok = w.PlainView()
	require.False(t, ok, "ten days are too short")
}

func TestStorageAdviceHasItsThresholds(t *testing.T) {
	t.Parallel()
	var reads [hoursOfWeek]float64
	for h := range reads {
		reads[h] = 1
	}
	reads[6*24+4] = 0
	a, ok := Rebuild(10_000, 3100, reads)
	require.True(t, ok)
	require.Contains(t, a.Proposed, "sun 04:00")
	_, ok = Rebuild(10_000, 3000, reads)
	require.False(t, ok)
	_, ok = Rebuild(0, 30, reads)
	require.False(t, ok)

	_, ok = UnusedIndex("i", false, 31*oneDay, 8192)
	require.True(t, ok)
	_, ok = UnusedIndex("i", true, 31*oneDay, 8192)
	require.False(t, ok, "a unique index has another purpose")
}
