package integration

import (
	"fmt"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Triggers are made on partitions as well. The statement that the reason gives is all that somebody has to run, however many there
// are and whatever they are called, and default privileges spare partitions to come of it.
func TestWhatTriggersNeedIsGrantedByOneStatement(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	bob := s.db.User(t, "bob")
	conn := s.db.Conn(t, bob)
	startSidecar(t, s.db)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `GRANT USAGE ON SCHEMA `+s.owner+` TO `+bob)
	for table, partitions := range map[string]int{"few": 4, `"it's $grant$ many"`: 40} {
		pgtest.Exec(t, s.alice, `CREATE TABLE `+table+` (ts timestamptz NOT NULL) PARTITION BY RANGE (ts)`, `GRANT SELECT ON `+table+` TO `+bob)
		part := func(n int) {
			pgtest.Exec(t, s.alice, fmt.Sprintf(`DO $do$BEGIN EXECUTE format('CREATE TABLE %%I PARTITION OF %%s FOR VALUES FROM (%%L) TO (%%L)', %s::text || '$ %d', %s, date '2026-01-01' + %[2]d, date '2026-01-02' + %[2]d); END$do$`, quote(table), n, quote(table)))
		}
		for n := range partitions {
			part(n)
		}
		pgtest.Exec(t, conn, `INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width, refresh_interval, timezone, change_tracking)
			SELECT 'v', format('SELECT date_trunc(''hour'', ts) AS hour, count(*) AS n FROM %s WHERE mvscheduler.in_window(ts) GROUP BY 1', `+quote(s.owner+"."+table)+`), 'incremental', 'hour', '1 hour', '1 day', 'UTC', 'trigger'`)
		const ended = ` FROM mvscheduler.runs AS r LEFT JOIN mvscheduler.runs AS j ON j.id = r.joined_run WHERE r.id = $1`
		run := func() string {
			run := ask[int64](t, conn, `SELECT mvscheduler.refresh_view('v')`)
			until(t, conn, `SELECT EXISTS (SELECT`+ended+` AND coalesce(j.state, r.state) NOT IN ('queued', 'running'))`, run)
			return ask[string](t, conn, `SELECT concat_ws(' ', coalesce(j.state, r.state), coalesce(j.error, r.error), coalesce(j.reason, r.reason))`+ended, run)
		}
		until(t, conn, `SELECT reason LIKE '%GRANT TRIGGER ON%' FROM mvscheduler.status`)
		says := ask[string](t, conn, `SELECT reason FROM mvscheduler.status`)
		require.Contains(t, says, fmt.Sprintf("and %d more", partitions+1-3))
		grant := regexp.MustCompile(`(GRANT TRIGGER ON|DO ').*(TO ` + bob + `|END')`).FindString(says)
		require.Less(t, len(grant), 1000)
		t.Log(grant)
		pgtest.Exec(t, s.alice, grant)
		pgtest.Exec(t, conn, `SELECT mvscheduler.resume_view('v')`)
		require.Contains(t, run(), "succeeded", table)

		pgtest.Exec(t, s.alice, `ALTER DEFAULT PRIVILEGES GRANT TRIGGER ON TABLES TO `+bob)
		part(partitions)
		pgtest.Exec(t, s.alice, `ALTER DEFAULT PRIVILEGES REVOKE TRIGGER ON TABLES FROM `+bob)
		require.Contains(t, run(), "succeeded", "a partition that came with the privilege")
		part(partitions + 1)
		require.Contains(t, run(), "GRANT TRIGGER ON ", "one that came without it")
		pgtest.Exec(t, conn, `UPDATE mvscheduler.views SET change_tracking = 'auto'`, `SELECT mvscheduler.resume_view('v')`)
		require.Contains(t, run(), "changes are found by the server's counters, since role "+bob+" may not make triggers on ")
		counted := func(role string) finding {
			found, _ := examine(t, s.db, role)
			require.Len(t, about(found, "tracking"), 1)
			return about(found, "tracking")[0]
		}
		require.Equal(t, "note", counted(bob).Severity)
		pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) SELECT `+quote(s.owner+"."+table)+`, '100 years'`)
		require.Equal(t, "warning", counted("").Severity)
		require.Contains(t, counted("").What, " leaves before that is mended")
		pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.source_retention`, counted(bob).Fix)
		require.NotContains(t, run(), "may not make triggers")
		found, _ := examine(t, s.db, bob)
		require.Empty(t, about(found, "tracking"))
		pgtest.Exec(t, conn, `DELETE FROM mvscheduler.views`)
	}
}
