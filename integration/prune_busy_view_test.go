package integration

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// askedAlways asks for a refresh of v all the time, until what it returns is called.
func (s *scene) askedAlways(t testing.TB) (end func()) {
	t.Helper()
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
	return func() { close(done); <-ended }
}

// A refresh is asked for while the one before is under way, always: what prunes the view needs a run of its own in between.
func TestPartitionsLeaveAViewThatIsRefreshedWithoutAPause(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.minutely(t, "v", "change_tracking", "none", "lateness", "9 days")
	startSidecar(t, s.db)
	s.incremented(t, "v")
	defer s.askedAlways(t)()
	until(t, s.root, `SELECT count(*) > 2 FROM mvscheduler.run WHERE kind = 'refresh' AND state = 'succeeded'`)
	asked := ask[int64](t, s.root, `SELECT max(r.id) FROM mvscheduler.run AS r`)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '3 days'`)
	until(t, s.root, `SELECT count(*) >= 5 FROM mvscheduler.pruning WHERE action = 'detach'`)
	require.Less(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.run AS r
		WHERE r.kind = 'refresh' AND r.state = 'succeeded' AND r.id > $1 AND r.id < (SELECT min(p.id) FROM mvscheduler.run AS p WHERE p.kind = 'prune')`, asked), int64(8), "refreshes before it")
}

// The dispatcher moves the clock of a view while it is refreshed, when that takes longer than its interval. The run that prunes it, which is
// made where the refresh ends, is no reason to do that again.
func TestARefreshThatOutlastsItsIntervalIsNotRepeatedForTheRunThatPrunes(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	pgtest.Exec(t, s.alice, `INSERT INTO readings VALUES (now(), 3, 3)`)
	s.incremental(t, "v", `SELECT date_trunc('minute', ts) AS minute, device, count(*) AS n, slow(CASE WHEN device = 3 THEN 2 ELSE 0 END) AS paused
		FROM readings WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, "time_column", "minute", "bucket_width", "1 minute", "change_tracking", "none", "lateness", "9 days", "refresh_interval", "1 second")
	sidecar := startSidecar(t, s.db)
	until(t, s.root, `SELECT count(*) > 2 FROM mvscheduler.run WHERE kind = 'refresh' AND state = 'succeeded'`)
	until(t, s.root, `SELECT count(*) > 0 FROM mvscheduler.run WHERE kind = 'refresh' AND state = 'skipped' AND reason LIKE '%was still under way%'`)
	defer s.askedAlways(t)()
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '3 days'`)
	until(t, s.root, `SELECT count(*) >= 5 FROM mvscheduler.pruning WHERE action = 'detach'`)
	require.NotContains(t, sidecar.log.String(), "could not serialize access")
}
