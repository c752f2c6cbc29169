package integration

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A database with an incremental view, one that is built upon it, and one that has a new version under way, and what it
// is restored to.
func TestADumpRestoresIncrementalViewsThatLiveOn(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newMetrics(t)
	if _, err := os.Stat(filepath.Join(s.db.Server(t).BinDir(), "pg_dump")); err != nil {
		t.Skip("these binaries of PostgreSQL come without pg_dump")
	}
	to := pgtest.NewEmpty(t)
	s.incremental(t, "v", hourly)
	s.incremental(t, "days", `SELECT date_trunc('day', hour) AS hour, sum(n) AS n FROM v WHERE mvscheduler.in_window(hour) GROUP BY 1`, "bucket_width", "1 day", "refresh_on", "upstream")
	s.incremental(t, "changing", hourly)
	s.incremental(t, "cancelled", hourly)
	sidecar := startSidecar(t, s.db)
	s.incremented(t, "v", "changing", "cancelled")
	refreshed(t, s.alice, "days")
	require.Zero(t, sidecar.stop())
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = replace(query, 'AS total', 'AS total, max(value) AS most') WHERE name ~ 'changing|cancelled'`)
	dump := client(t, s.db, "", "pg_dump", "-d", s.db.URL())
	client(t, to, dump, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", to.URL(), "-f", "-")

	there := &scene{db: to, owner: s.owner, alice: to.Conn(t, s.owner), root: to.Conn(t, "")}
	pgtest.Exec(t, there.alice, `SET TimeZone = 'UTC'`)
	same(t, there.alice, "v")
	require.Equal(t, "f", ask[string](t, there.root, `SELECT string_agg(DISTINCT left(relispopulated::text, 1), '') FROM pg_class WHERE relname LIKE '%\_\_gate'`), "a restore runs no step")
	pgtest.Exec(t, there.alice, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100), ('2026-05-02 10:05+00', 1, 100)`,
		`UPDATE mvscheduler.views SET query = replace(query, ', max(value) AS most', '') WHERE name ~ 'cancelled'`)
	sidecar = startSidecar(t, to)
	there.incremented(t, "v", "changing", "cancelled")
	refreshed(t, there.alice, "days")
	for _, view := range []string{"v", "days", "changing", "cancelled"} {
		there.whole(t, view)
	}
	require.Contains(t, there.columns(t, "changing"), "most")
	pgtest.Exec(t, there.alice, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100)`)
	there.incremented(t, "v")
	same(t, there.alice, "v")
	require.Equal(t, "1", there.last(t, "v", "changed"), "triggers were restored, and note what changes")
	pgtest.Exec(t, there.alice, `DELETE FROM mvscheduler.views`)
	require.Equal(t, "", there.relations(t))
	require.Zero(t, sidecar.stop())
}
