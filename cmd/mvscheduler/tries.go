package main

import (
	"context"
	"fmt"
	"regexp"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/catalog"
)

// newTries are the tries of the run that have ended and that the user does not know of.
func (r *requested) newTries(ctx context.Context, conn *pgx.Conn) ([]catalog.AttemptRecord, error) {
	if r.ended() || r.run == nil {
		return nil, nil
	}
	all, err := catalog.Attempts(ctx, conn, []int64{r.RunID})
	if err != nil {
		return nil, err
	}
	var ended []catalog.AttemptRecord
	for _, try := range all {
		if try.Attempt > r.told && try.Outcome != "running" {
			ended = append(ended, try)
		}
	}
	return ended, nil
}

var nextTry = regexp.MustCompile(`next try (in [^.;]+|when it is back)`)

// tell says of each try how it ended, and when the next one comes. The last one of a run ends it, and the error of
// the run is told at the end.
func (r *requested) tell(tries []catalog.AttemptRecord) []string {
	var said []string
	for i, try := range tries {
		r.told = try.Attempt
		if r.ended() && i == len(tries)-1 || try.Outcome == "succeeded" {
			continue
		}
		words := fmt.Sprintf("refresh view %q: run %d: attempt %d %s", r.Name, r.RunID, try.Attempt, tryWords[try.Outcome])
		if try.Error != nil {
			words += ": " + *try.Error
		}
		if try.SQLState != nil {
			words += " (SQLSTATE " + *try.SQLState + ")"
		}
		if r.run != nil && r.run.State == "queued" && i == len(tries)-1 {
			if next := nextTry.FindString(textOf(r.run.Reason)); next != "" {
				words += "; " + next
			}
		}
		said = append(said, words)
	}
	return said
}

var tryWords = map[string]string{"failed": "failed", "busy": "stepped back", "lost": "was lost", "cancelled": "was cancelled"}
