package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A session that has been busy for a second reports its scans as soon as its transaction ends. Those of verify are noted by then,
// or a sample that comes between takes them for reads.
func TestWhatVerifyScansIsNotedBeforeItIsReported(t *testing.T) { // alone: samples keep to the clock
	s := newMetrics(t)
	s.incremental(t, "v", hourly)
	side := startSidecar(t, s.db, often...)
	s.incremented(t, "v")
	collecting(t, s.root)
	reported(t, s.alice)
	sampledTwice(t, s.root)
	slow, noting := s.db.Conn(t, ""), s.db.Conn(t, "")
	pgtest.Exec(t, slow, `BEGIN`, `LOCK TABLE `+s.owner+`.metrics IN ACCESS EXCLUSIVE MODE`)
	pgtest.Exec(t, noting, `BEGIN`, `INSERT INTO mvscheduler.verify_scan (relation, seq, idx, tuples, keys, fetched, backend)
		SELECT i.inhrelid, 0, 0, 0, 0, 0, b FROM pg_inherits AS i, generate_series(0, 255) AS b WHERE i.inhparent = '`+s.owner+`.v__data'::regclass`) // whose end the note waits for
	ended := make(chan int, 1)
	go func() { ended <- mvscheduler(t, s.db, s.owner, "", "verify", s.owner+".v", "--all").code }()
	waiting := `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND usename = $1::text AND wait_event_type = 'Lock' AND query LIKE $2)`
	until(t, s.root, waiting, s.owner, `%`)
	pgtest.Exec(t, s.root, `SELECT pg_sleep(1.5)`)
	pgtest.Exec(t, slow, `COMMIT`)
	until(t, s.root, waiting, s.owner, `%INSERT INTO mvscheduler.verify_scan%`)
	sampledTwice(t, s.root)
	pgtest.Exec(t, noting, `ROLLBACK`)
	require.Zero(t, <-ended)
	sampledTwice(t, s.root)
	require.Zero(t, side.stop())
	require.Zero(t, ask[int64](t, s.root, usage, "v"), "nobody has read it")
}
