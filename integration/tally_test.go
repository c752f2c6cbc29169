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
	did       map[string]int // those of them that changed something, by kind
	failed    map[string]int // those that ended in an error that is tolerated, by SQLSTATE and command
	aimed     int            // kills that were to hit a session of a run
	hit       int            // and did
	within    int            // while it was in a step of a gate
}

// concurrently are errors that any statement that writes may meet beside others.
func concurrently(command string, code string) bool {
	switch code {
	case "40P01", "55P03": // two writers wait for each other, or for longer than their lock_timeout
		return true
	case "40001": // a row was moved to another partition meanwhile
		return command == "UPDATE" || command == "DELETE" || command == "MERGE" || command == "INSERT" // FOR UPDATE
	}
	return false
}

// play runs statements in order. Which errors they may meet is a matter of the command and the SQLSTATE; nothing that our own
// triggers raise is tolerated.
func (c *tally) play(r *rapid.T, w *pgx.Conn, statements []string, tolerated func(command, code string) bool) {
	for _, sql := range statements {
		command, _, _ := strings.Cut(sql, " ")
		done, err := execute(w, sql)
		c.mu.Lock()
		var failed *pgconn.PgError
		errors.As(err, &failed)
		writes := command != "BEGIN" && command != "COMMIT" && command != "ROLLBACK" && command != "SELECT"
		switch {
		case err == nil && !writes, failed != nil && failed.Code == "25P02" && !writes:
		case err == nil:
			c.succeeded++
			if kind := kindOf(sql); kind != "" && done.RowsAffected() > 0 {
				if c.did == nil {
					c.did = make(map[string]int)
				}
				c.did[kind]++
			}
		case failed != nil && (failed.Code == "25P02" || writes && tolerated(command, failed.Code) && failed.SchemaName != "mvscheduler" && !strings.Contains(failed.Where, "mvscheduler.")):
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

// execute runs a statement; of COPY the data are in the lines after the first one.
func execute(w *pgx.Conn, sql string) (pgconn.CommandTag, error) {
	if head, data, found := strings.Cut(sql, "\n"); found && strings.HasPrefix(sql, "COPY ") {
		return w.PgConn().CopyFrom(context.Background(), strings.NewReader(data), head)
	}
	return w.Exec(context.Background(), sql, pgx.QueryExecModeSimpleProtocol)
}

// kill ends the first session of the sidecar that does something, be it a refresh of a view, for which it asks until then, or a prune.
// Two of three wait a while for one that is within a step of a gate.
func (c *tally) kill(t testing.TB, s *scene, view string) {
	t.Helper()
	c.aimed++
	for deadline, look := time.Now().Add(patience), 0; time.Now().Before(deadline); look++ {
		if look%200 == 0 {
			pgtest.Exec(t, s.alice, fmt.Sprintf(`SELECT mvscheduler.refresh_view('%s')`, view))
		}
		within := "true"
		if c.aimed%3 > 0 && look < 1000 {
			within = "state = 'active' AND query LIKE 'REFRESH MATERIALIZED VIEW %'"
		}
		if ask[int](t, s.root, `SELECT count(pg_terminate_backend(pid))::int FROM pg_stat_activity WHERE application_name = 'mvscheduler run' AND datname = current_database() AND state <> 'idle' AND `+within) > 0 {
			c.hit++
			if within != "true" {
				c.within++
			}
			return
		}
		if within == "true" {
			time.Sleep(time.Millisecond)
		}
	}
}

// sound demands that most statements succeeded, as far as there were enough, and some of each kind, all kills hit, and refreshes had something to do.
func (c *tally) sound(t testing.TB, s *scene) {
	t.Helper()
	met := ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.attempt WHERE outcome = 'lost' OR sqlstate = '57P01'`)
	computed := ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.run AS r WHERE r.state = 'succeeded' AND r.buckets > 0 AND EXISTS (SELECT FROM mvscheduler.run AS f WHERE f.view_id = r.view_id AND f.id < r.id AND f.kind = r.kind AND f.state = 'succeeded')`)
	failed := 0
	for _, n := range c.failed {
		failed += n
	}
	words := make([]string, 0, len(c.failed))
	for _, what := range slices.Sorted(maps.Keys(c.failed)) {
		words = append(words, fmt.Sprintf("%s: %d", what, c.failed[what]))
	}
	t.Logf("%d statements succeeded, %d did not (%s); %d of %d kills hit a session, %d of them in a step, which %d attempts met; %d refreshes computed buckets", c.succeeded, failed, strings.Join(words, ", "), c.hit, c.aimed, c.within, met, computed)
	t.Logf("of each kind did something: %v", c.did)
	require.Greater(t, 4*c.succeeded, failed)
	for _, kind := range kinds {
		require.Positive(t, c.did[kind], kind)
	}
	require.Equal(t, c.aimed, c.hit, "kills hit")
	require.Positive(t, computed, "refreshes after the first one have computed something")
	if c.succeeded+failed > 1000 { // so many that chance has no say
		require.Greater(t, c.succeeded, failed, "most statements do something")
		require.Positive(t, c.hit)
		require.Positive(t, met)
	}
}
