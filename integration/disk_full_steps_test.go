package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// places has each DDL of a step, and each row that is recorded for it, write a page to the small disk where that place is the one
// that is wanted; where there is no room it ends with PostgreSQL's own error. A step by hand is called restore, what the
// sidecar records without a step note.
func (s *scene) places(t testing.TB) {
	t.Helper()
	pgtest.Exec(t, s.root, `CREATE SCHEMA places`, `GRANT USAGE ON SCHEMA places TO PUBLIC`, `CREATE TABLE places.page (x text) TABLESPACE small`, `ALTER TABLE places.page ALTER x SET STORAGE PLAIN`,
		`CREATE TABLE places.wanted (place text)`, `CREATE TABLE places.seen (place text PRIMARY KEY)`,
		`CREATE FUNCTION places.at(what text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
			DECLARE here text := coalesce(nullif(current_setting('places.step', true), ''), CASE WHEN session_user LIKE 'worker%' THEN 'note' ELSE 'restore' END) || ' ' || what;
			BEGIN INSERT INTO places.seen VALUES (here) ON CONFLICT DO NOTHING;
				IF EXISTS (SELECT FROM places.wanted AS w WHERE w.place = here) THEN INSERT INTO places.page VALUES (repeat('x', 8000)); END IF; END $$`,
		`CREATE FUNCTION places.enter() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('places.step', NEW.step, true); RETURN NEW; END $$`,
		`CREATE FUNCTION places.recorded() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM places.at(TG_OP || ' ' || TG_TABLE_NAME); RETURN NULL; END $$`,
		`CREATE FUNCTION places.ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
			IF session_user LIKE 'worker%' OR current_setting('application_name') = 'mvscheduler cli' THEN
				PERFORM set_config('places.n', coalesce(nullif(current_setting('places.n', true), ''), '0')::int + 1 || '', true), places.at('DDL ' || current_setting('places.n', true)); END IF; END $$`,
		`CREATE EVENT TRIGGER places_ddl ON ddl_command_end WHEN TAG IN ('ALTER TABLE', 'ALTER VIEW', 'CREATE VIEW', 'CREATE INDEX', 'ALTER INDEX', 'COMMENT', 'DROP TABLE', 'DROP VIEW') EXECUTE FUNCTION places.ddl()`,
		`CREATE TRIGGER places_enter BEFORE INSERT ON mvscheduler.pass FOR EACH ROW EXECUTE FUNCTION places.enter()`)
	for _, table := range []string{"kept", "pruning", "frozen", "frozen_by"} {
		pgtest.Exec(t, s.root, `CREATE TRIGGER places_recorded AFTER INSERT OR UPDATE OR DELETE ON mvscheduler.`+table+` FOR EACH ROW EXECUTE FUNCTION places.recorded()`)
	}
}

// passed are the places of a step where it came by.
func (s *scene) passed(t testing.TB, step string) []string {
	t.Helper()
	return ask[[]string](t, s.root, `SELECT coalesce(array_agg(place ORDER BY place), '{}') FROM places.seen WHERE place LIKE $1 || ' %'`, step)
}

// without has one place of a step meet a full disk.
func (s *scene) without(t testing.TB, disk smallDisk, place string) {
	t.Helper()
	disk.leave(t, 0)
	pgtest.Exec(t, s.root, `TRUNCATE places.wanted`, `INSERT INTO places.wanted VALUES ('`+place+`')`)
}

const noRoom = `could not extend file .*: No space left on device`

func TestAPruneThatMeetsAFullDiskLosesNothingAndTheNextFinishesIt(t *testing.T) {
	heavy(t)
	t.Parallel()
	s, disk := newSmallDisk(t)
	days := 4
	if long {
		days = 7
	}
	parts := days * 24
	s.hourlyParts(t, parts)
	s.minutely(t, "v")
	startSidecar(t, s.db)
	s.incremented(t, "hourly", "daily", "v")
	for _, view := range []string{"hourly", "daily", "v"} {
		s.snapshotOf(t, view, view+"_before")
	}
	s.places(t)
	probe := startReader(t, s.db, s.owner, `SELECT count(*) FROM hourly`)
	hours := ask[int64](t, s.alice, `SELECT count(*) FROM hourly`)
	hasten := []string{`UPDATE mvscheduler.run SET finished_at = '2026-01-01' WHERE kind = 'prune' AND state = 'failed' AND finished_at > '2026-01-01'`, lookAtTables}
	await := func(sql string, args ...any) {
		t.Helper()
		for deadline, n := time.Now().Add(patience), 0; !ask[bool](t, s.root, sql, args...); n++ {
			if !time.Now().Before(deadline) {
				require.Failf(t, "never became true", "%s %v; the last runs that prune: %s", sql, args, ask[string](t, s.root, `
SELECT string_agg(concat_ws(' ', r.id, r.view_name, r.state, r.finished_at, r.reason, r.error), '; ') FROM (SELECT * FROM mvscheduler.runs WHERE kind = 'prune' ORDER BY id DESC LIMIT 5) AS r`))
			}
			if n%40 == 0 {
				pgtest.Exec(t, s.root, hasten...)
			}
			time.Sleep(25 * time.Millisecond)
		}
	}
	moved := func(action string) int64 {
		return ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.pruning WHERE action = $1`, action)
	}
	// whole says that each partition is in its table, or aside, and that nobody misses a row.
	whole := func() {
		t.Helper()
		require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.kept AS k LEFT JOIN pg_class AS c ON c.oid = k.relation::oid WHERE c.oid IS NULL OR c.relispartition = (k.detached_at IS NOT NULL)`))
		for _, view := range []string{"hourly", "daily"} {
			require.Zero(t, s.lost(t, view+"_before", view, "true"), view)
		}
	}
	// meets has partitions move, each of which meets a full disk at another one of the places where those before came by.
	meets := func(step, action string, more func(), look ...string) {
		t.Helper()
		for range 2 { // where the first one comes by the others need not
			pgtest.Exec(t, s.root, `TRUNCATE places.seen`)
			before := moved(action)
			more()
			pgtest.Exec(t, s.root, look...)
			await(`SELECT count(*) > $2 FROM mvscheduler.pruning WHERE action = $1`, action, before)
			s.pruned(t)
		}
		require.NotEmpty(t, s.passed(t, step))
		for _, place := range drawn(t, 3, s.passed(t, step)) {
			before, was := moved(action), ask[int64](t, s.root, `SELECT max(id) FROM mvscheduler.run`)
			s.without(t, disk, place)
			more()
			pgtest.Exec(t, s.root, look...)
			await(`SELECT EXISTS (SELECT FROM mvscheduler.attempt AS a WHERE a.run_id > $1 AND a.sqlstate = '53100')`, was)
			reason := ask[string](t, s.root, `SELECT concat_ws(' ', r.state, r.reason, r.error) FROM mvscheduler.runs AS r JOIN mvscheduler.attempt AS a ON a.run_id = r.id AND a.sqlstate = '53100' WHERE r.id > $1 ORDER BY r.id LIMIT 1`, was)
			require.Regexp(t, noRoom, reason, place)
			require.Contains(t, reason, "The disk is full: free space", place)
			require.Equal(t, before, moved(action), place)
			whole()
			disk.free(t)
			await(`SELECT count(*) > $2 FROM mvscheduler.pruning WHERE action = $1`, action, before)
			s.pruned(t)
			whole()
		}
	}

	// Of the view: put aside, and back again.
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '1 day' WHERE name LIKE '%.v'`)
	await(`SELECT count(*) >= $1 FROM mvscheduler.kept`, days+1)
	s.pruned(t)
	meets("attach", "restore", func() {
		pgtest.Exec(t, s.root, `UPDATE mvscheduler.views SET retention_period = greatest(retention_period, make_interval(secs => ceil(extract(epoch FROM now() - (
			SELECT k.until FROM mvscheduler.kept AS k WHERE k.detached_at IS NOT NULL ORDER BY k.until DESC LIMIT 1))) + 60)) WHERE name LIKE '%.v'`)
	}, fmt.Sprintf(`SELECT mvscheduler.refresh_view('%s.v')`, s.owner))

	// Of the table.
	pgtest.Exec(t, s.alice, fmt.Sprintf(`INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '%d hours')`, parts+80))
	meets("detach", "detach", func() {
		pgtest.Exec(t, s.root, fmt.Sprintf(`UPDATE mvscheduler.source_retention SET retention_period = least(retention_period, make_interval(secs => floor(extract(epoch FROM now() - (
			SELECT p.hi AT TIME ZONE 'UTC' FROM mvscheduler.partitions_of('%s.readings'::regclass) AS p ORDER BY p.hi LIMIT 1)))) - interval '3 hours')`, s.owner))
	})
	meets("drop_kept", "drop", func() {
		pgtest.Exec(t, s.root, `UPDATE mvscheduler.kept SET detached_at = detached_at - interval '8 days' WHERE relation = (SELECT relation FROM mvscheduler.kept WHERE target < 0 AND detached_at > now() - interval '7 days' ORDER BY until LIMIT 1)`)
	})

	// By hand.
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET retention_period = retention_period - interval '24 hours'`)
	before := moved("detach")
	await(`SELECT count(*) >= $1 FROM mvscheduler.pruning WHERE action = 'detach'`, before+20)
	s.pruned(t)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET legal_hold = true`)
	rows := ask[int64](t, s.alice, `SELECT count(*) FROM readings`)
	for _, place := range []string{"restore DDL 1", "restore DDL 2"} {
		s.without(t, disk, place)
		out := mvscheduler(t, s.db, s.owner, "", "restore", s.owner+".readings")
		require.Equal(t, 1, out.code, out.stderr)
		require.Regexp(t, noRoom, out.stderr)
		require.Equal(t, rows, ask[int64](t, s.alice, `SELECT count(*) FROM readings`))
		whole()
		disk.free(t)
	}
	s.without(t, disk, "note INSERT pruning")
	out := mvscheduler(t, s.db, s.owner, "", "restore", s.owner+".readings")
	require.Zero(t, out.code, out.stderr)
	run := ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view('hourly')`) // which would note what is back
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.attempt WHERE run_id >= $1 AND outcome <> 'running')`, run)
	t.Log(ask[string](t, s.alice, `SELECT concat_ws(' ', r.state, r.reason, r.error) FROM mvscheduler.runs AS r WHERE id = $1`, run))
	for _, view := range []string{"hourly", "daily"} {
		require.Zero(t, s.lost(t, view+"_before", view, "true"), view)
	}
	disk.free(t)
	until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.kept AS k JOIN pg_inherits AS i ON i.inhrelid = k.relation::oid WHERE k.detached_at IS NOT NULL)`)
	s.incremented(t, "hourly", "daily", "v")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = NULL WHERE name LIKE '%.v'`)
	await(`SELECT NOT EXISTS (SELECT FROM mvscheduler.kept WHERE target > 0 AND detached_at IS NOT NULL)`)
	require.Zero(t, s.lost(t, "v_before", "v", "true"))
	gone := ask[time.Time](t, s.root, `SELECT gone FROM mvscheduler.frozen WHERE target < 0`) // what was dropped
	require.Zero(t, s.lost(t, "mirror", "readings", "ts >= '"+gone.Format(time.RFC3339Nano)+"'"))
	whole()
	probe.end(t)
	require.GreaterOrEqual(t, probe.fewest, hours)
	t.Log(strings.Join(slices.Concat(s.passed(t, "attach"), s.passed(t, "detach"), s.passed(t, "drop_kept"), s.passed(t, "restore"), s.passed(t, "note")), ", "))
}

func TestASwapThatMeetsAFullDiskServesTheOldVersionAndTheNextFinishesIt(t *testing.T) {
	heavy(t)
	t.Parallel()
	s, disk := newSmallDisk(t)
	s.metrics(t)
	s.incremental(t, "v", hourly, "max_attempts", 100)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	s.places(t)
	pgtest.Exec(t, s.alice, another)
	s.incremented(t, "v")
	const less = `UPDATE mvscheduler.views SET query = replace(query, ', max(value) AS most', '')`
	changes := []string{another, less}
	probe := startReader(t, s.db, s.owner, `SELECT count(*) FROM v`)
	pgtest.Exec(t, s.alice, less)
	s.incremented(t, "v")
	require.NotEmpty(t, s.passed(t, "swap_data"))
	for n, place := range drawn(t, 3, s.passed(t, "swap_data")) {
		before := s.columns(t, "v")
		was := ask[int64](t, s.root, `SELECT max(id) FROM mvscheduler.run`)
		s.without(t, disk, place)
		pgtest.Exec(t, s.alice, changes[n%2])
		until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.attempt WHERE run_id > $1 AND sqlstate = '53100')
			OR EXISTS (SELECT FROM mvscheduler.run WHERE id > $1 AND kind = 'build' AND state = 'succeeded')`, was)
		if hit := ask[bool](t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.attempt WHERE run_id > $1 AND sqlstate = '53100')`, was); hit { // the other change may pass other places
			reason := ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status WHERE name LIKE '%.v'`)
			require.Regexp(t, noRoom, reason, place)
			require.Contains(t, reason, "The disk is full: free space; the old contents are still served", place)
			require.Equal(t, before, s.columns(t, "v"), place)
			require.Equal(t, int64(288), ask[int64](t, s.alice, `SELECT count(*) FROM v`), place)
		}
		disk.free(t)
		until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.redefinition)`)
		require.NotEqual(t, before, s.columns(t, "v"), place)
		s.incremented(t, "v")
		same(t, s.alice, "v")
		require.Equal(t, "data "+s.owner+".v__data, gate "+s.owner+".v__gate", s.pieces(t), place)
	}
	require.NotZero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.attempt WHERE sqlstate = '53100'`))
	probe.end(t)
	require.Equal(t, int64(288), probe.fewest)
}
