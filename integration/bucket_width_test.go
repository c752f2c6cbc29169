package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// The query cuts wider than bucket_width says. No try can succeed before somebody changes the row, so there is one, and the reason is
// about the row and neither about data nor about what a step is made of.
func TestAWrongBucketWidthPausesTheViewAndSaysWhatToChange(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	const daily = `SELECT date_trunc('day', ts) AS hour, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1`
	s.incremental(t, "filled", daily)
	pgtest.Exec(t, s.alice, `CREATE TABLE late (ts timestamptz NOT NULL)`, `INSERT INTO late VALUES ('2026-03-02 00:10+00')`)
	s.incremental(t, "went_on", `SELECT date_trunc('day', ts) AS hour, count(*) AS n FROM late WHERE mvscheduler.in_window(ts) GROUP BY 1`)
	startSidecar(t, s.db)
	s.incremented(t, "went_on")
	pgtest.Exec(t, s.alice, `INSERT INTO late VALUES ('2026-03-02 20:10+00')`)
	for _, view := range []string{"filled", "went_on"} {
		says := s.outcomeOf(t, view)
		require.Contains(t, says, "which is not the start of a bucket of 01:00:00")
		require.Contains(t, says, "Set bucket_width to how wide the query cuts")
		require.Contains(t, says, "Set bucket_width, time_column or timezone of the view")
		require.NotContains(t, says, "CONTEXT")
		require.NotContains(t, says, "Mend the data")
		require.True(t, ask[bool](t, s.root, `SELECT count(*) > 0 AND count(*) = count(DISTINCT a.run_id) FROM mvscheduler.attempt AS a JOIN mvscheduler.run AS r ON r.id = a.run_id WHERE r.view_name = $1 AND a.outcome = 'failed'`, s.owner+"."+view))
		require.Contains(t, ask[string](t, s.alice, `SELECT activity || ': ' || reason FROM mvscheduler.status WHERE name = $1`, s.owner+"."+view), "paused: paused by mvscheduler: a row between")
		pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET bucket_width = '1 day' WHERE name = '`+s.owner+`.`+view+`'`)
		s.incremented(t, view)
		same(t, s.alice, view)
	}
}

// Clocks that are set back make a bucket an hour longer, so that much is read.
func TestABucketMayLastAnHourLongerThanItsWidth(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly, "bucket_width", "1 minute")
	startSidecar(t, s.db)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	for _, statement := range []string{
		`INSERT INTO metrics VALUES ('2026-03-02 10:00+00', 1, 1)`,
		`INSERT INTO metrics VALUES ('2026-03-02 11:59:59.999999+00', 2, 2)`,
		`UPDATE metrics SET ts = '2026-03-03 05:30+00' WHERE ts = '2026-03-02 10:30+00'`,
		`DELETE FROM metrics WHERE ts >= '2026-03-02 11:20+00' AND ts < '2026-03-02 13:40+00'`,
		`INSERT INTO metrics VALUES ('2026-03-20 23:59+00', 1, 1)`,
	} {
		pgtest.Exec(t, s.alice, statement)
		s.incremented(t, "v")
		same(t, s.alice, "v")
		require.Regexp(t, `^[0-9]{1,2} `, s.last(t, "v", "buckets || ' ' || changed"), statement)
	}
}
