package integration

import (
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// What counters have not told yet nobody can exclude, so a view that goes by them keeps raw partitions, and the reason
// says that, and not that it tracks nothing.
func TestAViewThatGoesByCountersKeepsRawPartitionsAndTheReasonSaysSo(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 6)
	s.incremental(t, "counted", hourlyReadings, "change_tracking", "counters")
	s.incremental(t, "late", hourlyReadings, "change_tracking", "none", "lateness", "1 day")
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '2 days')`)
	startSidecar(t, s.db)
	s.incremented(t, "counted", "late")
	reason := func() string {
		t.Helper()
		out := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".readings", "--dry-run", "-o", "json")
		require.Zero(t, out.code, out.stderr)
		require.NotContains(t, out.stdout, `"action": "detach"`)
		return out.stdout
	}
	require.Contains(t, reason(), "view "+s.owner+".counted reads it and finds changes by the server's counters, which come late")
	pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.views WHERE name LIKE '%.counted'`)
	require.Contains(t, reason(), "view "+s.owner+".late reads it without tracking changes")
	require.Equal(t, int64(8), s.leaves(t))
	pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.views`)
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.kept)`)
}

// Of a key that points at the table as a whole PostgreSQL lets a partition leave, unless one of its rows is pointed at.
func TestAForeignKeyThatPointsAtTheWholeTableKeepsItsPartitions(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE readings (ts timestamptz PRIMARY KEY) PARTITION BY RANGE (ts)`, `CREATE TABLE old PARTITION OF readings FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')`,
		`CREATE TABLE pointing (ts timestamptz REFERENCES readings)`, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '1 year')`)
	dry := func() string {
		return mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".readings", "--dry-run", "-o", "json").stdout
	}
	require.Contains(t, dry(), "foreign keys of "+s.owner+".pointing point at it, and it can leave when none does: ALTER TABLE "+s.owner+".pointing DROP CONSTRAINT pointing_ts_fkey")
	require.NotContains(t, dry(), `"detach"`)
	pgtest.Exec(t, s.alice, `ALTER TABLE pointing DROP CONSTRAINT pointing_ts_fkey`)
	require.Contains(t, dry(), `"detach"`)
}

// What a query reads of a part of the table, beside the window, it reads for all buckets.
func TestAPartitionThatIsReadBesideTheWindowStays(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.oldYear(t)
	s.incremental(t, "v", `SELECT date_trunc('hour', raw.ts) AS hour, count(*) AS n, max(o.k) AS most FROM raw, (SELECT max(old.k) AS k FROM old) AS o WHERE mvscheduler.in_window(raw.ts) GROUP BY 1`)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, keepAYear)
	require.Contains(t, mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".raw", "--dry-run", "-o", "json").stdout, "the query of view "+s.owner+".v reads it not only within in_window")
}

// Rows of a foreign table are elsewhere, and a partition whose DETACH was interrupted is half gone.
func TestAPartitionThatIsForeignOrHalfDetachedStaysWithTheReason(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.foreignServer(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE readings (ts timestamptz NOT NULL, device int NOT NULL) PARTITION BY RANGE (ts)`, `CREATE TABLE remote (ts timestamptz NOT NULL, device int NOT NULL)`,
		`CREATE FOREIGN TABLE far PARTITION OF readings FOR VALUES FROM ('2019-01-01') TO ('2020-01-01') SERVER here OPTIONS (schema_name '`+s.owner+`', table_name 'remote')`,
		`CREATE TABLE mixed PARTITION OF readings FOR VALUES FROM ('2020-01-01') TO ('2021-01-01') PARTITION BY LIST (device)`, `CREATE TABLE mixed_near PARTITION OF mixed FOR VALUES IN (1)`,
		`CREATE FOREIGN TABLE mixed_far PARTITION OF mixed FOR VALUES IN (2) SERVER here OPTIONS (schema_name '`+s.owner+`', table_name 'remote')`,
		`CREATE TABLE near PARTITION OF readings FOR VALUES FROM ('2021-01-01') TO ('2022-01-01')`, `CREATE TABLE half PARTITION OF readings FOR VALUES FROM ('2022-01-01') TO ('2023-01-01')`,
		`INSERT INTO near SELECT '2021-05-05', n FROM generate_series(1, 1000) AS n`, `ANALYZE near`,
		`INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '1 year')`)
	reader := s.db.Conn(t, s.owner)
	pgtest.Exec(t, reader, `BEGIN`, `SELECT count(*) FROM half`)
	pgtest.Exec(t, s.alice, `SET lock_timeout = '100ms'`)
	requireSQLState(t, s.alice, "55P03", `ALTER TABLE readings DETACH PARTITION half CONCURRENTLY`)
	pgtest.Exec(t, reader, `COMMIT`)
	out := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".readings", "--dry-run")
	require.Zero(t, out.code, out.stderr)
	bytes := ask[string](t, s.alice, `SELECT (pg_total_relation_size('near') / 1024)::text`)
	for _, line := range []string{
		`far +2019-01-01 to 2020-01-01 +keep +- +0 B +there is a foreign table in it, whose rows are elsewhere`,
		`mixed +2020-01-01 to 2021-01-01 +keep +- +0 B +there is a foreign table in it, whose rows are elsewhere`,
		`near +2021-01-01 to 2022-01-01 +detach +1,000 +` + bytes + `[.0-9]* kB +it is older than the horizon .* of retention_period 1 year`,
		`half +2022-01-01 to 2023-01-01 +keep +- +0 B +somebody's DETACH PARTITION ... CONCURRENTLY was interrupted: end it by ALTER TABLE ... DETACH PARTITION ... FINALIZE`,
	} {
		require.Regexp(t, line, out.stdout)
	}
	require.Contains(t, out.stderr, "would be put aside: 1 partition, about 1000 rows, ")
	startSidecar(t, s.db)
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'prune' AND state = 'succeeded')`)
	require.Equal(t, "near__kept", ask[string](t, s.alice, `SELECT string_agg(relation::text, ' ') FROM mvscheduler.visible_kept`))
}

// A shorter grace_period drops within seconds what could be restored a moment ago, and so does lifting a hold.
func TestWhatIsDroppedForGoodByAShorterGracePeriodIsSaid(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.aside(t)
	s.pruned(t)
	owner, said := connNoticing(t, s.db.URLAs(s.owner))
	pgtest.Exec(t, owner, `BEGIN`, `UPDATE mvscheduler.source_retention SET grace_period = '8 days'`, `UPDATE mvscheduler.source_retention SET grace_period = '6 days'`, `ROLLBACK`)
	require.Empty(t, *said, "nothing is dropped")
	pgtest.Exec(t, owner, `BEGIN`, `UPDATE mvscheduler.source_retention SET legal_hold = true, grace_period = '0'`)
	require.Empty(t, *said, "nothing is dropped under a hold")
	pgtest.Exec(t, owner, `UPDATE mvscheduler.source_retention SET legal_hold = false`, `ROLLBACK`)
	dropped := "1 partition of " + s.owner + ".raw was put aside longer ago than 00:00:00 and will be dropped for good"
	require.Contains(t, messages(*said), dropped)
	*said = nil
	pgtest.Exec(t, owner, `BEGIN`, `UPDATE mvscheduler.source_retention SET grace_period = '0'`, `ROLLBACK`)
	require.Equal(t, []string{dropped}, messages(*said))
	require.Equal(t, "mvscheduler restore "+s.owner+".raw brings it back until then; legal_hold = true keeps it aside.", (*said)[0].Hint)
}

func messages(said []*pgconn.Notice) (all []string) {
	for _, n := range said {
		all = append(all, n.Message)
	}
	return all
}

// Days for ever on hours that were filled with a period of their own never had what is older, and the raw table lets it go all the same.
func TestAViewThatBeginsWithLessThanItKeepsSaysSo(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.incremental(t, "hourly", hourlyReadings, "retention_period", "3 days")
	owner, said := connNoticing(t, s.db.URLAs(s.owner))
	daily := func(name, period string) []string {
		*said = nil
		pgtest.Exec(t, owner, `INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width, timezone, refresh_on, retention_period)
			VALUES ('`+name+`', $$`+dailyOfHourly+`$$, 'incremental', 'day', '1 day', 'UTC', 'upstream', `+period+`)`)
		return messages(*said)
	}
	hourly := s.owner + ".hourly"
	require.Equal(t, []string{"managed view " + s.owner + ".ever begins with what " + hourly + " has, which keeps 3 days"}, daily("ever", "NULL"))
	require.Contains(t, (*said)[0].Hint, "set retention_period of "+hourly+" when "+s.owner+".ever is filled")
	require.Len(t, daily("longer", "'5 days'"), 1)
	require.Empty(t, daily("as_long", "'3 days'"))
	*said = nil
	pgtest.Exec(t, owner, `UPDATE mvscheduler.views SET priority = 1 WHERE name LIKE '%.ever'`)
	require.Empty(t, *said, "it is said once")
}
