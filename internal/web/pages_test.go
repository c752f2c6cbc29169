package web

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/words"
)

func TestTheListIsNarrowedDownAndCutIntoPages(t *testing.T) {
	t.Parallel()
	var all []catalog.ViewStatus
	for i := range 250 {
		v := catalog.ViewStatus{Name: fmt.Sprintf("a.v%03d", i), Freshness: "fresh", Activity: "idle"}
		if i < 3 {
			v.Name, v.Freshness = fmt.Sprintf(`"odd.""schema".v%d`, i), "stale"
		}
		all = append(all, v)
	}
	b := listOf(all, url.Values{"page": {"3"}})
	require.Equal(t, []int{250, 250, 50, 3, 3}, []int{b.All, b.Found, len(b.Views), b.Pages.Number, b.Pages.Last})
	require.Equal(t, "/views?page=2", b.Pages.Previous)
	require.Empty(t, b.Pages.Next)
	b = listOf(all, url.Values{"state": {"stale"}, "page": {"-7"}})
	require.Len(t, b.Views, 3)
	require.Equal(t, `"odd.""schema"`, listOf(all, nil).Schemas[1].Label)
	require.Len(t, listOf(all, url.Values{"state": {"unhealthy"}}).Views, 3)
	require.Len(t, listOf(all, url.Values{"schema": {`"odd.""schema"`}}).Views, 3)
	require.Empty(t, listOf(all, url.Values{"state": {"<script>"}}).Views)
	require.Equal(t, 1, listOf(nil, nil).Pages.Last)
}

func TestANameIsCutInTheMiddle(t *testing.T) {
	t.Parallel()
	require.Equal(t, "short", short(5, "short"))
	require.Equal(t, "analyt…mmary_1", short(14, "analytics.monthly_summary_1"))
	require.Equal(t, `a\nb`, short(9, "a\nb"))
	require.Equal(t, "/views/a.%22x%2Fy%3F%22", viewPath(`a."x/y?"`))
}

func TestTheSameTroubleIsToldOnce(t *testing.T) {
	t.Parallel()
	text, other := "division by zero", "a lock"
	attempts := []catalog.AttemptRecord{
		{RunID: 3, Attempt: 1, Outcome: "failed", Error: &text}, {RunID: 3, Attempt: 2, Outcome: "failed", Error: &text}, {RunID: 2, Outcome: "succeeded"},
		{RunID: 1, Outcome: "busy", Error: &other}, {RunID: 1, Outcome: "lost"},
	}
	var runs []int64
	for _, a := range troublesOf(attempts) {
		runs = append(runs, a.RunID)
	}
	require.Equal(t, []int64{3, 1, 1}, runs)
}

func TestATryIsShownBesideTheOneBefore(t *testing.T) {
	t.Parallel()
	text, other, state := "division by zero", "a lock", "22012"
	began := time.Date(2027, 1, 2, 12, 0, 0, 0, time.UTC)
	at := func(seconds int) *time.Time {
		t := began.Add(time.Duration(seconds) * time.Second)
		return &t
	}
	tries := triesOf([]catalog.AttemptRecord{
		{Attempt: 1, Outcome: "failed", Error: &text, SQLState: &state, StartedAt: *at(0), FinishedAt: at(1)},
		{Attempt: 2, Outcome: "failed", Error: &text, SQLState: &state, StartedAt: *at(3), FinishedAt: at(4)},
		{Attempt: 3, Outcome: "busy", Error: &other, StartedAt: *at(4), FinishedAt: at(5)},
		{Attempt: 4, Outcome: "running", StartedAt: *at(9)},
	})
	var same []bool
	var took, after []string
	for _, t := range tries {
		same, took, after = append(same, t.Same), append(took, t.Took), append(after, t.After)
	}
	require.Equal(t, []bool{false, true, false, false}, same)
	require.Equal(t, []string{"1 s", "1 s", "1 s", "-"}, took)
	require.Equal(t, []string{"", "2 s", "0 s", "4 s"}, after)
}

func TestARunThatWaitsIsDrawnAsWaitingAndAPauseWithoutEndReachesUntilNow(t *testing.T) {
	t.Parallel()
	rows := drawTimeline(shopTimeline()).Rows
	last := func(view int) string { m := rows[view].Marks; return m[len(m)-1].Kind }
	require.Equal(t, "running", last(0))
	require.Equal(t, "pause", rows[1].Marks[0].Kind)
	require.InDelta(t, 100, rows[1].Marks[0].X+rows[1].Marks[0].W, 0.01)
	kinds := map[string]bool{}
	for _, m := range rows[3].Marks {
		kinds[m.Kind] = true
	}
	require.Equal(t, map[string]bool{"succeeded": true, "failed": true, "queued": true, "running": true, "wait": true}, kinds)
}

func TestViewsThatDidSomethingComeFirstOnTheTimeline(t *testing.T) {
	t.Parallel()
	long, now := noon.Add(-24*time.Hour), noon
	require.Equal(t, 1, rank(catalog.ViewStatus{Activity: "idle", LastRefreshAt: &long}, noon.Add(-time.Hour)))
	require.Equal(t, 0, rank(catalog.ViewStatus{Activity: "idle", LastRefreshAt: &now}, noon.Add(-time.Hour)))
	require.Equal(t, 0, rank(catalog.ViewStatus{Activity: "paused"}, noon.Add(-time.Hour)))
}

func TestFactsWithoutAValueAreLeftOut(t *testing.T) {
	t.Parallel()
	require.Equal(t, []fact{{"a", "1"}, {"d", `x\ny`}}, facts("a", "1", "b", "", "c", words.Nothing, "d", "x\ny"))
}

func TestATimelineOfNewViewsIsShort(t *testing.T) {
	t.Parallel()
	page := TimelinePage{To: noon}
	require.False(t, page.holdsAll(time.Hour), "nothing is no reason")
	page.Runs = []catalog.RunRecord{{QueuedAt: *ago(59)}, {QueuedAt: *ago(1)}}
	require.True(t, page.holdsAll(time.Hour))
	page.Runs = append(page.Runs, catalog.RunRecord{QueuedAt: *ago(61)})
	require.False(t, page.holdsAll(time.Hour))
}
