package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/mvscheduler/mvscheduler/catalog"
)

func pgError(code string) error {
	return fmt.Errorf("refresh view %q: %w", "app.v", &pgconn.PgError{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: code, Message: "boom"})
}

func TestJudge(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		ended   ended
		outcome string
		state   string
		counts  bool
		pause   bool
	}{
		{"a lock that was not had is tried again and does not count", ended{Err: pgError("55P03"), MaxAttempts: 3}, outcomeBusy, stateQueued, false, false},
		{"bad data counts and is tried again", ended{Err: pgError("22012"), MaxAttempts: 3}, outcomeFailed, stateQueued, true, false},
		{"the last attempt fails the run", ended{Err: pgError("22012"), Counted: 2, MaxAttempts: 3}, outcomeFailed, stateFailed, true, false},
		{"a missing table pauses the view at once", ended{View: "app.v", Err: pgError("42P01"), MaxAttempts: 3}, outcomeFailed, stateFailed, true, true},
		{"a cancelled run ends", ended{Err: pgError("57014"), Stop: stopCancel, MaxAttempts: 3}, outcomeCancelled, stateCancelled, false, false},
		{"a refresh that made way is tried again", ended{Err: pgError("57014"), Stop: stopYield, MaxAttempts: 3}, outcomeBusy, stateQueued, false, false},
		{"a run whose view was dropped meanwhile is cancelled", ended{Err: pgError("42P01"), Gone: true, MaxAttempts: 3}, outcomeCancelled, stateCancelled, false, false},
		{"what only a person can mend is tried again when somebody changed the view meanwhile", ended{Err: pgError("42P01"), Edited: true, MaxAttempts: 3}, outcomeFailed, stateQueued, false, false},
		{"a shutdown counts no attempt", ended{Err: context.Canceled, ShuttingDown: true, MaxAttempts: 1}, outcomeCancelled, stateQueued, false, false},
		{"a terminated backend past its deadline counts", ended{Err: errors.New("unexpected EOF"), Stop: stopDeadline, MaxAttempts: 3}, outcomeFailed, stateQueued, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := judge(tt.ended)
			require.Equal(t, tt.outcome, v.Outcome)
			require.Equal(t, tt.state, v.RunState)
			require.Equal(t, tt.counts, v.Counts)
			require.Equal(t, tt.pause, v.Pause != "", v.Pause)
			require.NotEmpty(t, v.Reason)
		})
	}
}

func TestWhatTheServerLacksIsGivenMoreTime(t *testing.T) {
	t.Parallel()
	for sqlstate, first := range map[string]time.Duration{"22012": time.Second, "53100": 10 * time.Second, "54000": 10 * time.Second} {
		retry := judge(ended{Err: pgError(sqlstate), MaxAttempts: 3}).Retry
		require.LessOrEqual(t, retry, first, sqlstate)
		require.Greater(t, retry, first/2, sqlstate)
	}
}

func TestALostAttemptIsTriedAgainUntilTheAttemptsAreSpent(t *testing.T) {
	t.Parallel()
	lost := func(number, counted int) catalog.Lost {
		return catalog.Lost{Attempt: catalog.Attempt{Number: number}, Counted: counted, MaxAttempts: 2}
	}
	first := afterLoss(lost(1, 0))
	require.Equal(t, stateQueued, first.RunState)
	require.False(t, first.Counts, "sidecars die, which is not the query's fault")
	often := afterLoss(lost(lostTries+1, 0))
	require.Equal(t, stateQueued, often.RunState)
	require.True(t, often.Counts, "a query that ends its server every time is not tried for ever")
	require.Equal(t, stateFailed, afterLoss(lost(lostTries+2, 1)).RunState)
	require.Zero(t, first.Retry)
	require.Equal(t, outcomeLost, often.Outcome)
	require.NotZero(t, often.Retry)
}

func TestABackendThatTheReaperEndedIsJudgedTheSameWhoeverIsFirst(t *testing.T) {
	t.Parallel()
	for _, stop := range []string{stopCancel, stopDeadline, stopYield} {
		byReaper := afterLoss(catalog.Lost{Attempt: catalog.Attempt{Number: 1}, MaxAttempts: 1, Stop: stop})
		byWorker := judge(ended{Err: errLost, Stop: stop, MaxAttempts: 1})
		byReaper.Retry, byWorker.Retry = 0, 0
		require.Equal(t, byWorker, byReaper)
	}
}

func TestAQueryThatEndsItsServerEveryTimeIsGivenUp(t *testing.T) {
	t.Parallel()
	attempts, counted, waited := 0, 0, time.Duration(0)
	for v := (verdict{}); v.RunState != stateFailed; attempts++ {
		require.Less(t, attempts, 100)
		v = judge(ended{Err: fmt.Errorf("refresh view: %w", io.ErrUnexpectedEOF), Counted: counted, MaxAttempts: 3, Busy: attempts - counted})
		require.Empty(t, v.Pause)
		if v.Counts {
			counted++
		}
		waited += v.Retry
	}
	require.Equal(t, lostTries+3, attempts)
	require.Greater(t, waited, 30*time.Second, "it comes back ever later")
}

func TestBackoffGrowsWithinItsBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tries := rapid.IntRange(0, 100).Draw(t, "tries")
		first := time.Duration(rapid.Int64Range(int64(10*time.Millisecond), int64(time.Minute)).Draw(t, "first"))
		most := first * time.Duration(rapid.Int64Range(1, 100).Draw(t, "factor"))
		d := backoff(tries, first, most)
		require.LessOrEqual(t, d, most)
		require.GreaterOrEqual(t, d, first*2/3)
		others := map[time.Duration]bool{}
		for range 20 {
			others[backoff(tries, first, most)] = true
		}
		require.Greater(t, len(others), 5, "views that failed together come back apart")
	})
}
