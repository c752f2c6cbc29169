package jobs

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/refresh"
)

const (
	outcomeSucceeded = "succeeded"
	outcomeFailed    = "failed"
	outcomeBusy      = "busy"
	outcomeLost      = "lost"
	outcomeCancelled = "cancelled"
	outcomeSkipped   = "skipped"

	stateQueued    = "queued"
	stateFailed    = "failed"
	stateCancelled = "cancelled"

	stopCancel   = "cancel"
	stopDeadline = "deadline"
	stopYield    = "yield"
)

// busyTries is how often a run may find locks taken before that counts as a failed attempt: somebody has
// to hear of it, and a function can raise the error of a lock as well.
const busyTries = 60

// lostTries is how often a run may lose its backend, its connection or its sidecar before that counts as
// a failed attempt: mostly it is not the query's fault, but a query can be what ends the server.
const lostTries = 5

// verdict is what becomes of an attempt that did not succeed: what is recorded, and when the run is
// tried again if it is still queued.
type verdict struct {
	catalog.Failure
	Retry time.Duration
}

// ended describes an attempt that ended without success.
type ended struct {
	View         string // qualified name
	Err          error
	Stop         string // why a sidecar told the backend to stop; empty when none did
	ShuttingDown bool   // this process is ending
	Gone         bool   // the row of the view was deleted meanwhile
	Edited       bool   // it was changed meanwhile: what failed may be mended already
	Counted      int    // attempts that counted before this one
	MaxAttempts  int
	Busy         int // attempts before this one that did not count: busy, made way, lost
}

// judge is the whole policy of retries. It is pure but for the jitter of Retry.
//
// What nobody can help (a lock, a server that restarts, our own shutdown) does not count towards
// max_attempts; what the query or its surroundings did does. An error that only a person can mend
// pauses the view at once.
func judge(e ended) verdict {
	class := refresh.Classify(e.Err)
	v := verdict{Failure: catalog.Failure{
		Outcome: outcomeFailed, RunState: stateQueued, Counts: true,
		SQLState: refresh.SQLState(e.Err), Error: refresh.Describe(e.Err),
	}}

	switch {
	case e.Gone:
		v.Outcome, v.RunState, v.Counts = outcomeCancelled, stateCancelled, false
		v.Reason = "the view was dropped"
		return v
	case e.Stop == stopCancel:
		v.Outcome, v.RunState, v.Counts = outcomeCancelled, stateCancelled, false
		v.Reason = "cancelled on request"
		return v
	case e.Stop == stopYield:
		v.Outcome, v.Counts = outcomeBusy, false
		v.Reason = "made way for DDL that waited behind it"
		v.Retry = backoff(e.Busy, 2*time.Second, time.Minute)
		return v
	case e.ShuttingDown:
		v.Outcome, v.Counts = outcomeCancelled, false
		v.Reason = "the sidecar was shut down; the next one goes on"
		return v
	case e.Stop == stopDeadline:
		v.SQLState = "57014"
		v.Error = "the refresh went on after its statement_timeout and its backend was terminated"
		class = refresh.Resource
	case class == refresh.Busy && e.Busy < busyTries:
		v.Outcome, v.Counts = outcomeBusy, false
		v.Retry = backoff(e.Busy, time.Second, time.Minute)
		v.Reason = fmt.Sprintf("a lock was not had in time, next try in %s", v.Retry.Round(time.Second))
		return v
	case class == refresh.Away && e.Busy < lostTries:
		v.Counts = false
		v.Retry = backoff(e.Busy, time.Second, time.Minute)
		v.Reason = "the server went away, next try when it is back"
		return v
	}

	advice := refresh.Advice(class, v.SQLState, e.Err)
	if class == refresh.Permanent && e.Edited {
		v.Counts = false
		v.Retry = backoff(e.Busy, time.Second, time.Minute)
		v.Reason = "the view was changed meanwhile and is tried again as it is now"
		return v
	}
	if class == refresh.Permanent {
		v.RunState, v.Reason = stateFailed, advice
		if advice == "" {
			v.Reason = "The view is paused until then."
		} else {
			advice += " "
		}
		v.Pause = fmt.Sprintf("%s (%s). %sThen: SELECT mvscheduler.resume_view('%s').", v.Error, v.SQLState, advice, strings.ReplaceAll(e.View, "'", "''"))
		return v
	}
	if e.Counted+1 >= e.MaxAttempts {
		v.RunState = stateFailed
		v.Reason = fmt.Sprintf("gave up after %d attempts; the next slot tries again. %s", e.Counted+1, advice)
		return v
	}
	first, most := time.Second, 5*time.Minute
	if class == refresh.Resource || class == refresh.Away {
		first, most = 10*time.Second, 15*time.Minute
	}
	v.Retry = backoff(e.Counted, first, most)
	v.Reason = fmt.Sprintf("attempt %d of %d failed, next try in %s. %s", e.Counted+1, e.MaxAttempts, v.Retry.Round(time.Second), advice)
	return v
}

// errLost stands for the error that a lost attempt's worker would have seen.
var errLost = fmt.Errorf("the backend of this attempt is gone: its sidecar or the server died: %w", io.EOF)

// afterLoss judges an attempt whose backend is gone and whose worker has said nothing yet: it died, or was
// slower than the reaper, which ended the backend itself when it was to stop.
func afterLoss(l catalog.Lost) verdict {
	v := judge(ended{View: l.ViewName, Err: errLost, Stop: l.Stop, Counted: l.Counted, MaxAttempts: l.MaxAttempts, Busy: l.Number - l.Counted - 1})
	if l.Stop != "" {
		return v
	}
	v.Outcome = outcomeLost
	if !v.Counts {
		v.Retry, v.Reason = 0, "the attempt was lost, the next one begins at once"
	}
	return v
}

// backoff doubles from first to most with the number of earlier tries, less up to a third at random so
// that views which failed together do not come back together.
func backoff(tries int, first, most time.Duration) time.Duration {
	d := most
	if tries < 16 {
		d = min(most, first<<tries)
	}
	return d - rand.N(d/3)
}
