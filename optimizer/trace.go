package optimizer

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// longestTrace bounds the span of a trace: a wrong unit of time would otherwise take all memory.
const longestTrace = 30 * 366 * 24 * time.Hour

// Trace is a record of events: reads of a view or changes of its sources.
type Trace struct {
	points []point       // in order of time
	step   time.Duration // of the bins that were read; zero: single events
}

type point struct {
	at    int64 // seconds since 1970; the start of the bin
	count int64
}

// ReadTrace reads comma-separated values, compressed with gzip or not. With the header "t,count" each line is
// a bin, t its start in seconds since 1970 and count the events in it; the width of the bins is the most
// frequent distance between two lines. With the header "t" each line is one event.
func ReadTrace(r io.Reader) (Trace, error) {
	in := bufio.NewReader(r)
	if magic, _ := in.Peek(2); len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		unzipped, err := gzip.NewReader(in)
		if err != nil {
			return Trace{}, fmt.Errorf("read a gzip trace: %w", err)
		}
		in = bufio.NewReader(unzipped)
	}
	lines := bufio.NewScanner(in)
	lines.Scan()
	header := strings.ReplaceAll(strings.TrimPrefix(strings.TrimSpace(lines.Text()), "\ufeff"), " ", "")
	if header != "t" && header != "t,count" && lines.Err() == nil {
		return Trace{}, fmt.Errorf("read a trace: the header is %.40q, it must be \"t,count\" or \"t\"", header)
	}
	var points []point
	for line := 2; lines.Scan(); line++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" {
			continue
		}
		p, err := parsePoint(text, header == "t,count")
		if lines.Err() != nil { // it is the beginning of a line
			break
		}
		if err != nil {
			return Trace{}, fmt.Errorf("read line %d of a trace: %w", line, err)
		}
		points = append(points, p)
	}
	if err := lines.Err(); err != nil {
		return Trace{}, fmt.Errorf("read a trace: %w", err)
	}
	return newTrace(points, header == "t,count")
}

// Trace is what was recorded, as a trace: in bins that are not known nothing was read, and something changed. Parts of a
// read, of hours that were spread, add up. The error says that there is nothing.
func (h History) Trace() (reads Trace, changes *Trace, err error) {
	of := func(counts []float64, unknown float64) (Trace, error) {
		var points []point
		var sum, given float64
		for i, n := range counts {
			if math.IsNaN(n) {
				n = unknown
			}
			sum += n
			count := math.Round(sum) - given
			given += count
			points = append(points, point{h.Grid.At(i).Unix(), int64(count)})
		}
		t, err := newTrace(points, true)
		t.step = h.Grid.Width
		return t, err
	}
	if reads, err = of(h.Reads, 0); err != nil || h.Changes == nil {
		return reads, nil, err
	}
	c, err := of(h.Changes, 1)
	return reads, &c, err
}

func parsePoint(text string, bins bool) (point, error) {
	fields := []string{text, "1"}
	if bins {
		if fields = strings.Split(text, ","); len(fields) != 2 {
			return point{}, fmt.Errorf("%q has %d fields, the header has two", text, len(fields))
		}
	}
	at, err := parseNumber(fields[0], "time", ": it is in epoch seconds, such as 1767225600")
	if err != nil {
		return point{}, err
	}
	count, err := parseNumber(fields[1], "count", "")
	if err != nil {
		return point{}, err
	}
	if count < 0 {
		return point{}, fmt.Errorf("the count %q is negative", fields[1])
	}
	return point{at, count}, nil
}

func parseNumber(text, what, hint string) (int64, error) {
	x, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || math.Abs(x) > 1<<52 || math.IsNaN(x) {
		return 0, fmt.Errorf("the %s %q is no number of a sensible size%s", what, text, hint)
	}
	return int64(math.Floor(x)), nil
}

func newTrace(points []point, bins bool) (Trace, error) {
	if len(points) == 0 {
		return Trace{}, errors.New("the trace is empty")
	}
	slices.SortStableFunc(points, func(a, b point) int { return cmp.Compare(a.at, b.at) })
	if span := points[len(points)-1].at - points[0].at; span > int64(longestTrace.Seconds()) {
		return Trace{}, fmt.Errorf("the trace spans %d days: is t really in seconds?", span/86400)
	}
	t := Trace{points: points}
	if bins {
		t.step = usualStep(points)
	}
	return t, nil
}

// usualStep is the most frequent distance between two bins; the smallest of several.
func usualStep(points []point) time.Duration {
	times := map[int64]int{}
	for i := 1; i < len(points); i++ {
		if d := points[i].at - points[i-1].at; d > 0 {
			times[d]++
		}
	}
	var best int64
	for d, n := range times {
		if n > times[best] || n == times[best] && d < best {
			best = d
		}
	}
	return time.Duration(best) * time.Second
}

// Counts are the events of a trace by bin of the given width, from the bin of the first event to that of the
// last; bins start at multiples of the width since 1970. A coarser bin of the trace is spread over its part
// of the grid: evenly where it holds at least 50 events a bin, else at random, always in the same way.
func (t Trace) Counts(width time.Duration) (start time.Time, counts []float64) {
	w := int64(width.Seconds())
	parts := max(1, int(t.step/width))
	first := floorDiv(t.points[0].at, w)
	last := floorDiv(t.points[len(t.points)-1].at, w) + int64(parts) - 1
	counts = make([]float64, last-first+1)
	random := newMersenne(1)
	for _, p := range t.points {
		bin := counts[floorDiv(p.at, w)-first:]
		switch k := int64(parts); {
		case k == 1:
			bin[0] += float64(p.count)
		case p.count >= 50*k:
			for j := range k {
				bin[j] += float64(p.count / k)
				if j < p.count%k {
					bin[j]++
				}
			}
		default:
			for range p.count {
				bin[random.below(parts)]++
			}
		}
	}
	if parts > 1 { // where the first and the last bin begin is not known any better than by their events
		for len(counts) > 1 && counts[len(counts)-1] == 0 {
			counts = counts[:len(counts)-1]
		}
		for len(counts) > 1 && counts[0] == 0 {
			counts = counts[1:]
			first++
		}
	}
	return time.Unix(first*w, 0).UTC(), counts
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func floorMod(a, b int64) int64 { return a - b*floorDiv(a, b) }
