package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

const everyMinute = `SELECT date_trunc('minute', ts) AS minute, device, count(*) AS n, sum(value) AS total FROM readings WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`

// readings is a table partitioned by day, with rows every 20 minutes of the last days and of today.
func (s *scene) readings(t testing.TB, days int) {
	t.Helper()
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE readings (ts timestamptz NOT NULL, device int NOT NULL, value numeric) PARTITION BY RANGE (ts)`,
		fmt.Sprintf(`DO $$ DECLARE d date; BEGIN
			FOR n IN -%d..1 LOOP
				d := (now() AT TIME ZONE 'UTC')::date + n;
				EXECUTE format('CREATE TABLE readings_%%s PARTITION OF readings FOR VALUES FROM (%%L) TO (%%L)', CASE WHEN n < 0 THEN 'm' ELSE 'p' END || abs(n), d || ' 00:00+00', (d + 1) || ' 00:00+00');
			END LOOP; END $$`, days),
		`CREATE INDEX ON readings (ts)`,
		fmt.Sprintf(`INSERT INTO readings SELECT t, d, d FROM generate_series(date_trunc('day', now(), 'UTC') - interval '%d days', now(), '20 minutes') AS t, generate_series(1, 2) AS d`, days))
}

// olderThan is a period after which, of partitions of a day each, the same ones leave at any hour: as at noon.
func olderThan(days int) string {
	sinceNoon := time.Since(time.Now().UTC().Truncate(24 * time.Hour).Add(12 * time.Hour))
	return fmt.Sprintf("%d days %d seconds", days, int(sinceNoon.Seconds()))
}

// minutely registers a view by minute, whose partitions hold a day each.
func (s *scene) minutely(t testing.TB, name string, columns ...any) {
	t.Helper()
	s.incremental(t, name, everyMinute, append([]any{"time_column", "minute", "bucket_width", "1 minute"}, columns...)...)
}

// snapshotOf keeps what a relation holds, to be compared later.
func (s *scene) snapshotOf(t testing.TB, relation, name string) {
	t.Helper()
	pgtest.Exec(t, s.alice, `CREATE TABLE `+name+` AS SELECT * FROM `+relation)
}

func (s *scene) lost(t testing.TB, before, now, where string) int64 {
	t.Helper()
	return ask[int64](t, s.alice, `SELECT count(*) FROM (SELECT * FROM `+before+` AS b WHERE `+where+` EXCEPT ALL SELECT * FROM `+now+`) AS gone`)
}

// A longer retention that somebody has set, and not committed yet.
func TestNoPartitionOfAViewIsDroppedThatALongerRetentionIsAboutToReach(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.minutely(t, "v", "retention_period", "100 days")
	startSidecar(t, s.db)
	s.incremented(t, "v")
	s.snapshotOf(t, "v", "before")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '6 days 12 hours'`)
	until(t, s.root, `SELECT count(*) > 0 FROM mvscheduler.kept`)
	s.pruned(t)
	reader, owner := s.db.Conn(t, s.owner), s.db.Conn(t, s.owner)
	pgtest.Exec(t, reader, `BEGIN`, `LOCK TABLE `+ask[string](t, s.alice, `SELECT string_agg(relation::text, ', ') FROM mvscheduler.visible_kept`)+` IN ACCESS SHARE MODE`)
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.settings SET grace_period = '0'`)
	until(t, s.root, dropWaits)
	pgtest.Exec(t, owner, `BEGIN`, `UPDATE mvscheduler.views SET retention_period = '100 days'`)
	pgtest.Exec(t, reader, `COMMIT`)
	s.pruned(t)
	pgtest.Exec(t, owner, `COMMIT`)
	require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.pruning WHERE action = 'drop'`))
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.restore_view('v')`) // it would come back by itself in a minute
	require.Zero(t, s.lost(t, "before", "v", "true"))
}

func TestOldPartitionsOfAViewArePutAsideRestorableAndThenDropped(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.minutely(t, "v")
	s.minutely(t, "young", "retention_period", "3 days")
	require.NotContains(t, ask[string](t, s.alice, `SELECT pg_get_viewdef('v__query'::regclass)`), "cutoff")
	startSidecar(t, s.db)
	s.incremented(t, "v", "young")
	owner, said := connNoticing(t, s.db.URLAs(s.owner))
	pgtest.Exec(t, owner, `UPDATE mvscheduler.views SET retention_period = '3 days' WHERE name LIKE '%.v'`)
	require.Len(t, *said, 1)
	require.Regexp(t, `^6 partitions of \S+\.v end before .* and will leave as soon as no view needs what is in them$`, (*said)[0].Message)
	require.Contains(t, (*said)[0].Hint, "mvscheduler restore "+s.owner+".v brings back")
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'prune' AND state = 'succeeded')`)
	young := ask[int64](t, s.alice, `SELECT count(DISTINCT minute) FROM young`)
	require.Equal(t, fmt.Sprintf("%d: filled in 4 partitions; nothing changed below meanwhile; changes are noted by triggers", young), ask[string](t, s.root, `SELECT buckets || ': ' || reason FROM mvscheduler.run WHERE view_name LIKE '%.young' AND cause = 'initial'`), "what would leave at once is not built")
	require.Equal(t, young, ask[int64](t, s.alice, `SELECT buckets FROM mvscheduler.runs WHERE view_name LIKE '%.young' AND cause = 'initial'`))
	require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.run WHERE view_name LIKE '%.young' AND kind = 'prune'`))
	for _, command := range []string{"prune " + s.owner + ".young --dry-run", "prune " + s.owner + ".v --dry-run -o json", "show " + s.owner + ".v"} {
		out := mvscheduler(t, s.db, s.owner, "", strings.Fields(command)...)
		require.Zero(t, out.code, out.stderr)
		if strings.HasPrefix(command, "show") {
			require.Contains(t, out.stdout, "6 partitions, restorable by: mvscheduler restore")
		}
		if strings.Contains(command, "json") {
			require.Equal(t, 6, strings.Count(out.stdout, `"action": "hold"`))
			require.Contains(t, out.stdout, "stays aside: it can be restored until")
		}
	}
	pgtest.Exec(t, owner, `UPDATE mvscheduler.views SET retention_period = '4 days' WHERE name LIKE '%.young'`)
	require.Len(t, *said, 1, "a longer one")
	pgtest.Exec(t, owner, `UPDATE mvscheduler.views SET retention_period = '3 days' WHERE name LIKE '%.young'`)
	require.Len(t, *said, 1, "nothing leaves")
	shorter := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".v", "--dry-run", "--retention-period", "1 day", "-o", "json")
	require.Equal(t, 2, strings.Count(shorter.stdout, `"action": "detach"`), shorter.stdout+shorter.stderr)
	require.Contains(t, mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".v", "--dry-run", "--retention-period=-1 day").stderr, "no time of at most 5000 years")
	require.Equal(t, int64(6), ask[int64](t, s.alice, `SELECT kept_partitions FROM mvscheduler.status WHERE name LIKE '%.v'`))
	require.Zero(t, ask[int64](t, s.alice, `SELECT coalesce(sum(rows), 0) FROM mvscheduler.prune_view('v')`))
	require.Equal(t, int64(0), ask[int64](t, s.alice, `SELECT count(*) FROM v WHERE minute < date_trunc('day', now(), 'UTC') - interval '3 days'`))
	require.Equal(t, int64(2*72*3), ask[int64](t, s.alice, `SELECT count(*) FROM v WHERE minute >= date_trunc('day', now(), 'UTC') - interval '3 days' AND minute < date_trunc('day', now(), 'UTC')`))
	require.Equal(t, int64(6), ask[int64](t, s.alice, `SELECT count(*) FROM mvscheduler.visible_kept`))
	require.Equal(t, int64(2*72*6), ask[int64](t, s.alice, `SELECT sum(rows)::bigint FROM mvscheduler.visible_kept`))
	require.Equal(t, "6 detach", ask[string](t, s.alice, `SELECT count(*) || ' ' || min(action) FROM mvscheduler.prunings`))
	require.Contains(t, ask[string](t, s.alice, `SELECT reason FROM mvscheduler.prunings LIMIT 1`), "is put aside: it is older than the horizon")
	require.Contains(t, ask[string](t, s.root, `SELECT reason FROM mvscheduler.run WHERE kind = 'prune'`), "put aside 6 partitions, about 864 rows")
	require.Equal(t, "864", ask[string](t, s.root, `SELECT rows::text FROM mvscheduler.run WHERE kind = 'prune'`))
	require.Equal(t, "fresh", ask[string](t, s.alice, `SELECT freshness FROM mvscheduler.status WHERE name LIKE '%.v'`))

	// What has left does not come back by a refresh, whatever is written below.
	pgtest.Exec(t, s.alice, `INSERT INTO readings SELECT min(ts), 7, 7 FROM readings`, `UPDATE mvscheduler.views SET query = replace(query, 'sum(value)', 'max(value)') WHERE name LIKE '%.v'`)
	s.incremented(t, "v")
	require.Equal(t, int64(0), ask[int64](t, s.alice, `SELECT count(*) FROM v WHERE minute < date_trunc('day', now(), 'UTC') - interval '3 days'`))
	require.Equal(t, int64(6), ask[int64](t, s.alice, `SELECT count(*) FROM mvscheduler.visible_kept`))

	// Every row of it can be restored, and stays for another grace period.
	requireSQLState(t, s.root, "42501", `SELECT mvscheduler.restore_view('`+s.owner+`.v')`) // an administrator, in whose session ATTACH could call functions of the owner's
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.restore_view('v')`)
	require.Equal(t, int64(2*72*6), ask[int64](t, s.alice, `SELECT count(*) FROM v WHERE minute < date_trunc('day', now(), 'UTC') - interval '3 days'`))
	require.Zero(t, ask[int64](t, s.alice, `SELECT count(*) FROM mvscheduler.visible_kept`))
	pgtest.Exec(t, s.alice, `INSERT INTO readings SELECT max(ts), 8, 8 FROM readings`)
	s.incremented(t, "v")
	until(t, s.root, `SELECT count(*) = 6 FROM mvscheduler.pruning WHERE action = 'restore'`)
	require.Zero(t, ask[int64](t, s.alice, `SELECT count(*) FROM mvscheduler.visible_kept`))

	// When the grace period is over they leave again, and are dropped.
	s.db.Exec(t, `UPDATE mvscheduler.settings SET grace_period = '0'`)
	pgtest.Exec(t, s.alice, `INSERT INTO readings SELECT max(ts), 9, 9 FROM readings`)
	s.incremented(t, "v")
	until(t, s.root, `SELECT count(*) = 6 FROM mvscheduler.pruning WHERE action = 'drop'`)
	require.Equal(t, "6 true", ask[string](t, s.alice, `SELECT count(DISTINCT bound) || ' ' || bool_and(bound LIKE 'FOR VALUES FROM (''%+00'') TO (''%+00'')') FROM mvscheduler.prunings`), "in one form, whatever became of a partition")
	require.Equal(t, "v v, v__data p", ask[string](t, s.alice, `SELECT string_agg(relname || ' ' || relkind::text, ', ' ORDER BY relname) FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND (relname IN ('v', 'v__data') OR relname LIKE '%kept%') AND relkind IN ('v', 'p', 'r')`))
	require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.kept`))
	require.Zero(t, ask[int64](t, s.root, `SELECT (SELECT count(*) FROM mvscheduler.pass) + (SELECT count(*) FROM mvscheduler.pass_partition)`))
}

func TestWhatTheRetentionPeriodReachesAgainComesBackByItself(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.minutely(t, "v")
	startSidecar(t, s.db)
	s.incremented(t, "v")
	s.snapshotOf(t, "v", "before")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '2 days'`)
	until(t, s.root, `SELECT count(*) = 7 FROM mvscheduler.visible_kept`)
	pgtest.Exec(t, s.alice, `COMMENT ON TABLE `+ask[string](t, s.alice, `SELECT relation::text FROM mvscheduler.visible_kept ORDER BY bound LIMIT 1`)+` IS 'mine now'`)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '5 days'`)
	until(t, s.root, `SELECT count(*) = 3 FROM mvscheduler.pruning WHERE action = 'restore'`)
	require.Equal(t, int64(4), ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.visible_kept`))
	require.Zero(t, s.lost(t, "before", "v", `minute >= date_trunc('day', now(), 'UTC') - interval '5 days'`))
	require.Zero(t, ask[int64](t, s.alice, `SELECT count(*) FROM v WHERE minute < date_trunc('day', now(), 'UTC') - interval '5 days'`))
	require.Contains(t, ask[string](t, s.root, `SELECT string_agg(reason, '; ' ORDER BY id) FROM mvscheduler.run WHERE kind = 'prune'`), "brought back 3 partitions, about 432 rows")
	require.Contains(t, ask[string](t, s.alice, `SELECT reason FROM mvscheduler.prunings WHERE action = 'restore' LIMIT 1`), "comes back: it is not older any more than the horizon")

	// With none, everything comes back but what its owner has taken for something else.
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = NULL`)
	until(t, s.root, `SELECT count(*) = 6 FROM mvscheduler.pruning WHERE action = 'restore'`)
	require.Zero(t, s.lost(t, "before", "v", `minute >= date_trunc('day', now(), 'UTC') - interval '8 days'`))
	require.Equal(t, int64(1), ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.visible_kept WHERE altered`))
	require.Equal(t, s.owner+".v__data", ask[string](t, s.root, `SELECT DISTINCT inhparent::regclass::text FROM pg_inherits AS i JOIN mvscheduler.kept AS k ON k.relation::oid = i.inhrelid`))
	require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.run WHERE kind = 'prune' AND state <> 'succeeded'`))
}

func TestAViewThatIsDroppedTakesWhatIsKeptAsideWithIt(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 5)
	s.minutely(t, "v")
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '2 days'`)
	until(t, s.root, `SELECT count(*) = 3 FROM mvscheduler.kept`)
	bob := s.db.User(t, "bob")
	pgtest.Exec(t, s.root, `GRANT USAGE, CREATE ON SCHEMA `+s.owner+` TO `+bob, `GRANT `+bob+` TO `+s.owner)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET owner = `+quote(bob)+`::regrole`)
	require.Equal(t, int64(3), ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.kept AS k JOIN pg_class AS c ON c.oid = k.relation::oid WHERE c.relowner = $1::text::regrole`, bob))
	pgtest.Exec(t, s.db.Conn(t, bob), `DELETE FROM mvscheduler.views`)
	require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM pg_class WHERE relname LIKE '%kept%' AND relnamespace = $1::text::regnamespace`, s.owner))
	until(t, s.root, `SELECT count(*) = 0 FROM mvscheduler.kept`)
}

// A retention of a week: hours that are much older leave.
func TestHoursOfAWeekAreKeptForAboutAWeek(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE metrics (ts timestamptz NOT NULL, device int NOT NULL, value numeric)`, `CREATE INDEX ON metrics (ts)`,
		`INSERT INTO metrics SELECT t, d, d FROM generate_series(now() - interval '90 days', now(), '6 hours') AS t, generate_series(1, 3) AS d`)
	s.incremental(t, "v", hourly, "retention_period", "7 days")
	startSidecar(t, s.db)
	s.incremented(t, "v")
	until(t, s.alice, `SELECT min(hour) > now() - interval '9 days' FROM v`)
	for width, kept := range map[string]string{"day": "1 hour, 20 days", "week": "1 hour, 3 months", "month": "1 hour, 5 years", "year": "1 day, 20 years", "century": "1 month, 1000 years"} {
		bucket, period, _ := strings.Cut(kept, ", ")
		require.Equal(t, width, ask[string](t, s.root, `SELECT mvscheduler.partition_unit($1::text::interval, $2::text::interval)`, bucket, period), kept)
	}
}

// What comes back by itself keeps nobody waiting and fails in no loop.
func TestWhatIsInThePlaceOfAPartitionKeepsItAlone(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.minutely(t, "v")
	startSidecar(t, s.db)
	s.incremented(t, "v")
	s.snapshotOf(t, "v", "before")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '2 days'`)
	until(t, s.root, `SELECT count(*) = 7 FROM mvscheduler.visible_kept`)
	bound := ask[string](t, s.alice, `SELECT bound FROM mvscheduler.visible_kept ORDER BY bound DESC LIMIT 1 OFFSET 2`)
	pgtest.Exec(t, s.alice, `CREATE TABLE mine PARTITION OF v__data `+bound, `UPDATE mvscheduler.views SET retention_period = '6 days'`)
	until(t, s.root, `SELECT count(*) = 3 FROM mvscheduler.pruning WHERE action = 'restore'`)
	out := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".v", "--dry-run", "-o", "json").stdout
	require.Contains(t, out, "of retention_period 6 days, but "+s.owner+".mine (")
	require.Contains(t, out, ") is in its place")
	pgtest.Exec(t, s.alice, `DROP TABLE mine`, `CREATE TABLE rest PARTITION OF v__data DEFAULT`)
	require.Contains(t, mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".v", "--dry-run", "-o", "json").stdout, "everybody would wait until the DEFAULT partition "+s.owner+".rest was searched")
	pgtest.Exec(t, s.alice, `DROP TABLE rest`)
	until(t, s.root, `SELECT count(*) = 4 FROM mvscheduler.pruning WHERE action = 'restore'`)
	s.idle(t)
	require.Zero(t, s.lost(t, "before", "v", `minute >= date_trunc('day', now(), 'UTC') - interval '6 days'`))
	require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.run WHERE kind = 'prune' AND state <> 'succeeded'`))
}
