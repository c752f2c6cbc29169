package integration

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Rights that an owner loses after the view was made: what was there stays, the GRANT is named, and after it the view goes on.
func TestRightsThatTheOwnerLosesAreNamed(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	boss := s.db.Role(t, "boss")
	for _, v := range []string{"v", "young"} {
		s.incremental(t, v, hourly, "max_attempts", 1, "enabled", v == "v")
	}
	startSidecar(t, s.db)
	s.incremented(t, "v")
	grant := "GRANT CREATE ON SCHEMA " + s.owner + " TO " + s.owner
	for _, c := range []struct{ view, schema, change, says, mend string }{
		{"v", boss, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100)`, grant, grant},                                                                    // a handle
		{"v", "postgres", `INSERT INTO metrics VALUES ('2026-04-20 10:05+00', 1, 100)`, grant, grant},                                                              // a partition
		{"young", "postgres", `UPDATE mvscheduler.views SET enabled = true WHERE name LIKE '%.young'`, grant, grant},                                               // a fill
		{"v", s.owner, `REVOKE SELECT ON metrics FROM ` + s.owner, "permission denied for table metrics", `GRANT SELECT ON ` + s.owner + `.metrics TO ` + s.owner}, // of its own table
	} {
		pgtest.Exec(t, s.root, `ALTER SCHEMA `+s.owner+` OWNER TO `+c.schema, `GRANT USAGE ON SCHEMA `+s.owner+` TO `+s.owner)
		if c.schema != s.owner {
			pgtest.Exec(t, s.root, `REVOKE CREATE ON SCHEMA `+s.owner+` FROM `+s.owner)
		}
		before := ask[string](t, s.root, `SELECT coalesce(md5(string_agg(x::text, ' ' ORDER BY hour, device)), '') FROM `+s.owner+`.`+c.view+` AS x`)
		pgtest.Exec(t, s.alice, c.change)
		if c.schema == s.owner {
			pgtest.Exec(t, s.root, `INSERT INTO `+s.owner+`.metrics VALUES ('2026-03-02 11:05+00', 1, 100)`)
		}
		require.Contains(t, s.outcomeOf(t, c.view), c.says)
		require.Contains(t, ask[string](t, s.alice, `SELECT activity || ': ' || reason FROM mvscheduler.status WHERE name LIKE '%.' || $1`, c.view), "paused: ")
		require.Equal(t, before, ask[string](t, s.root, `SELECT coalesce(md5(string_agg(x::text, ' ' ORDER BY hour, device)), '') FROM `+s.owner+`.`+c.view+` AS x`))
		pgtest.Exec(t, s.root, c.mend)
		pgtest.Exec(t, s.alice, `SELECT mvscheduler.resume_view(`+quote(c.view)+`)`)
		s.incremented(t, c.view)
		same(t, s.alice, c.view)
	}
}

// What row-level security hides from the owner of the view leaves it, as with REFRESH of a materialized view of his, and comes back.
func TestAnIncrementalViewShowsWhatItsOwnerMaySee(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly)
	s.manage(t, "plain", `SELECT device, count(*) AS n FROM metrics GROUP BY 1`, "refresh_on", "manual")
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.root, `ALTER TABLE `+s.owner+`.metrics OWNER TO postgres`, `GRANT SELECT, TRIGGER ON `+s.owner+`.metrics TO `+s.owner)
	for _, c := range []struct {
		do      string
		devices string
	}{
		{`ALTER TABLE %s.metrics ENABLE ROW LEVEL SECURITY`, ""},
		{`CREATE POLICY p ON %s.metrics USING (device = 1)`, "1"},
		{`ALTER POLICY p ON %s.metrics USING (device > 1)`, "2, 3"},
		{`ALTER POLICY p ON %s.metrics TO pg_monitor`, ""},
		{`ALTER TABLE %s.metrics DISABLE ROW LEVEL SECURITY`, "1, 2, 3"},
	} {
		pgtest.Exec(t, s.root, fmt.Sprintf(c.do, s.owner))
		s.incremented(t, "v", "plain")
		require.Contains(t, s.last(t, "v", "reason"), "row-level security", c.do)
		same(t, s.alice, "v")
		for _, view := range []string{"v", "plain"} {
			require.Equal(t, c.devices, ask[string](t, s.alice, `SELECT coalesce(string_agg(DISTINCT device::text, ', '), '') FROM `+view), c.do)
		}
	}
}

// Settings that code of one view has left, also when it ended in an error, are not there in the next refresh by the same session.
func TestSettingsOfOneRefreshAreNotThoseOfTheNext(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	read := `concat_ws(' ', current_setting('work_mem'), current_setting('TimeZone'), current_setting('enable_hashjoin'), current_setting('row_security'), current_setting('mvscheduler.window_end', true), current_setting('search_path'))`
	pgtest.Exec(t, s.alice, `CREATE TABLE seen (who text, settings text)`, `CREATE TABLE fails (yes boolean)`,
		`CREATE FUNCTION leaves() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			PERFORM set_config('work_mem', '64kB', false), set_config('TimeZone', 'Asia/Kathmandu', false), set_config('enable_hashjoin', 'off', false), set_config('row_security', 'off', false),
			        set_config('mvscheduler.window_end', '2020-01-01', false), set_config('search_path', 'pg_catalog', false);
			IF EXISTS (SELECT FROM `+s.owner+`.fails) THEN RAISE EXCEPTION 'enough'; END IF;
			RETURN NULL; END $$`,
		`CREATE FUNCTION notes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO `+s.owner+`.seen SELECT TG_TABLE_NAME, `+read+`; RETURN NULL; END $$`)
	for _, v := range []string{"first", "second"} {
		s.incremental(t, v, hourly, "max_attempts", 1)
	}
	startSidecar(t, s.db, "--workers", "1")
	s.incremented(t, "first", "second")
	pgtest.Exec(t, s.alice, `CREATE TRIGGER t AFTER INSERT OR UPDATE ON second__data FOR EACH STATEMENT EXECUTE FUNCTION notes()`)
	change := func() {
		pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100)`, `TRUNCATE seen`)
	}
	settings := func() string {
		s.incremented(t, "second")
		same(t, s.alice, "second")
		return ask[string](t, s.alice, `SELECT string_agg(DISTINCT settings, '; ') FROM seen`)
	}
	change()
	usual := settings()
	pgtest.Exec(t, s.alice, `CREATE TRIGGER t AFTER INSERT OR UPDATE ON first__data FOR EACH STATEMENT EXECUTE FUNCTION leaves()`)
	for _, fails := range []bool{false, true} {
		if fails {
			pgtest.Exec(t, s.alice, `INSERT INTO fails VALUES (true)`)
		}
		change()
		require.Equal(t, fails, s.outcomeOf(t, "first")[:6] == "failed")
		require.Equal(t, usual, settings())
	}
}
