package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// What people do to what has left, beside the writers and the kills: they bring back all or a part, by us or by hand, drop what is
// aside, write the row of source_retention anew, UPDATE a query, and have everything computed.
// None of it takes a row from the rollups. That the days read the table itself from now on, by a plain view that is replaced, is not among
// it: that freezes the day in which the hour after what has left lies, and this one need not be over: with that this test fails.
func TestNoRowIsEverLostWhateverIsDoneToWhatHasLeft(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := mirrored(t)
	pgtest.Exec(t, s.alice, `CREATE VIEW by_view AS SELECT hour, device, n::numeric AS n, total FROM hourly WHERE mvscheduler.in_window(hour)`,
		`UPDATE mvscheduler.views SET query = 'SELECT date_trunc(''day'', hour) AS day, device, sum(n) AS n, sum(total) AS total FROM by_view GROUP BY 1, 2' WHERE name LIKE '%.daily'`)
	startSidecar(t, s.db)
	s.incremented(t, "hourly", "daily")
	s.nothingLost(t, s.alice)
	hours := 20 * 24
	var told tally
	did := make(map[string]int)
	leave := func() string {
		return fmt.Sprintf(`INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '%d hours')`, hours)
	}
	pgtest.Exec(t, s.alice, leave())
	writers := s.writers(t)
	// One that is aside, as the owner finds it: in the catalog of PostgreSQL.
	const aside = `SELECT c.relname FROM pg_class AS c WHERE c.relnamespace = current_schema()::regnamespace AND c.relname LIKE 'readings\_%\_\_kept' AND c.relkind = 'r' AND NOT c.relispartition ORDER BY c.oid OFFSET $1 LIMIT 1`
	const start = `(SELECT date_bin('6 hours', min(ts), '2000-01-01 00:00+00') FROM %[1]s)`
	tolerable := func(r *rapid.T, deed, sql string) {
		if _, err := s.alice.Exec(context.Background(), sql); err != nil { // somebody was there first, or has it
			told.mu.Lock()
			did[deed+": "+strings.SplitN(err.Error(), "(", 2)[1]]++
			told.mu.Unlock()
		}
	}
	one := func(r *rapid.T) string {
		rows, err := s.alice.Query(context.Background(), aside, rapid.IntRange(0, 8).Draw(r, "aside"))
		require.NoError(r, err)
		defer rows.Close()
		var name string
		for rows.Next() {
			require.NoError(r, rows.Scan(&name))
		}
		return name
	}
	versions := 0
	deeds := map[string]func(r *rapid.T){
		"nothing":     func(r *rapid.T) {},
		"everything":  func(r *rapid.T) { pgtest.Exec(t, s.root, everythingDirty) },
		"restore all": func(r *rapid.T) { tolerable(r, "restore all", `SELECT mvscheduler.restore_view('readings')`) },
		"the row anew": func(r *rapid.T) {
			tolerable(r, "the row anew", `DELETE FROM mvscheduler.source_retention`)
			tolerable(r, "the row anew", leave())
		},
		"grace": func(r *rapid.T) {
			tolerable(r, "grace", fmt.Sprintf(`UPDATE mvscheduler.source_retention SET grace_period = '%d seconds'`, rapid.SampledFrom([]int{0, 5, 86400}).Draw(r, "grace")))
		},
		"hold": func(r *rapid.T) {
			tolerable(r, "hold", `UPDATE mvscheduler.source_retention SET legal_hold = NOT legal_hold`)
		},
		"restore one": func(r *rapid.T) {
			tolerable(r, "restore one", fmt.Sprintf(`SELECT mvscheduler.restore_partitions(k.target, k.relation) FROM mvscheduler.visible_kept AS k ORDER BY k.bound DESC OFFSET %d LIMIT 1`, rapid.IntRange(0, 5).Draw(r, "which")))
		},
		"drop by hand": func(r *rapid.T) {
			if name := one(r); name != "" {
				tolerable(r, "drop by hand", `DROP TABLE `+name)
			}
		},
		"attach by hand": func(r *rapid.T) {
			if name := one(r); name != "" {
				tolerable(r, "attach by hand", fmt.Sprintf(`DO $$ DECLARE lo timestamptz := `+start+`; BEGIN EXECUTE format('ALTER TABLE readings ATTACH PARTITION %[1]s FOR VALUES FROM (%%L) TO (%%L)', lo, lo + interval '6 hours'); END $$`, name))
			}
		},
		"another query": func(r *rapid.T) {
			versions++
			tolerable(r, "another query", fmt.Sprintf(`UPDATE mvscheduler.views SET query = 'SELECT date_trunc(''hour'', ts) AS hour, device, count(*) + %d - %[1]d AS n, sum(value) AS total FROM readings WHERE mvscheduler.in_window(ts) GROUP BY 1, 2' WHERE name LIKE '%%.hourly'`, versions))
		},
		"a column more": func(r *rapid.T) { // refused where anything has left; else built anew, twice
			tolerable(r, "a column more", `UPDATE mvscheduler.views SET unique_key = CASE WHEN unique_key IS NULL THEN '{device,hour}'::text[] END WHERE name LIKE '%.hourly'`)
		},
	}
	names := []string{"nothing", "everything", "restore all", "restore one", "the row anew", "grace", "hold", "drop by hand", "attach by hand", "another query", "a column more"}
	rapid.Check(t, func(r *rapid.T) {
		hours = max(60, hours-rapid.IntRange(0, 6).Draw(r, "hours"))
		before, after := rapid.SampledFrom(names).Draw(r, "before"), rapid.SampledFrom(names).Draw(r, "after")
		did[before]++
		did[after]++
		deeds[before](r)
		s.round(t, r, writers, hours, fmt.Sprintf(`UPDATE mvscheduler.source_retention SET retention_period = '%d hours'`, hours), "hourly", &told)
		deeds[after](r)
		s.incremented(t, "hourly", "daily")
		s.incremented(t, "daily")
		s.nothingLost(r, s.alice)
		require.Zero(r, ask[int64](t, s.root, insideTheHorizon, hours))
	})
	t.Logf("%d put aside, %d dropped, %d restored; retention at the end %d hours; %v", ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.pruning WHERE action = 'detach'`),
		ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.pruning WHERE action = 'drop'`), ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.pruning WHERE action = 'restore'`), hours, did)
	told.sound(t, s)
}
