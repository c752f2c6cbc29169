package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Nobody knows which buckets a row of a table has to do with that is joined without in_window.
func TestAChangeOfATableThatIsJoinedComputesAllAndSaysSo(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE names (device int PRIMARY KEY, name text)`, `INSERT INTO names VALUES (1, 'one'), (2, 'two')`)
	s.incremental(t, "v", `SELECT date_trunc('hour', m.ts) AS hour, n.name, count(*) AS n FROM metrics AS m LEFT JOIN names AS n ON n.device = m.device WHERE mvscheduler.in_window(m.ts) GROUP BY 1, 2`)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	for _, statement := range []string{`INSERT INTO names VALUES (3, 'three')`, `UPDATE names SET name = 'eins' WHERE device = 1`, `DELETE FROM names WHERE device = 2`} {
		pgtest.Exec(t, s.alice, statement)
		s.incremented(t, "v")
		same(t, s.alice, "v")
		require.Contains(t, s.last(t, "v", "reason"), "changed: everything ("+s.owner+".names changed, and any bucket may depend on it)", statement)
	}
}
