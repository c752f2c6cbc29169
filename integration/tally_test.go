package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// tally counts what random histories did, so that none passes without having tested anything.
type tally struct {
	mu        sync.Mutex
	succeeded int            // statements
	failed    map[string]int // those that ended in an error that is tolerated, by SQLSTATE and command
	aimed     int            // kills that were to hit a session of a run
	hit       int            // and did
}

// concurrently are errors that any statement that writes may meet beside others.
func concurrently(command string, code string) bool {
	switch code {
	case "40P01", "55P03": // two writers wait for each other, or for longer than their lock_timeout
		return true
	case "40001": // a row was moved to another partition meanwhile
		return command == "UPDATE" || command == "DELETE" || command == "MERGE"
	}
	return false
}

// play runs statements in order. Which errors they may meet is a matter of the command and the SQLSTATE; nothing that our own
// triggers raise is tolerated.
func (c *tally) play(r *rapid.T, w *pgx.Conn, statements []string, tolerated func(command, code string) bool) {
	for _, sql := range statements {
		command, _, _ := strings.Cut(sql, " ")
		_, err := w.Exec(context.Background(), sql, pgx.QueryExecModeSimpleProtocol)
		c.mu.Lock()
		var failed *pgconn.PgError
		switch {
		case command == "BEGIN" || command == "COMMIT" || command == "ROLLBACK" || command == "SELECT":
			if err != nil && !(errors.As(err, &failed) && failed.Code == "25P02") {
				r.Errorf("%s: %v", sql, err)
			}
		case err == nil:
			c.succeeded++
		case errors.As(err, &failed) && (failed.Code == "25P02" || tolerated(command, failed.Code) && failed.SchemaName != "mvscheduler" && !strings.Contains(failed.Where, "mvscheduler.")):
			if c.failed == nil {
				c.failed = make(map[string]int)
			}
			c.failed[failed.Code+" "+command]++
		default:
			r.Errorf("%s: %v %+v", sql, err, failed)
		}
		c.mu.Unlock()
	}
}

// kill asks for a refresh of a view and ends the first session of the sidecar that does something, be it that or a prune.
func (c *tally) kill(t testing.TB, s *scene, view string) {
	t.Helper()
	pgtest.Exec(t, s.alice, fmt.Sprintf(`SELECT mvscheduler.refresh_view('%s')`, view))
	c.aimed++
	for deadline := time.Now().Add(patience / 9); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if ask[int](t, s.root, `SELECT count(pg_terminate_backend(pid))::int FROM pg_stat_activity WHERE application_name = 'mvscheduler run' AND datname = current_database() AND state <> 'idle'`) > 0 {
			c.hit++
			return
		}
	}
}

// sound demands that most statements succeeded, and most kills hit.
func (c *tally) sound(t testing.TB, s *scene) {
	t.Helper()
	met := ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.attempt WHERE outcome = 'lost' OR sqlstate = '57P01'`)
	failed := 0
	for _, n := range c.failed {
		failed += n
	}
	words := make([]string, 0, len(c.failed))
	for _, what := range slices.Sorted(maps.Keys(c.failed)) {
		words = append(words, fmt.Sprintf("%s: %d", what, c.failed[what]))
	}
	t.Logf("%d statements succeeded, %d did not (%s); %d of %d kills hit a session, which %d attempts met", c.succeeded, failed, strings.Join(words, ", "), c.hit, c.aimed, met)
	require.Positive(t, c.succeeded)
	require.Greater(t, c.succeeded, failed, "most statements do something")
	require.GreaterOrEqual(t, 2*c.hit, c.aimed, "most kills hit")
	if c.succeeded > 500 { // long enough that chance has no say
		require.Positive(t, c.hit)
		require.Positive(t, met)
	}
}
