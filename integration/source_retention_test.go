package integration

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

const (
	hourlyReadings = `SELECT date_trunc('hour', ts) AS hour, device, count(*) AS n, sum(value) AS total FROM readings WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`
	dailyOfHourly  = `SELECT date_trunc('day', hour) AS day, device, sum(n) AS n, sum(total) AS total FROM hourly WHERE mvscheduler.in_window(hour) GROUP BY 1, 2`
)

// chain is hour from raw, and day from hour.
func (s *scene) chain(t testing.TB) {
	t.Helper()
	s.incremental(t, "hourly", hourlyReadings)
	s.incremental(t, "daily", dailyOfHourly, "time_column", "day", "bucket_width", "1 day", "refresh_on", "upstream")
}

func (s *scene) leaves(t testing.TB) int64 {
	t.Helper()
	return ask[int64](t, s.alice, `SELECT count(*) FROM pg_inherits WHERE inhparent = 'readings'::regclass`)
}

func TestRawPartitionsLeaveWhenTheRollupsHaveThemAndTheRollupsLoseNothing(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.chain(t)
	startSidecar(t, s.db)
	s.incremented(t, "hourly", "daily")
	s.snapshotOf(t, "hourly", "hourly_before")
	s.snapshotOf(t, "daily", "daily_before")
	owner, said := connNoticing(t, s.db.URLAs(s.owner))
	pgtest.Exec(t, owner, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '3 days')`)
	require.Len(t, *said, 1)
	require.Regexp(t, `^\d+ partitions of \S+\.readings end before .* and will leave as soon as no view needs what is in them$`, (*said)[0].Message)
	require.Equal(t, "What has left is kept aside for another 7 days, and dropped then.", (*said)[0].Detail)
	require.Equal(t, "ts 7 days f t", ask[string](t, s.alice, `SELECT concat_ws(' ', time_column, extract(day FROM grace_period) || ' days', legal_hold, enabled) FROM mvscheduler.source_retention`))
	until(t, s.root, `SELECT count(*) > 0 FROM mvscheduler.run WHERE kind = 'prune' AND state = 'succeeded'`)
	require.LessOrEqual(t, s.leaves(t), int64(6))
	require.GreaterOrEqual(t, s.leaves(t), int64(5))
	require.Zero(t, ask[int64](t, s.alice, `SELECT count(*) FROM readings WHERE ts < date_trunc('day', now(), 'UTC') - interval '4 days'`))
	require.NotZero(t, ask[int64](t, s.alice, `SELECT count(*) FROM mvscheduler.visible_kept WHERE name LIKE '%.readings'`))

	// Timescale's trap: a refresh over what is gone, of everything, by an edit, by late rows, by the counters of a restore.
	pgtest.Exec(t, s.alice, `INSERT INTO readings SELECT min(ts), 1, 1000 FROM readings`, `UPDATE mvscheduler.views SET query = query || ' ' WHERE name LIKE '%.hourly'`)
	s.incremented(t, "hourly", "daily")
	pgtest.Exec(t, s.root, `INSERT INTO mvscheduler.dirt (view_id, lo, hi) SELECT view_id, '-infinity', 'infinity' FROM mvscheduler.view_state`, `UPDATE mvscheduler.increment_state SET system_identifier = 1`)
	s.incremented(t, "hourly", "daily")
	old := `date_trunc('day', now(), 'UTC') - interval '4 days'`
	require.Zero(t, s.lost(t, "hourly_before", "hourly", "hour < "+old))
	require.Zero(t, s.lost(t, "daily_before", "daily", "day < "+old))
	require.Zero(t, s.lost(t, "hourly", "hourly_before", "hour < "+old))
	// What is not frozen is still followed.
	pgtest.Exec(t, s.alice, `INSERT INTO readings VALUES (date_trunc('hour', now()), 1, 1000)`)
	s.incremented(t, "hourly", "daily")
	require.Equal(t, int64(1), s.lost(t, "hourly", "hourly_before", "hour = date_trunc('hour', now())")-s.lost(t, "hourly", "hourly_before", "hour = date_trunc('hour', now()) AND device <> 1"))

	drop := func(name string) string { return mvscheduler(t, s.db, s.owner, "", "drop", name).stderr }
	require.Regexp(t, `What it shows before \d{4}-\d\d-\d\d \d\d:00:00 cannot be computed again`, drop("hourly"))
	require.NotContains(t, drop("daily"), "cannot be computed again", "from hourly it can")
	conn, said := connNoticing(t, s.db.URLAs(s.owner))
	pgtest.Exec(t, conn, `BEGIN`, `DELETE FROM mvscheduler.views`, `ROLLBACK`)
	var lost []string
	for _, notice := range *said {
		lost = append(lost, regexp.MustCompile(`^what managed view \S+\.(\w+) showed before .* cannot be computed again$`).ReplaceAllString(notice.Message, "$1"))
	}
	require.Equal(t, []string{"hourly"}, lost)
	out := mvscheduler(t, s.db, s.owner, "", "restore", s.owner+".readings", "-o", "json")
	require.Zero(t, out.code, out.stderr)
	require.Equal(t, int64(11), s.leaves(t))
	require.Equal(t, int64(9*72*2), ask[int64](t, s.alice, `SELECT count(*) FROM readings WHERE ts < date_trunc('day', now(), 'UTC') AND value < 1000`))
	s.incremented(t, "hourly", "daily")
	require.Zero(t, s.lost(t, "hourly_before", "hourly", "hour < "+old))
	require.NotContains(t, drop("hourly"), "cannot be computed again", "all is back")
	require.Equal(t, int64(11), s.leaves(t), "what was restored stays for a grace period")
}

func TestARawPartitionThatAViewStillNeedsStaysAndTheViewIsNamed(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 6)
	s.chain(t)
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '2 days')`)
	dry := func() result {
		out := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".readings", "--dry-run", "-o", "json")
		require.Zero(t, out.code, out.stderr)
		return out
	}
	require.Contains(t, dry().stdout, "reads it and was never filled")
	startSidecar(t, s.db)
	s.incremented(t, "hourly", "daily")
	until(t, s.root, `SELECT count(*) > 0 FROM mvscheduler.run WHERE kind = 'prune' AND state = 'succeeded'`)
	left := s.leaves(t)
	require.Less(t, left, int64(8))

	// A materialized view that nobody manages would lose its rows; so would one that is computed anew.
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.restore_view('readings')`, `UPDATE mvscheduler.source_retention SET grace_period = '0', retention_period = '1 day'`,
		`CREATE VIEW between AS SELECT * FROM readings`, `CREATE MATERIALIZED VIEW stored AS SELECT count(*) FROM between`)
	said := func(reason string) { // what came back is computed again first
		t.Helper()
		require.Eventually(t, func() bool {
			s.incremented(t, "hourly", "daily")
			return strings.Contains(dry().stdout, reason)
		}, patience, 100*time.Millisecond, reason)
	}
	said("materialized view " + s.owner + ".stored reads it, is not managed and would lose its rows")
	pgtest.Exec(t, s.alice, `DROP MATERIALIZED VIEW stored`)
	s.manage(t, "whole", "SELECT count(*) AS n FROM between", "refresh_on", "manual")
	said(s.owner + ".whole reads it and is not incremental")
	pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.views WHERE name LIKE '%.whole'`, `SELECT mvscheduler.pause_view('daily')`, `UPDATE mvscheduler.source_retention SET legal_hold = true`)
	require.Contains(t, dry().stdout, "there is a legal hold on")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET legal_hold = false`)
	require.Contains(t, dry().stdout, "view "+s.owner+".daily reads it and is paused")
	require.Equal(t, "insert update", ask[string](t, s.alice, `SELECT string_agg(DISTINCT action, ' ') FROM mvscheduler.audit_log WHERE view_name LIKE '%.readings' AND action <> 'restore'`))
	pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.source_retention`)
	require.Zero(t, ask[int64](t, s.root, `SELECT (SELECT count(*) FROM mvscheduler.source_state) + (SELECT count(*) FROM pg_class WHERE relname = 'readings__gate')`))
}

func TestWhatCannotBeJudgedStaysWithTheReason(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	bob := s.db.User(t, "bob")
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE readings (ts timestamptz NOT NULL, device int NOT NULL, value numeric, PRIMARY KEY (ts, device)) PARTITION BY RANGE (ts)`,
		`CREATE TABLE a PARTITION OF readings FOR VALUES FROM (MINVALUE) TO ('2020-01-01')`, `CREATE TABLE b PARTITION OF readings FOR VALUES FROM ('2020-01-01') TO ('2021-01-01') PARTITION BY RANGE (device)`,
		`CREATE TABLE b1 PARTITION OF b FOR VALUES FROM (0) TO (10)`, `CREATE TABLE b2 PARTITION OF b DEFAULT`, `CREATE TABLE rest PARTITION OF readings DEFAULT`,
		`CREATE TABLE c PARTITION OF readings FOR VALUES FROM ('2021-01-01') TO ('2022-01-01')`, `CREATE TABLE d PARTITION OF readings FOR VALUES FROM ('2022-01-01') TO (MAXVALUE)`,
		`CREATE TABLE pointing (ts timestamptz, device int, FOREIGN KEY (ts, device) REFERENCES c)`,
		`INSERT INTO readings VALUES ('2019-01-01', 1, 1), ('2020-05-01', 1, 1), ('2020-05-01', 11, 1), ('2021-05-01', 1, 1)`,
		`CREATE TABLE plain (ts timestamptz)`, `CREATE TABLE listed (ts timestamptz) PARTITION BY LIST (ts)`, `CREATE TABLE both_ (ts timestamptz, n int) PARTITION BY RANGE (ts, n)`, `CREATE TABLE expressed (ts timestamp) PARTITION BY RANGE ((ts + interval '1 hour'))`,
		`INSERT INTO mvscheduler.source_retention ("table", retention_period, grace_period) VALUES ('readings', '1 year', '10 days')`)
	for table, code := range map[string]string{"plain": "42809", "listed": "42809", "both_": "22023", "expressed": "22023"} {
		requireSQLState(t, s.alice, code, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('`+table+`', '1 year')`)
	}
	requireSQLState(t, s.alice, "22023", `UPDATE mvscheduler.source_retention SET retention_period = '-1 day'`)
	requireSQLState(t, s.alice, "22023", `UPDATE mvscheduler.source_retention SET time_column = 'device'`)
	requireSQLState(t, s.alice, "42501", `UPDATE mvscheduler.source_retention SET "table" = 'plain'`)
	require.Equal(t, s.owner, ask[string](t, s.alice, `SELECT role FROM mvscheduler.audit_log WHERE view_name LIKE '%.readings'`))
	pgtest.Exec(t, s.root, `ALTER TABLE `+s.owner+`.readings OWNER TO `+bob)
	requireSQLState(t, s.root, "55000", `UPDATE mvscheduler.source_retention SET enabled = true`)
	require.Zero(t, ask[int64](t, s.alice, `SELECT count(*) FROM mvscheduler.prune_facts`), "nothing leaves a table that is somebody else's now")
	pgtest.Exec(t, s.root, `ALTER TABLE `+s.owner+`.readings OWNER TO `+s.owner)
	// Another role sees nothing of it and can write nothing for it.
	other := s.db.Conn(t, bob)
	require.Zero(t, ask[int64](t, other, `SELECT (SELECT count(*) FROM mvscheduler.source_retention) + (SELECT count(*) FROM mvscheduler.prune_facts) + (SELECT count(*) FROM mvscheduler.visible_targets)`))
	pgtest.Exec(t, s.alice, `GRANT ALL ON readings TO `+bob, `GRANT USAGE ON SCHEMA `+s.owner+` TO `+bob)
	requireSQLState(t, other, "42501", `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('`+s.owner+`.readings', '1 day')`)
	out := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".readings", "--dry-run")
	require.Zero(t, out.code, out.stderr)
	for _, words := range []string{"DEFAULT partition holds rows", "it has no upper bound", "foreign keys of", "DROP CONSTRAINT"} {
		require.Contains(t, strings.Join(strings.Fields(strings.ReplaceAll(out.stdout, "│", " ")), " "), words)
	}
	require.NotContains(t, out.stdout, "stays:", "the columns say what is decided about what")
	require.Contains(t, out.stderr, "would be put aside: 2 partitions")
	require.NotContains(t, out.stderr, "sidecar")
	out = mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".readings")
	require.Zero(t, out.code, out.stderr)
	require.Contains(t, out.stderr, "asked for, to be put aside: 2 partitions")
	require.Contains(t, out.stderr, "no sidecar is connected")
	require.Contains(t, out.stderr, "mvscheduler runs "+s.owner+".readings")
	require.Equal(t, 2, mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".readings", "--dry-run", "--wait").code)
	startSidecar(t, s.db)
	until(t, s.root, `SELECT count(*) = 2 FROM mvscheduler.kept`)
	require.Equal(t, "c d rest", ask[string](t, s.alice, `SELECT string_agg(inhrelid::regclass::text, ' ' ORDER BY inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = 'readings'::regclass`))
	require.Equal(t, "a__kept r, b__kept p", ask[string](t, s.alice, `SELECT string_agg(relname || ' ' || relkind::text, ', ' ORDER BY relname) FROM pg_class WHERE relname LIKE '%kept' AND relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace`))
	require.Contains(t, ask[string](t, s.alice, `SELECT string_agg(reason, ' ') FROM mvscheduler.prunings`), "with its 2 sub-partitions is put aside")
	pgtest.Exec(t, s.alice, `ALTER TABLE pointing DROP CONSTRAINT pointing_ts_device_fkey`)
	require.Zero(t, mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".readings", "--wait").code)
	require.Equal(t, 3, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.kept`), "as the reason said")
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.restore_view('readings')`)
	require.Equal(t, int64(4), ask[int64](t, s.alice, `SELECT count(*) FROM readings`))
	require.Equal(t, "a b c d rest", ask[string](t, s.alice, `SELECT string_agg(inhrelid::regclass::text, ' ' ORDER BY inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = 'readings'::regclass`))
}

func TestPruneWaitsForTheRunAndFailsWithIt(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 5)
	startSidecar(t, s.db)
	unknown := mvscheduler(t, s.db, s.owner, "", "prune", "readings", "--dry-run")
	require.Equal(t, 3, unknown.code)
	require.Contains(t, unknown.stderr, "INSERT INTO mvscheduler.source_retention")
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period, enabled) VALUES ('readings', '2 days', false)`, `DROP MATERIALIZED VIEW readings__gate`)
	out := mvscheduler(t, s.db, s.owner, "", "prune", "readings", "--wait")
	require.Zero(t, out.code, out.stderr)
	require.NotContains(t, out.stderr, "asked for", "nothing leaves")
	reader := s.db.Conn(t, s.owner)
	pgtest.Exec(t, reader, `BEGIN`, `SELECT count(*) FROM readings`)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET enabled = true`)
	out = mvscheduler(t, s.db, s.owner, "", "prune", "readings", "--wait")
	require.Equal(t, 1, out.code)
	require.Contains(t, out.stderr, "AccessShareLock on readings")
	pgtest.Exec(t, reader, `COMMIT`)
	out = mvscheduler(t, s.db, s.owner, "", "prune", "readings", "--wait")
	require.Zero(t, out.code, out.stderr)
	require.Contains(t, out.stderr, ": put aside")
	require.NotZero(t, ask[int64](t, s.alice, `SELECT count(*) FROM mvscheduler.visible_kept`))
}

func TestAReaderWhoHoldsTheTableIsNamedAndNobodyWaitsLongBehindUs(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 5)
	reader := s.db.Conn(t, s.owner)
	pgtest.Exec(t, reader, `SET application_name = 'report'`, `BEGIN`, `SELECT count(*) FROM readings`)
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '2 days')`)
	startSidecar(t, s.db)
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'prune' AND progress ->> 'waiting_for' LIKE '%report%')`)
	pgtest.Exec(t, s.alice, `SET lock_timeout = '300ms'`)
	for i := range 20 { // each in a transaction of its own
		pgtest.Exec(t, s.alice, fmt.Sprintf(`INSERT INTO readings VALUES (now(), %d, 1)`, i), `SELECT pg_sleep(0.05)`)
	}
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'prune' AND state = 'failed' AND reason LIKE '%report%holds AccessShareLock on readings%')`)
	require.Equal(t, int64(7), s.leaves(t))
	require.Equal(t, "busy", ask[string](t, s.root, `SELECT string_agg(DISTINCT outcome, ' ') FROM mvscheduler.attempt AS a JOIN mvscheduler.run AS r ON r.id = a.run_id WHERE r.kind = 'prune'`))
}

func TestAPruneSaysOfHowManyPartitionsItDoesNotKnowTheRows(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.oldYear(t)
	pgtest.Exec(t, s.alice, `ALTER TABLE old SET (autovacuum_enabled = false)`, keepAYear)
	startSidecar(t, s.db)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.run WHERE kind = 'prune' AND state = 'succeeded'`)
	require.Contains(t, ask[string](t, s.root, `SELECT reason FROM mvscheduler.run WHERE kind = 'prune'`), "(rows of 1 unknown)")
}

func TestWhoEndsTheRetentionOfATableWaitsForARunThatPrunesIt(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 2)
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '30 days')`)
	run := s.db.Conn(t, s.owner)
	pgtest.Exec(t, run, `BEGIN`, `REFRESH MATERIALIZED VIEW readings__gate`)
	ended := make(chan error, 1)
	go func() {
		_, err := s.alice.Exec(context.WithoutCancel(t.Context()), `DELETE FROM mvscheduler.source_retention`)
		ended <- err
	}()
	// It lets go after half a second and waits with nothing held.
	until(t, s.root, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep' AND query LIKE 'DELETE FROM mvscheduler.source_retention%')`)
	pgtest.Exec(t, run, `COMMIT`)
	require.NoError(t, <-ended)
	require.Zero(t, ask[int](t, s.root, `SELECT count(*)::int FROM pg_class WHERE relname = 'readings__gate'`))
}
