package main

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"
)

// start is one group of the plot.
type start struct {
	views    int
	p50, p95 time.Duration
}

type report struct {
	figures []figure
	starts  []start

	first     map[string]time.Duration // what refreshes took with the first number of rows, by their names
	firstSize string                   // that number, in words
}

func (r *report) add(f figure) { r.figures = append(r.figures, f) }

// write writes the table, and the plot where there is one, to out.md and out.svg; out empty = nowhere.
func (r *report) write(out string) error {
	if out == "" {
		return nil
	}
	if err := os.WriteFile(out+".md", []byte(r.markdown()), 0o644); err != nil || len(r.starts) == 0 {
		return err
	}
	return os.WriteFile(out+".svg", []byte(r.plot()), 0o644)
}

func (r *report) markdown() string {
	var b strings.Builder
	b.WriteString("# Benchmark\n\nMade by `make bench`; a private PostgreSQL with fsync on, 8 workers. \"Bare\" is the same REFRESH on one\nconnection in the same run; for views that are due at once, a loop of REFRESH on the seven connections that one owner's runs may\nhave, timed to where each begins. Compare ratios, not figures: machines are shared and noisy.\n\n")
	b.WriteString("| what | bare | mvscheduler | ratio | aim | met |\n|---|---|---|---|---|---|\n")
	for _, f := range r.figures {
		met := "yes"
		switch {
		case f.Aim == "-":
			met = ""
		case !f.Met:
			met = "no"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", f.What, f.Bare, f.Ours, f.Ratio, f.Aim, met)
	}
	return b.String()
}

// plot draws the time from due to start by the number of views, on a logarithmic scale.
func (r *report) plot() string {
	const (
		width, height      = 640, 300
		left, top, bottom  = 90, 40, 50
		smallest, decades  = 1.0, 5.0 // from 1 ms to 100 s
		plotWidth          = width - left - 20
		plotHeight         = height - top - bottom
		bar, gap           = 36.0, 10.0
		p50Fill, p95Fill   = "#0072b2", "#e69f00"
		p50Label, p95Label = "p50", "p95"
	)
	y := func(d time.Duration) float64 {
		v := math.Log10(max(smallest, float64(d)/float64(time.Millisecond))/smallest) / decades
		return top + plotHeight*(1-v)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="13" role="img" aria-label="Time from due to start by number of views due at once">`+"\n", width, height)
	b.WriteString("<style>text { fill: #222 } line { stroke: #bbb } @media (prefers-color-scheme: dark) { text { fill: #ddd } line { stroke: #555 } }</style>\n")
	fmt.Fprintf(&b, `<text x="%d" y="20" font-weight="600">From due to start, by number of views due at once</text>`+"\n", left)
	for d := time.Millisecond; d <= 100*time.Second; d *= 10 {
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", left, width-20, y(d), y(d), left-8, y(d)+4, d)
	}
	step := float64(plotWidth) / float64(max(1, len(r.starts)))
	for i, s := range r.starts {
		x := left + step*float64(i) + (step-2*bar-gap)/2
		for j, part := range []struct {
			d    time.Duration
			fill string
		}{{s.p50, p50Fill}, {s.p95, p95Fill}} {
			px := x + float64(j)*(bar+gap)
			fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="%.0f" height="%.1f" fill="%s"/><text x="%.1f" y="%.1f" text-anchor="middle" font-size="11">%s</text>`+"\n",
				px, y(part.d), bar, top+plotHeight-y(part.d), part.fill, px+bar/2, y(part.d)-4, ms(part.d))
		}
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%d</text>`+"\n", x+bar+gap/2, height-bottom+20, s.views)
	}
	fmt.Fprintf(&b, `<rect x="%d" y="%d" width="12" height="12" fill="%s"/><text x="%d" y="%d">%s</text>`, left, height-22, p50Fill, left+18, height-11, p50Label)
	fmt.Fprintf(&b, `<rect x="%d" y="%d" width="12" height="12" fill="%s"/><text x="%d" y="%d">%s</text>`+"\n</svg>\n", left+70, height-22, p95Fill, left+88, height-11, p95Label)
	return b.String()
}

func percentile(all []time.Duration, p float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, int(math.Ceil(p*float64(len(sorted))))-1+0)]
}

func median(all []time.Duration) time.Duration { return percentile(all, 0.5) }

func medianOf(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

func ms(d time.Duration) string {
	switch v := float64(d) / float64(time.Millisecond); {
	case v >= 1000:
		return fmt.Sprintf("%.1f s", v/1000)
	case v >= 10:
		return fmt.Sprintf("%.0f ms", v)
	default:
		return fmt.Sprintf("%.1f ms", v)
	}
}

func times(a, b time.Duration) string { return fmt.Sprintf("%.2f x", float64(a)/float64(b)) }
