package web

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
)

var update = flag.Bool("update", false, "write the pictures of docs anew")

var (
	noon     = time.Date(2027, 1, 2, 12, 0, 0, 0, time.UTC)
	svg      = regexp.MustCompile(`(?s)<svg class="(?:graph|chart timeline)"(.*)</svg>`)
	anchors  = regexp.MustCompile(`</?a\b[^>]*>`)
	pictures = regexp.MustCompile(`(?s)^(.*)\* \{ box-sizing.*/\* pictures \*/(.*)/\* telephones \*/`)
)

func ago(minutes float64) *time.Time {
	return new(noon.Add(-time.Duration(minutes * float64(time.Minute))))
}

// shop is a deployment to draw.
func shop() []catalog.ViewStatus {
	view := func(id int64, name, freshness, activity string, lag, target catalog.Seconds, upstream ...string) catalog.ViewStatus {
		return catalog.ViewStatus{ID: id, Name: name, Freshness: freshness, Activity: activity, Lag: &lag, Target: &target, Upstream: upstream, AsOf: noon, LastRefreshAt: ago(lag.Duration().Minutes())}
	}
	return []catalog.ViewStatus{
		view(1, "shop.orders_by_hour", "fresh", "running", 240, 300),
		view(2, "shop.customers", "stale", "paused", 8000, 900),
		view(3, "shop.orders_by_day", "fresh", "idle", 300, 3600, "shop.orders_by_hour"),
		view(4, "shop.revenue", "late", "waiting", 1500, 900, "shop.orders_by_hour", "shop.customers"),
		view(5, "shop.board", "late", "idle", 1500, 900, "shop.orders_by_day", "shop.revenue"),
	}
}

func shopTimeline() TimelinePage {
	t := TimelinePage{From: *ago(120), To: noon, Runs: []catalog.RunRecord{}}
	run := func(view, state string, queued, started, ended float64) *catalog.RunRecord {
		r := catalog.RunRecord{ID: int64(len(t.Runs) + 1), ViewName: view, State: state, QueuedAt: *ago(queued), AsOf: noon}
		if state != "skipped" {
			r.StartedAt = ago(started)
		}
		if state != "running" {
			r.FinishedAt = ago(ended)
		}
		t.Runs = append(t.Runs, r)
		return &t.Runs[len(t.Runs)-1]
	}
	for _, v := range shop() {
		t.Views = append(t.Views, v.Name)
	}
	for at := 118.0; at > 5; at -= 5 {
		run("shop.orders_by_hour", "succeeded", at, at, at-1.6)
	}
	run("shop.orders_by_hour", "running", 1, 1, 0)
	run("shop.customers", "succeeded", 117, 117, 113)
	run("shop.orders_by_day", "succeeded", 112, 110, 104)
	run("shop.orders_by_day", "skipped", 60, 0, 60)
	run("shop.orders_by_day", "succeeded", 9, 8, 5)
	run("shop.revenue", "succeeded", 100, 100, 90)
	run("shop.revenue", "failed", 70, 69, 62)
	run("shop.revenue", "succeeded", 40, 40, 29)
	waiting := run("shop.revenue", "running", 12, 10, 0)
	waiting.Progress = []byte(`{"waiting_for": "a lock"}`)
	run("shop.board", "cancelled", 84, 80, 74)
	run("shop.board", "succeeded", 28, 28, 25)
	t.Pauses = []catalog.PauseRecord{{ViewName: "shop.customers", From: *ago(95)}}
	return t
}

// pictureOf is the picture of a page as a file of its own.
func pictureOf(t *testing.T, template string, body any, width string) string {
	t.Helper()
	var page bytes.Buffer
	require.NoError(t, templates[template].ExecuteTemplate(&page, "body", body))
	m := svg.FindStringSubmatch(page.String())
	require.NotNil(t, m, page.String())
	css, err := files.ReadFile("style.css")
	require.NoError(t, err)
	style := pictures.FindStringSubmatch(string(css))
	require.NotNil(t, style)
	picture := `<svg xmlns="http://www.w3.org/2000/svg" class="chart graph"` + width + anchors.ReplaceAllString(m[1], "") + "</svg>\n"
	return strings.Replace(picture, ">", "><style>"+style[1]+style[2]+"\n.chart { width: auto; background: var(--paper); }</style>", 1)
}

func TestThePicturesOfTheDocsAreThoseOfThePages(t *testing.T) {
	t.Parallel()
	graph, err := drawGraph(shop(), nil)
	require.NoError(t, err)
	found := shopTimeline()
	for file, picture := range map[string]string{
		"graph.svg":    pictureOf(t, "graph", graph, ""),
		"timeline.svg": pictureOf(t, "timeline", timelineBody{TimelinePage: found, Timeline: drawTimeline(found)}, ` width="900"`),
	} {
		for decoder := xml.NewDecoder(strings.NewReader(picture)); ; {
			if _, err := decoder.Token(); errors.Is(err, io.EOF) {
				break
			} else {
				require.NoError(t, err, file)
			}
		}
		path := "../../docs/" + file
		if *update {
			require.NoError(t, os.WriteFile(path, []byte(picture), 0o644))
		}
		stored, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(stored), picture, "out of date: make pictures")
	}
}
