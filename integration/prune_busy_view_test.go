package integration

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A refresh is asked for while the one before is under way, always: what prunes the view needs a run of its own in between.
func TestPartitionsLeaveAViewThatIsRefreshedWithoutAPause(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.minutely(t, "v", "change_tracking", "none", "lateness", "9 days")
	startSidecar(t, s.db)
	s.incremented(t, "v")
	asking := s.db.Conn(t, s.owner)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for tick := time.NewTicker(5 * time.Millisecond); ; {
			select {
			case <-done:
				return
			case <-tick.C:
				_, _ = asking.Exec(t.Context(), `SELECT mvscheduler.refresh_view('v')`)
			}
		}
	}()
	defer func() { close(done); <-ended }()
	until(t, s.root, `SELECT count(*) > 2 FROM mvscheduler.run WHERE kind = 'refresh' AND state = 'succeeded'`)
	asked := ask[int64](t, s.root, `SELECT max(r.id) FROM mvscheduler.run AS r`)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '3 days'`)
	until(t, s.root, `SELECT count(*) >= 5 FROM mvscheduler.pruning WHERE action = 'detach'`)
	require.Less(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.run AS r
		WHERE r.kind = 'refresh' AND r.state = 'succeeded' AND r.id > $1 AND r.id < (SELECT min(p.id) FROM mvscheduler.run AS p WHERE p.kind = 'prune')`, asked), int64(8), "refreshes before it")
}
