package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A plain view is replaced after it was recorded what it reads, and before the run looks at what is below. Locks on tables that only the one
// or the other needs make that moment last.
func TestAPlainViewThatIsReplacedBetweenTwoLooksIsFollowed(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE m (ts timestamptz NOT NULL, k int)`, `INSERT INTO m VALUES ('2026-03-01 10:00', 1)`, `CREATE TABLE w2 AS SELECT 1 AS w`,
		`CREATE VIEW weights AS SELECT 1 AS w`)
	s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, sum(k * w) AS n FROM m CROSS JOIN weights WHERE mvscheduler.in_window(ts) GROUP BY 1`)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	s.incremented(t, "v")

	recording, looking := s.db.Conn(t, ""), s.db.Conn(t, "")
	waits := func(table string) {
		t.Helper()
		until(t, s.root, `SELECT EXISTS (SELECT FROM pg_locks WHERE relation = $1::text::regclass AND NOT granted)`, table)
	}
	pgtest.Exec(t, s.alice, `CREATE OR REPLACE VIEW weights AS SELECT 2 AS w`)
	pgtest.Exec(t, recording, `BEGIN`, `LOCK TABLE mvscheduler.dirt IN SHARE MODE`)
	run := ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
	waits("mvscheduler.dirt")
	pgtest.Exec(t, looking, `BEGIN`, `LOCK TABLE mvscheduler.increment_state IN ACCESS EXCLUSIVE MODE`)
	pgtest.Exec(t, recording, `COMMIT`)
	waits("mvscheduler.increment_state")
	pgtest.Exec(t, s.alice, `CREATE OR REPLACE VIEW weights AS SELECT w FROM w2`)
	pgtest.Exec(t, looking, `COMMIT`)
	require.Equal(t, "succeeded", s.ended(t, run))
	same(t, s.alice, "v")

	pgtest.Exec(t, s.alice, `INSERT INTO w2 VALUES (10)`)
	s.incremented(t, "v")
	same(t, s.alice, "v")
}
