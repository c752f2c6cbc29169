package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/refresh"
)

// repair has the next refresh compute what is wrong.
func (v *verified) repair(ctx context.Context, conn *pgx.Conn, id int64, width time.Duration) error {
	if width == 0 {
		var run int64
		if err := conn.QueryRow(ctx, `SELECT mvscheduler.refresh_view($1)`, v.Name).Scan(&run); err != nil {
			return fmt.Errorf("refresh view %q: %w", v.Name, err)
		}
		v.Repair = fmt.Sprintf("asked for a refresh: run %d", run)
		return nil
	}
	var dirt []refresh.Dirt
	for _, b := range v.Differences {
		if b.State == bucketWrong {
			dirt = append(dirt, refresh.Dirt{Lo: &b.at, Hi: &b.at})
		}
	}
	starts, ends := coalesced(dirt, width)
	if err := catalog.MarkDirty(ctx, conn, id, starts, ends); err != nil {
		return err
	}
	v.Repair = fmt.Sprintf("%s marked as dirty, for the next refresh to compute", plural(int64(v.Wrong), "bucket"))
	return nil
}

// report says what was found; the error carries the exit code.
func (v *verified) report(a *app, c *verifyCmd) error {
	var err error
	if a.Output == "json" || a.Output == "yaml" {
		err = a.emitData(v)
	} else if len(v.Differences) > 0 || a.Output == "csv" {
		listed := v.Differences
		if a.Output != "csv" {
			listed = v.worst(differencesAtMost)
		}
		if err = emit(a, listed, verifyColumns(), ""); err == nil && len(listed) < len(v.Differences) {
			a.say("and %d more that differ, which -o json lists", len(v.Differences)-len(listed))
		}
	}
	if err != nil {
		return err
	}
	a.say("%s", v.summary())
	switch {
	case v.Repair != "":
		a.say("%s", v.Repair)
		if v.Method == refresh.Incremental {
			a.say("  do:  mvscheduler refresh --wait %s", shellQuote(v.Name))
		}
	case v.Wrong > 0 && !c.Repair:
		which := "" // others would be compared at random
		if v.Method == refresh.Incremental && (c.All || v.Compared < v.Buckets) {
			which = " --all"
		}
		a.say("  do:  mvscheduler verify %s%s --repair", shellQuote(v.Name), which)
	}
	if v.Wrong > 0 && v.Repair == "" {
		return &exitError{code: exitUnhealthy}
	}
	return nil
}

// differencesAtMost are the lines that a person reads.
const differencesAtMost = 50

// worst are so many differences, those that are wrong before those that are dirty where not all are wanted.
func (v *verified) worst(most int) []bucketVerified {
	if len(v.Differences) <= most {
		return v.Differences
	}
	return slices.SortedStableFunc(slices.Values(v.Differences), func(a, b bucketVerified) int {
		return strings.Compare(b.State, a.State) // wrong, dirty
	})[:most]
}

func (v *verified) summary() string {
	asOf := "never filled"
	if v.DataAsOf != nil {
		asOf = "data as of " + v.DataAsOf.UTC().Format("2006-01-02 15:04:05 UTC")
	}
	if v.Method != refresh.Incremental {
		if v.Wrong == 0 {
			return fmt.Sprintf("%s holds what its query gives (%s)", v.Name, asOf)
		}
		return fmt.Sprintf("%s is not what its query gives now (%s): what changed since then counts too, and so do functions such as now() and random()", v.Name, asOf)
	}
	words := []string{fmt.Sprintf("%s: compared %d of %s, %s (%s)", v.Name, v.Compared, plural(int64(v.Buckets), "bucket"), plural(v.Rows, "row"), asOf)}
	if v.Wrong+v.Dirty > 0 {
		agree := fmt.Sprintf("%d agree", v.Agree)
		if unstored := v.Wrong + v.Dirty - (v.Compared - v.Agree); unstored > 0 {
			agree += fmt.Sprintf(", %d more are not stored", unstored)
		}
		words = append(words, agree)
	}
	switch {
	case v.Wrong > 0:
		words = append(words, fmt.Sprintf("%d wrong", v.Wrong))
	case v.Dirty == 0:
		words = append(words, "all are what the query gives")
	}
	if v.Dirty > 0 {
		words = append(words, fmt.Sprintf("%d dirty: something changed below, and the next refresh computes them", v.Dirty))
	}
	if v.Frozen > 0 {
		words = append(words, fmt.Sprintf("%d left out: what they were made of has left", v.Frozen))
	}
	if v.Before != nil {
		words = append(words, "what is missing before "+v.Before.UTC().Format("2006-01-02 15:04:05 UTC")+" is not seen: it cannot be computed any more")
	}
	return strings.Join(words, "; ")
}

func verifyColumns() []column[bucketVerified] {
	return []column[bucketVerified]{
		{title: "bucket", cell: func(b bucketVerified) string {
			if b.Bucket == "" {
				return "(all)"
			}
			return b.Bucket
		}},
		{title: "state", cell: func(b bucketVerified) string { return b.State }, state: func(b bucketVerified) text.Colors {
			if b.State == bucketWrong {
				return stateColours("failed")
			}
			return stateColours("queued")
		}},
		{title: "missing", cell: func(b bucketVerified) string { return strconv.FormatInt(b.Missing, 10) }, right: true},
		{title: "extra", cell: func(b bucketVerified) string { return strconv.FormatInt(b.Extra, 10) }, right: true},
		{title: "different", cell: func(b bucketVerified) string { return strconv.FormatInt(b.Different, 10) }, right: true},
	}
}

// verifyProgress draws one line on a terminal; elsewhere it says a line every ten seconds.
type verifyProgress struct {
	a     *app
	spans []verifySpan
	began time.Time
	said  time.Time
	drawn bool
}

func (p *verifyProgress) show(n int, v *verified) {
	line := fmt.Sprintf("%3d %%  %d of %d parts, %s differ, %s", 100*n/len(p.spans), n, len(p.spans), plural(int64(v.Wrong+v.Dirty), "bucket"), span(time.Since(p.began).Round(time.Second)))
	if n > 0 {
		left := time.Duration(float64(time.Since(p.began)) / float64(n) * float64(len(p.spans)-n))
		line += fmt.Sprintf(", about %s left", span(left.Round(time.Second)))
	}
	switch {
	case p.a.errTerminal:
		fmt.Fprint(p.a.stderr, "\r\x1b[K"+sanitize(line))
		p.drawn = true
	case n > 0 && time.Since(p.said) > 10*time.Second && time.Since(p.began) > 10*time.Second:
		p.a.say("%s", line)
		p.said = time.Now()
	}
}

func (p *verifyProgress) clear() {
	if p.drawn {
		fmt.Fprint(p.a.stderr, "\r\x1b[K")
		p.drawn = false
	}
}
