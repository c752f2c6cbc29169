package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/words"
)

func (s *Server) run(ctx context.Context, r *http.Request) (RunPage, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return RunPage{}, &catalog.NotFoundError{Kind: "run", Name: r.PathValue("id")}
	}
	run, err := catalog.RunByID(ctx, s.DB, id)
	if err != nil {
		return RunPage{}, err
	}
	attempts, err := catalog.Attempts(ctx, s.DB, []int64{id})
	return RunPage{Run: run, Attempts: attempts}, err
}

// runOf is a run with the name that its view has now, which leads to the page of it; empty when there is none: the view was
// dropped, or it is a table.
type runOf struct {
	catalog.RunRecord
	Name string
}

// runBody is a run, its facts in words.
type runBody struct {
	RunPage
	Of       runOf
	Facts    []fact
	Tries    []try
	Progress string
	Path     string // in /river or elsewhere; empty = none
}

// try is an attempt beside the one before.
type try struct {
	catalog.AttemptRecord
	Took  string
	After string // how long after the end of the one before it began; empty of the first
	Same  bool   // it ended as the one before, with the same error
}

func triesOf(attempts []catalog.AttemptRecord) []try {
	tries := make([]try, len(attempts))
	for i, a := range attempts {
		t := try{AttemptRecord: a, Took: words.Nothing}
		if a.FinishedAt != nil {
			t.Took = words.Span(a.FinishedAt.Sub(a.StartedAt).Round(time.Millisecond))
		}
		if i > 0 {
			before := attempts[i-1]
			if before.FinishedAt != nil {
				t.After = words.Span(a.StartedAt.Sub(*before.FinishedAt).Round(time.Millisecond))
			}
			t.Same = a.Error != nil && a.Outcome == before.Outcome && words.TextOf(a.Error) == words.TextOf(before.Error) && words.TextOf(a.SQLState) == words.TextOf(before.SQLState)
		}
		tries[i] = t
	}
	return tries
}

type fact struct{ Key, Value string }

func (s *Server) runPage(ctx context.Context, r *http.Request) (page, error) {
	found, err := s.run(ctx, r)
	if err != nil {
		return page{}, err
	}
	run := found.Run
	view, err := catalog.StatusByID(ctx, s.DB, run.ViewID)
	var gone *catalog.NotFoundError
	if err != nil && !errors.As(err, &gone) {
		return page{}, err
	}
	b := runBody{RunPage: found, Of: runOf{run, view.Name}, Tries: triesOf(found.Attempts), Progress: words.Line(run.WaitingFor())}
	add := func(key, value string) {
		if value != "" && value != words.Nothing {
			b.Facts = append(b.Facts, fact{key, words.Line(value)})
		}
	}
	add("kind", run.Kind)
	add("cause", run.Cause)
	add("slot", moment(&run.Slot, run.AsOf))
	add("due", moment(&run.DueAt, run.AsOf))
	add("queued", moment(&run.QueuedAt, run.AsOf))
	add("started", moment(run.StartedAt, run.AsOf))
	add("finished", moment(run.FinishedAt, run.AsOf))
	add("took", took(run))
	add("method", words.TextOf(run.Method))
	add("why", words.TextOf(run.Reason))
	add("shows data as of", moment(run.DataAsOf, run.AsOf))
	add("rows", words.CountOf(run.Rows))
	add("buckets", words.CountOf(run.Buckets))
	add("size", words.BytesOf(run.SizeBytes))
	add("WAL", words.BytesOf(run.WALBytes))
	add("worker", words.TextOf(run.Worker))
	if run.MissedSlots > 0 {
		add("stands for", words.Plural(int64(run.MissedSlots), "missed slot"))
	}
	add("owner", run.Owner)
	p := page{Title: fmt.Sprintf("Run %d of %s", run.ID, words.Line(run.ViewName)), Path: "/views", JSON: fmt.Sprintf("/api/v1/runs/%d", run.ID), AsOf: run.AsOf, Body: b}
	if !run.Ended() {
		p.Refresh = 5
	}
	return p, nil
}
