package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// What is computed anew and comes out the same is not written: no row of the contents has another place or transaction, so there
// is no WAL of them.
func TestARowThatStaysIsNotWritten(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string][]any{"with a key": nil, "without": {"unique_key", "{}"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newMetrics(t)
			s.incremental(t, "v", hourly, settings...)
			startSidecar(t, s.db)
			s.incremented(t, "v")
			const places = `SELECT string_agg(concat_ws(' ', tableoid, ctid, xmin), ', ' ORDER BY tableoid, ctid) FROM v__data`
			before := ask[string](t, s.alice, places)
			for _, statement := range []string{`UPDATE metrics SET value = value`, `UPDATE metrics SET value = value + 1; UPDATE metrics SET value = value - 1`, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 77, 1); DELETE FROM metrics WHERE device = 77`} {
				pgtest.Exec(t, s.alice, statement)
				s.incremented(t, "v")
				require.NotEqual(t, "0", s.last(t, "v", "buckets"), statement)
				require.Equal(t, before, ask[string](t, s.alice, places), statement)
			}
			same(t, s.alice, "v")
		})
	}
}
