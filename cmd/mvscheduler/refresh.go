package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/mvscheduler/mvscheduler/catalog"
)

type refreshCmd struct {
	zoned
	Names   []string      `arg:"" name:"name" complete:"view" help:"The views."`
	Wait    bool          `short:"w" help:"Wait until each view shows at least everything that was committed before this call, of views that it reads and that are not named what they show. Exit with 1 when one fails."`
	Timeout time.Duration `placeholder:"DURATION" help:"With --wait: give up waiting after this time, for example 5m; the refresh goes on. Default: never."`
}

func (refreshCmd) Help() string {
	return `Asks the sidecar for a refresh that starts after this call, and after the run that is under way, if any. Of views that are asked for together, those that others read are refreshed first; one that is not named is not refreshed. Works for paused views too. Prints the run's number.

Examples:

  mvscheduler refresh analytics.daily
  mvscheduler refresh --wait --timeout 5m analytics.daily analytics.weekly

The same in SQL: SELECT mvscheduler.refresh_view('analytics.daily')

` + exitCodesHelp
}

// requested is a refresh that was asked for and how far it is.
type requested struct {
	Name  string `json:"name"`
	RunID int64  `json:"run_id"`
	State string `json:"state"` // of the run; "requested" until a sidecar has taken it up
	Error string `json:"error"` // or the reason; empty when there is none
	run   *catalog.RunRecord
	ahead *catalog.RunRecord // after which it begins; nil = none
	told  int                // tries of the run of which the user was told
}

// Run asks for the refreshes and waits for them when told to.
func (c *refreshCmd) Run(ctx context.Context, a *app) error {
	if err := c.apply(a); err != nil {
		return err
	}
	if c.Timeout < 0 || c.Timeout > 0 && !c.Wait {
		return usagef("--timeout is a positive time and needs --wait")
	}
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		var (
			asked []requested
			ids   []int64
		)
		for _, name := range c.Names {
			id, err := a.find(ctx, conn, name)
			if err != nil {
				return err
			}
			ids = append(ids, id)
		}
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			for _, id := range ids {
				s, err := catalog.StatusByID(ctx, tx, id)
				if err != nil {
					return err
				}
				r := requested{Name: s.Name, State: "requested"}
				if err := tx.QueryRow(ctx, `SELECT mvscheduler.refresh_view($1)`, s.Name).Scan(&r.RunID); err != nil {
					return fmt.Errorf("refresh view %q: %w", s.Name, err)
				}
				asked = append(asked, r)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if c.Wait {
			err = a.waitFor(ctx, conn, asked, c.Timeout)
		}
		if outErr := emit(a, asked, requestColumns(), ""); outErr != nil {
			return outErr
		}
		return err
	})
}

func requestColumns() []column[requested] {
	return []column[requested]{
		{title: "view", cell: func(r requested) string { return r.Name }},
		{title: "run", cell: func(r requested) string { return strconv.FormatInt(r.RunID, 10) }, right: true},
		{title: "state", cell: func(r requested) string { return mark(r.State) }, state: func(r requested) text.Colors { return stateColours(r.State) }},
		{title: "why", cell: func(r requested) string { return r.Error }, wrap: true},
	}
}

const (
	pollEvery     = 250 * time.Millisecond
	nobodyIsThere = 5 * time.Second // without any sign of a sidecar
	seldom        = 10 * time.Second
)

// waitFor polls the runs until each has ended, and keeps asked up to date. A run may end as skipped
// because another one, begun after the request, answers it: then that one is waited for.
func (a *app) waitFor(ctx context.Context, conn *pgx.Conn, asked []requested, timeout time.Duration) error {
	began := time.Now()
	var expired <-chan time.Time
	if timeout > 0 {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		expired = timer.C
	}
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	draw := progress{a: a, began: began, taken: began}
	defer draw.clear()
	for {
		open := 0
		for i := range asked {
			// The tries are read first: after a try that has ended the run says when the next one comes.
			tries, err := asked[i].newTries(ctx, conn)
			if err != nil {
				return err
			}
			if err := asked[i].update(ctx, conn); err != nil {
				return err
			}
			for _, words := range asked[i].tell(tries) {
				draw.clear()
				a.say("%s", words)
			}
			if !asked[i].ended() {
				open++
			}
		}
		if open == 0 {
			break
		}
		draw.show(asked)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-expired:
			return fmt.Errorf("%s not done after %s; the refresh goes on: mvscheduler runs", plural(int64(open), "run"), timeout)
		case <-poll.C:
		}
	}
	draw.clear()
	failed := false
	for _, r := range asked {
		if r.State != "succeeded" {
			a.say("error: refresh view %q: run %d %s: %s\n  do:  mvscheduler show %s", r.Name, r.RunID, r.State, r.Error, shellQuote(r.Name))
			failed = true
		}
	}
	if failed {
		return &exitError{code: exitFailure}
	}
	return nil
}

func (r *requested) ended() bool {
	switch r.State {
	case "succeeded", "failed", "cancelled", "skipped", "dropped":
		return true
	}
	return false
}

// update reads the run's state.
func (r *requested) update(ctx context.Context, conn *pgx.Conn) error {
	if r.ended() {
		return nil
	}
	run, err := catalog.RunByID(ctx, conn, r.RunID)
	var missing *catalog.NotFoundError
	if errors.As(err, &missing) {
		_, err := catalog.FindView(ctx, conn, r.Name)
		if errors.As(err, &missing) {
			r.State, r.Error = "dropped", "the view was dropped meanwhile"
			return nil
		}
		return err
	}
	if err != nil {
		return err
	}
	r.run, r.ahead = &run, nil
	if run.State == "queued" {
		open, err := catalog.Runs(ctx, conn, catalog.RunFilter{ViewID: run.ViewID, Open: true}) // of a long run hundreds of slots were skipped since
		if err != nil {
			return err
		}
		r.ahead = runAhead(run, open)
	}
	if run.State == "skipped" && run.JoinedRun != nil {
		r.RunID, r.State, r.run, r.told = *run.JoinedRun, "queued", nil, 0
		return r.update(ctx, conn)
	}
	r.State, r.Error = run.State, ""
	if run.State != "succeeded" {
		r.Error = runWords(run)
	}
	return nil
}

// runAhead is which of the runs of a view has to end before one that waits begins; nil = none.
func runAhead(run catalog.RunRecord, runs []catalog.RunRecord) *catalog.RunRecord {
	for i, other := range runs {
		if other.ID < run.ID && other.Kind == "refresh" && !other.Ended() {
			return &runs[i]
		}
	}
	return nil
}

// progress shows how far requests are: on a terminal one line that is drawn again, else a line when another state
// begins, and now and then.
type progress struct {
	a      *app
	began  time.Time
	taken  time.Time // when there was last a sign of a sidecar, or it began
	last   string    // off a terminal: the line that was written last,
	states string    // the states in it,
	said   time.Time // and when
	drawn  bool
	warned bool
}

func (p *progress) show(asked []requested) {
	var parts []string
	taken, states := false, ""
	for _, r := range asked {
		states += r.State + " "
		if r.ended() {
			taken = true
			continue
		}
		part := r.Name + " " + mark(r.State)
		if r.run != nil {
			taken = taken || r.run.StartedAt != nil || r.run.Attempts > 0
			part += p.doing(*r.run)
		}
		if r.ahead != nil {
			taken = taken || r.ahead.StartedAt != nil || r.ahead.Attempts > 0
			part += ", begins after run " + strconv.FormatInt(r.ahead.ID, 10) + " " + mark(r.ahead.State) + p.doing(*r.ahead)
			if r.ahead.State == "queued" && r.ahead.Error != nil {
				part += ": " + runWords(*r.ahead) // between two attempts
			}
		}
		parts = append(parts, part)
	}
	elapsed := time.Since(p.began)
	if taken {
		p.taken = time.Now()
	}
	if !p.warned && time.Since(p.taken) > nobodyIsThere {
		p.warned = true
		p.clear()
		p.a.say("no sidecar has taken it up after %s: is one running? See: mvscheduler serve --help", span(nobodyIsThere))
	}
	line := sanitize(strings.Join(parts, "   "))
	if !p.a.errTerminal {
		if line != p.last && (states != p.states || time.Since(p.said) >= seldom) {
			fmt.Fprintln(p.a.stderr, line)
			p.last, p.states, p.said = line, states, time.Now()
		}
		return
	}
	width := p.a.width
	if width == 0 {
		width = 80
	}
	line = text.Snip(span(elapsed.Round(time.Second))+"  "+line, width-1, "…")
	fmt.Fprint(p.a.stderr, "\r\x1b[K"+line)
	p.drawn = true
}

// doing is for how long a run has been under way, and how far it is.
func (p *progress) doing(run catalog.RunRecord) string {
	var words string
	if run.State == "running" && p.a.errTerminal {
		words = " " + span(run.Took().Round(time.Second))
	}
	if w := run.WaitingFor(); w != "" {
		words += ": " + runBar(run, p.a.errTerminal) + w
	}
	return words
}

func (p *progress) clear() {
	if p.drawn {
		fmt.Fprint(p.a.stderr, "\r\x1b[K")
		p.drawn = false
	}
}
