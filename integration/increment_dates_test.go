package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// least and greatest pass NULL over, but a date that is NULL, or infinite, is in no bucket, so it is no change of any.
func TestADateThatIsNullChangesNoBucket(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE days (d date, k int)`, `INSERT INTO days VALUES ('2020-03-01', 1), ('2026-03-01', 1)`)
	s.incremental(t, "v", `SELECT d AS hour, count(*) AS n FROM days WHERE mvscheduler.in_window(d) GROUP BY 1`, "bucket_width", "1 day")
	startSidecar(t, s.db)
	s.incremented(t, "v")
	for _, d := range []string{"NULL", "'-infinity'", "'infinity'"} {
		pgtest.Exec(t, s.alice, `INSERT INTO days VALUES (`+d+`, 1)`)
		s.incremented(t, "v")
		t.Log(d, s.last(t, "v", "reason"))
	}
	pgtest.Exec(t, s.alice, `INSERT INTO days VALUES (NULL, 1), ('2026-03-01', 1)`)
	s.incremented(t, "v")
	require.Contains(t, s.last(t, "v", "reason"), "changed: 2026-03-01 00:00:00 UTC;")
}
