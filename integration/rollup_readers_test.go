package integration

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// What a rollup has stored stays when raw data leaves, and so does what is computed from it, managed or not, by way of a plain
// view, a function or a rollup of the rollup.
func TestRawPartitionsLeaveUnderMaterializedViewsUponARollupAndTheseLoseNothing(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 6)
	s.chain(t)
	startSidecar(t, s.db)
	s.incremented(t, "hourly", "daily")
	pgtest.Exec(t, s.alice, `CREATE VIEW plain AS SELECT * FROM hourly`,
		`CREATE FUNCTION hours() RETURNS SETOF numeric LANGUAGE sql STABLE BEGIN ATOMIC SELECT n FROM hourly; END`,
		`CREATE MATERIALIZED VIEW unmanaged AS SELECT device, sum(n) AS n FROM hourly GROUP BY 1`,
		`CREATE MATERIALIZED VIEW of_plain AS SELECT device, sum(n) AS n FROM plain GROUP BY 1`,
		`CREATE MATERIALIZED VIEW hidden AS SELECT 1 AS device, sum(n) AS n FROM hours() AS n`,
		`CREATE MATERIALIZED VIEW of_whole AS SELECT device, n FROM unmanaged`)
	s.manage(t, "whole", `SELECT device, sum(n) AS n FROM hourly GROUP BY 1`, "refresh_on", "manual")
	s.manage(t, "of_days", `SELECT device, sum(n) AS n FROM daily GROUP BY 1`, "refresh_on", "manual")
	s.incremented(t, "whole", "of_days")
	all := []string{"unmanaged", "of_plain", "hidden", "of_whole", "whole", "of_days"}
	for _, view := range all {
		s.snapshotOf(t, view, view+"_before")
	}
	before := s.leaves(t)
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '2 days')`)
	until(t, s.root, `SELECT count(*) >= 3 FROM mvscheduler.kept`)
	s.pruned(t)
	require.Less(t, s.leaves(t), before)
	require.Zero(t, ask[int64](t, s.alice, `SELECT count(*) FROM readings WHERE ts < date_trunc('day', now(), 'UTC') - interval '3 days'`))

	s.incremented(t, "hourly", "daily", "whole", "of_days")
	pgtest.Exec(t, s.alice, `REFRESH MATERIALIZED VIEW unmanaged`, `REFRESH MATERIALIZED VIEW of_plain`, `REFRESH MATERIALIZED VIEW hidden`, `REFRESH MATERIALIZED VIEW of_whole`)
	for _, view := range all {
		require.Zero(t, ask[int64](t, s.alice, `SELECT count(*) FROM `+view+`_before AS b LEFT JOIN `+view+` AS v USING (device) WHERE v.n IS NULL OR v.n < b.n`), view)
	}
}

// One that reads raw data as well needs it, however it comes there.
func TestAViewUponARollupThatReadsRawDataAsWellHoldsIt(t *testing.T) {
	heavy(t)
	t.Parallel()
	const upon = `CREATE MATERIALIZED VIEW whole AS SELECT count(*) AS n FROM hourly`
	for name, c := range map[string]struct {
		make []string
		why  string
	}{
		"directly":       {[]string{upon + `, readings`}, "materialized view {}.whole reads it, is not managed"},
		"by plain view":  {[]string{`CREATE VIEW plain AS SELECT ts FROM readings`, upon + `, plain`}, "materialized view {}.whole reads it, is not managed"},
		"one plain view": {[]string{`CREATE VIEW plain AS SELECT hour FROM hourly UNION ALL SELECT ts FROM readings`, `CREATE MATERIALIZED VIEW whole AS SELECT count(*) AS n FROM plain`}, "materialized view {}.whole reads it, is not managed"},
		"by function":    {[]string{`CREATE FUNCTION raw() RETURNS SETOF int LANGUAGE sql STABLE BEGIN ATOMIC SELECT device FROM readings; END`, upon + `, raw()`}, "materialized view {}.whole reads it, is not managed"},
		"by the query":   {[]string{upon + `__query`}, "materialized view {}.whole reads it, is not managed"},
		"new version":    {[]string{upon, `SELECT mvscheduler.pause_view('hourly')`, `UPDATE mvscheduler.views SET query = replace(query, 'sum(value)', 'max(value)') WHERE name LIKE '%.hourly'`}, "view {}.hourly "},
		"paused":         {[]string{upon, `SELECT mvscheduler.pause_view('hourly')`}, "view {}.hourly reads it and is paused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.readings(t, 6)
			s.incremental(t, "hourly", hourlyReadings)
			startSidecar(t, s.db)
			s.incremented(t, "hourly")
			pgtest.Exec(t, s.alice, c.make...)
			pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '2 days')`)
			s.stays(t, "readings", strings.ReplaceAll(c.why, "{}", s.owner))
		})
	}
}
