package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// oldYear is a table of which the partition of 2020 is put aside once there is a row for it in source_retention.
func (s *scene) oldYear(t testing.TB) {
	t.Helper()
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE raw (ts timestamptz NOT NULL, k int) PARTITION BY RANGE (ts)`, `CREATE TABLE old PARTITION OF raw FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')`,
		`INSERT INTO raw VALUES ('2020-05-05', 1)`)
}

const keepAYear = `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('raw', '1 year')`

// aside is oldYear with its partition put aside.
func (s *scene) aside(t testing.TB) {
	t.Helper()
	s.oldYear(t)
	pgtest.Exec(t, s.alice, keepAYear)
	startSidecar(t, s.db)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.kept`)
}

// pruned waits until no run that prunes is under way.
func (s *scene) pruned(t testing.TB) {
	t.Helper()
	until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'prune' AND state IN ('queued', 'running'))`)
}

const dropWaits = `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'prune' AND state = 'running' AND progress ->> 'waiting_for' <> '')`

// A table of retention that is itself a part of a table that views read.
func TestAPartitionThatAViewReadsThroughTheTableAboveStays(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE everywhere (ts timestamptz NOT NULL, region text, k int) PARTITION BY LIST (region)`,
		`CREATE TABLE eu PARTITION OF everywhere FOR VALUES IN ('eu') PARTITION BY RANGE (ts)`, `CREATE TABLE eu_old PARTITION OF eu FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')`,
		`INSERT INTO everywhere VALUES ('2020-05-05', 'eu', 1)`)
	s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM everywhere WHERE mvscheduler.in_window(ts) GROUP BY 1`)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('eu', '1 year')`)
	s.stays(t, "eu", "v reads it through "+s.owner+".everywhere, of which "+s.owner+".eu is a part, and would lose its rows")
	s.incremented(t, "v")
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM v`))

	pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.views`, `CREATE MATERIALIZED VIEW unmanaged AS SELECT count(*) AS n FROM everywhere`)
	s.stays(t, "eu", "materialized view "+s.owner+".unmanaged reads it, is not managed")
	pgtest.Exec(t, s.alice, `ALTER TABLE everywhere DETACH PARTITION eu`, `UPDATE mvscheduler.source_retention SET enabled = true`)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.kept`)
}

// stays demands that nothing of a table leaves, and why.
func (s *scene) stays(t testing.TB, table, why string) {
	t.Helper()
	out := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+"."+table, "--dry-run", "-o", "json")
	require.Zero(t, out.code, out.stderr)
	require.Contains(t, out.stdout, why)
	time.Sleep(3 * time.Second) // a look every second
	require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.kept`))
}

func TestALegalHoldThatComesBeforeTheDropHoldsIt(t *testing.T) {
	t.Parallel()
	for _, change := range []string{`legal_hold = true`, `enabled = false`, `retention_period = '100 years'`, `grace_period = '7 days'`} {
		t.Run(change, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.aside(t)
			reader := s.db.Conn(t, s.owner)
			pgtest.Exec(t, reader, `BEGIN`, `SELECT * FROM old__kept`)
			pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET grace_period = '0'`)
			until(t, s.root, dropWaits)
			pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET `+change)
			pgtest.Exec(t, reader, `COMMIT`)
			s.pruned(t)
			require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM old__kept`))
			require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.pruning WHERE action = 'drop'`))
			require.Contains(t, ask[string](t, s.root, `SELECT reason FROM mvscheduler.run WHERE kind = 'prune' ORDER BY id DESC LIMIT 1`), "stays aside: ")
		})
	}
}

func TestAKeptPartitionThatIsAttachedByHandWhileTheDropWaitsIsNotDropped(t *testing.T) {
	t.Parallel()
	s := whileTheDropWaits(t, `ALTER TABLE raw ATTACH PARTITION old__kept FOR VALUES FROM ('2020-01-01 00:00+00') TO ('2021-01-01 00:00+00')`)
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM raw`))
}

func TestAKeptPartitionThatIsAlteredWhileTheDropWaitsIsNotDropped(t *testing.T) {
	t.Parallel()
	s := whileTheDropWaits(t, `ALTER TABLE old__kept ADD COLUMN note text`)
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM old__kept`))
}

// whileTheDropWaits has an owner do something by hand with the partition old__kept that is about to be dropped.
func whileTheDropWaits(t *testing.T, statement string) *scene {
	t.Helper()
	s := newScene(t)
	s.aside(t)
	reader, hand := s.db.Conn(t, s.owner), s.db.Conn(t, s.owner)
	pgtest.Exec(t, reader, `BEGIN`, `SELECT * FROM old__kept`)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET grace_period = '0'`)
	until(t, s.root, dropWaits)
	altered := make(chan error, 1)
	go func() {
		_, err := hand.Exec(t.Context(), `BEGIN; `+statement)
		altered <- err
	}()
	until(t, s.root, `SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = $1::text::regclass)`, s.owner+".old__kept")
	pgtest.Exec(t, reader, `COMMIT`)
	require.NoError(t, <-altered)
	until(t, s.root, `SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = $1::text::regclass)`, s.owner+".old__kept")
	pgtest.Exec(t, hand, `COMMIT`)
	s.pruned(t)
	return s
}

// It was brought back, or attached by hand, and its owner took it away himself before the sidecar has looked.
func TestAPartitionThatWasRestoredAndDetachedByItsOwnerIsNotDropped(t *testing.T) {
	heavy(t)
	t.Parallel()
	for name, statements := range map[string][]string{
		"restored": {`BEGIN`, `SELECT mvscheduler.restore_view('raw')`, `ALTER TABLE raw DETACH PARTITION old`, `ALTER TABLE old RENAME TO archive_of_2020`, `COMMIT`},
		"by hand":  {`BEGIN`, `ALTER TABLE raw ATTACH PARTITION old__kept FOR VALUES FROM ('2020-01-01 00:00+00') TO ('2021-01-01 00:00+00')`, `ALTER TABLE raw DETACH PARTITION old__kept`, `COMMIT`},
		"renamed":  {`ALTER TABLE old__kept RENAME TO archive_of_2020`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.aside(t)
			pgtest.Exec(t, s.alice, statements...)
			pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET grace_period = '0'`)
			out := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".raw", "--dry-run", "-o", "json")
			require.Contains(t, out.stdout, "it was altered since it was put aside")
			time.Sleep(3 * time.Second) // a look every second
			require.Equal(t, int64(1), ask[int64](t, s.root, `SELECT count(*) FROM pg_class WHERE relname IN ('archive_of_2020', 'old__kept')`))
		})
	}
}

func TestRestoreLeavesTheSettingsOfTheSessionAlone(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.aside(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'Asia/Tokyo'`, `SET DateStyle = 'German'`, `BEGIN`, `SELECT mvscheduler.restore_view('raw')`)
	require.Equal(t, "Asia/Tokyo German, DMY", ask[string](t, s.alice, `SELECT current_setting('TimeZone') || ' ' || current_setting('DateStyle')`))
	pgtest.Exec(t, s.alice, `COMMIT`)
}

// The table got a column, or a constraint, while a partition was aside.
func TestAKeptPartitionThatDoesNotFitItsTableAnyMoreSaysHowItsRowsComeBack(t *testing.T) {
	heavy(t)
	t.Parallel()
	for name, c := range map[string]struct {
		alter string
		fits  bool
	}{
		"column": {alter: `ALTER TABLE raw ADD extra int`}, "dropped": {alter: `ALTER TABLE raw DROP k`}, "check": {alter: `ALTER TABLE raw ADD CHECK (k > 0)`}, "not null": {alter: `ALTER TABLE raw ALTER k SET NOT NULL`},
		"default": {`CREATE TABLE rest PARTITION OF raw DEFAULT`, true}, "late row": {alter: `CREATE TABLE rest PARTITION OF raw DEFAULT; INSERT INTO raw VALUES ('2020-05-06', 2)`},
		"taken": {alter: `CREATE TABLE instead PARTITION OF raw FOR VALUES FROM ('2020-01-01') TO ('2020-02-01')`}, "type": {alter: `ALTER TABLE raw ALTER k TYPE bigint`},
		"generated": {alter: `ALTER TABLE raw ADD day date GENERATED ALWAYS AS ((ts AT TIME ZONE 'UTC')::date) STORED`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.aside(t)
			pgtest.Exec(t, s.alice, c.alter)
			_, err := s.alice.Exec(t.Context(), `SELECT mvscheduler.restore_view('raw')`)
			if c.fits {
				require.NoError(t, err)
				require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM raw`))
				return
			}
			require.ErrorContains(t, err, s.owner+".old__kept cannot be attached to "+s.owner+".raw again: ")
			var refusal *pgconn.PgError
			require.ErrorAs(t, err, &refusal)
			if name == "late row" { // in whose way the partition would be that other hints have made
				require.Equal(t, "Move them into it and try again: WITH late AS (DELETE FROM "+s.owner+".rest WHERE ts >= '2020-01-01 00:00:00+00' AND ts < '2021-01-01 00:00:00+00' RETURNING ts, k) "+
					"INSERT INTO "+s.owner+".old__kept (ts, k) SELECT ts, k FROM late", refusal.Hint)
			} else {
				require.Contains(t, refusal.Hint, "INSERT INTO "+s.owner+".raw (...) SELECT ... FROM "+s.owner+".old__kept")
			}
			require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM old__kept`))
		})
	}
}

// hourlyOfOldYear is an hourly view of that year, which then leaves.
func (s *scene) hourlyOfOldYear(t testing.TB) {
	t.Helper()
	s.oldYear(t)
	s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM raw WHERE mvscheduler.in_window(ts) GROUP BY 1`)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, keepAYear)
}

const nothingFrozen = `SELECT NOT EXISTS (SELECT FROM mvscheduler.frozen WHERE times > '-infinity' OR labels > '-infinity')`

// Retention was tried, everything was restored and the row deleted: nothing has left.
func TestViewsFollowAgainWhenRetentionIsTakenBack(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.hourlyOfOldYear(t)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.kept`)
	require.False(t, ask[bool](t, s.root, nothingFrozen))
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.restore_view('raw')`, `DELETE FROM mvscheduler.source_retention`)
	until(t, s.root, nothingFrozen)
	until(t, s.root, `SELECT count(*) = 0 FROM mvscheduler.kept`)
	pgtest.Exec(t, s.alice, `INSERT INTO raw VALUES ('2020-05-05', 2)`)
	s.incremented(t, "v")
	same(t, s.alice, "v")
}

// With what has left a view keeps the buckets beside it, too, and takes nothing that comes for them until it is back.
func TestWhatCameBesideWhatHadLeftIsTakenWhenThatIsBack(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.oldYear(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE since PARTITION OF raw FOR VALUES FROM ('2021-01-01') TO (MAXVALUE)`)
	s.incremental(t, "v", `SELECT date_trunc('minute', ts) AS hour, count(*) AS n FROM raw WHERE mvscheduler.in_window(ts) GROUP BY 1`, "bucket_width", "1 minute")
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, keepAYear)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.kept`)
	pgtest.Exec(t, s.alice, `INSERT INTO raw VALUES ('2021-01-01 00:30', 1)`)
	s.incremented(t, "v")
	require.Zero(t, ask[int64](t, s.alice, `SELECT count(*) FROM v WHERE hour >= '2021-01-01'`))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET legal_hold = true`, `SELECT mvscheduler.restore_view('raw')`)
	s.incremented(t, "v")
	same(t, s.alice, "v")
}

// Whoever notices that something is back records it, and then moves the horizons, in another transaction: a refresh between the two does that itself.
func TestWhatIsBackIsFollowedByARefreshThatComesBeforeTheHorizonsHaveMoved(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.hourlyOfOldYear(t)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.kept`)
	s.pruned(t)
	pgtest.Exec(t, s.root, `BEGIN`, `SET LOCAL ROLE `+s.owner, `SELECT mvscheduler.restore_view('`+s.owner+`.raw')`, `INSERT INTO `+s.owner+`.raw VALUES ('2020-05-05', 2)`, `RESET ROLE`,
		`UPDATE mvscheduler.kept SET detached_at = NULL, restored_at = clock_timestamp()`, `COMMIT`)
	s.incremented(t, "v")
	same(t, s.alice, "v")
}

// What is aside when the row is deleted is gone for the views, and so is what was dropped.
func TestViewsKeepWhatDidNotComeBack(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.oldYear(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE older PARTITION OF raw FOR VALUES FROM ('2019-01-01') TO ('2020-01-01')`, `INSERT INTO raw VALUES ('2019-05-05', 1)`)
	s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM raw WHERE mvscheduler.in_window(ts) GROUP BY 1`)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, keepAYear)
	until(t, s.root, `SELECT count(*) = 2 FROM mvscheduler.kept`)
	horizon := `SELECT EXISTS (SELECT FROM mvscheduler.frozen WHERE times BETWEEN $1::timestamptz AND $1::timestamptz + interval '2 days')`
	require.True(t, ask[bool](t, s.root, horizon, "2021-01-01 00:00+00"))
	pgtest.Exec(t, s.alice, `DROP TABLE older__kept`, `SELECT mvscheduler.restore_view('raw')`)
	until(t, s.root, horizon, "2020-01-01 00:00+00") // the younger one is followed again, the older one is gone for good
	pgtest.Exec(t, s.alice, `INSERT INTO raw VALUES ('2020-05-05', 2)`)
	s.incremented(t, "v")
	require.Equal(t, int64(3), ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM v`))
	pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.source_retention`)
	until(t, s.root, `SELECT count(*) = 0 FROM mvscheduler.kept`)
	require.True(t, ask[bool](t, s.root, horizon, "2020-01-01 00:00+00"))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET unique_key = unique_key`, `TRUNCATE raw`)
	s.incremented(t, "v")
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM v`))
}

// A view that is younger than the partition that was put aside has never had its rows.
func TestAYoungerViewTakesARestoredPartition(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.aside(t)
	s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM raw WHERE mvscheduler.in_window(ts) GROUP BY 1`)
	s.incremented(t, "v")
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.frozen WHERE times > '-infinity')`)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.restore_view('raw')`)
	until(t, s.root, nothingFrozen)
	s.incremented(t, "v")
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM v`))
}

// Who has no privilege on a table keeps none of its partitions; who had read it, and may not any more, still does.
func TestSomebodyWithoutPrivilegesDoesNotKeepPartitionsOfOthers(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	alice := a.db.Conn(t, a.alice)
	pgtest.Exec(t, alice, `SET jit = off`, `CREATE TABLE raw (ts timestamptz NOT NULL, k int) PARTITION BY RANGE (ts)`, `CREATE TABLE old PARTITION OF raw FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')`,
		`CREATE VIEW shown AS SELECT * FROM raw`, `INSERT INTO mvscheduler.source_retention ("table", retention_period, enabled) VALUES ('raw', '1 year', false)`)
	a.as(`CREATE MATERIALIZED VIEW mallory.m AS SELECT count(*) FROM alice.raw WITH NO DATA`, `CREATE MATERIALIZED VIEW mallory.n AS SELECT count(*) FROM alice.shown WITH NO DATA`,
		`CREATE VIEW mallory.asks WITH (security_invoker = on) AS SELECT * FROM alice.raw`, `CREATE MATERIALIZED VIEW mallory.o AS SELECT count(*) FROM mallory.asks WITH NO DATA`,
		fmt.Sprintf(sumByHour, "mallory.v", "alice.raw"))
	startSidecar(t, a.db)
	a.as(`SELECT mvscheduler.refresh_view('mallory.v')`) // which fails
	until(t, a.root, a.sql(`SELECT EXISTS (SELECT FROM mvscheduler.attempt AS t JOIN mvscheduler.run AS r ON r.id = t.run_id WHERE r.view_name = 'mallory.v' AND t.outcome <> 'running')`))
	pgtest.Exec(t, alice, `UPDATE mvscheduler.source_retention SET enabled = true`)
	readers := func() string {
		return ask[string](t, alice, `SELECT coalesce(string_agg(DISTINCT split_part(r ->> 'Name', '.', 2), ' '), '') FROM mvscheduler.prune_facts AS f, jsonb_array_elements(f.facts -> 'Readers') AS r WHERE f.name LIKE '%.raw'`)
	}
	require.Empty(t, readers())
	until(t, a.root, `SELECT count(*) = 1 FROM mvscheduler.kept`)
	pgtest.Exec(t, alice, `SELECT mvscheduler.restore_view('raw')`, a.sql(`GRANT SELECT ON shown TO mallory`))
	require.Equal(t, "n", readers())
	pgtest.Exec(t, alice, a.sql(`GRANT SELECT (k, ts), TRIGGER ON raw TO mallory`), `UPDATE mvscheduler.source_retention SET grace_period = '0'`)
	require.Equal(t, "m n o v", readers())
	require.Contains(t, mvscheduler(t, a.db, a.alice, "", "prune", a.sql("alice.raw"), "--dry-run", "-o", "json").stdout, "mallory")
	refreshed(t, a.m, a.sql("mallory.v"))
	pgtest.Exec(t, alice, a.sql(`REVOKE ALL ON raw, shown FROM mallory`), a.sql(`REVOKE SELECT (k, ts) ON raw FROM mallory`))
	require.Equal(t, "v", readers())
}

// A writer of an old partition commits while the DETACH waits for its lock: no view has the row, so the partition stays.
func TestAPartitionThatWasWrittenToWhileItsDetachWaitedStays(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.oldYear(t)
	s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM raw WHERE mvscheduler.in_window(ts) GROUP BY 1`)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	writer := s.db.Conn(t, s.owner)
	pgtest.Exec(t, writer, `BEGIN`, `INSERT INTO raw VALUES ('2020-05-06', 1)`)
	pgtest.Exec(t, s.alice, keepAYear)
	until(t, s.root, dropWaits)
	pgtest.Exec(t, writer, `COMMIT`)
	s.pruned(t)
	require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.kept WHERE detached_at IS NOT NULL`), "no view has its last row")
	s.incremented(t, "v")
	require.Equal(t, int64(2), ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM v`))
}
