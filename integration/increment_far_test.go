package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A view that has few rows may be made of many: what lies between two changes costs what is read there, not what is stored.
func TestWhatLiesBetweenALateRowAndTodayIsNotComputedForAFewRowsOfTheView(t *testing.T) {
	t.Parallel()
	for name, made := range map[string]string{
		"of partitions": ` PARTITION BY RANGE (ts)`,
		"of one table":  ``,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE clicks (ts timestamptz NOT NULL, n int NOT NULL)`+made)
			if made != "" {
				pgtest.Exec(t, s.alice, `
DO $$ BEGIN
    FOR d IN 0..59 LOOP
        EXECUTE format('CREATE TABLE clicks_%s PARTITION OF clicks FOR VALUES FROM (%L) TO (%L)', d, date '2026-01-01' + d, date '2026-01-01' + d + 1);
    END LOOP;
END $$`)
			}
			pgtest.Exec(t, s.alice, `CREATE INDEX ON clicks (ts)`,
				`INSERT INTO clicks SELECT timestamptz '2026-01-01' + n * interval '10 seconds', 1 FROM generate_series(0, 60 * 8640 - 1) AS n`, `ANALYZE clicks`)
			s.incremental(t, "v", `SELECT date_trunc('day', ts, 'Europe/Berlin') AS day, count(*) AS clicks FROM clicks WHERE mvscheduler.in_window(ts) GROUP BY 1`,
				"time_column", "day", "bucket_width", "1 day", "timezone", "Europe/Berlin")
			startSidecar(t, s.db)
			s.incremented(t, "v")

			pgtest.Exec(t, s.alice, `INSERT INTO clicks VALUES ('2026-01-10 10:00+00', 5)`, `INSERT INTO clicks VALUES ('2026-02-27 10:00+00', 7)`)
			s.incremented(t, "v")
			same(t, s.alice, "v")
			require.Equal(t, "2", s.last(t, "v", "buckets"), s.last(t, "v", "reason"))
		})
	}
}
