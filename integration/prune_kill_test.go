package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Who moves a partition holds the row until it is done, and may be stopped by the session that asks.
const lookAtTables = `UPDATE mvscheduler.source_state SET asked_at = clock_timestamp() WHERE id IN (SELECT id FROM mvscheduler.source_state WHERE asked_at < clock_timestamp() - interval '1 second' FOR NO KEY UPDATE SKIP LOCKED)`

// stops makes places at which sessions of the sidecar wait as long as s.root holds the place, so that a kill hits one there
// and nowhere else. A place is named after the step whose partition is being moved.
func (s *scene) stops(t testing.TB) {
	t.Helper()
	pgtest.Exec(t, s.root, `CREATE SCHEMA stops`, `GRANT USAGE ON SCHEMA stops TO PUBLIC`,
		`CREATE FUNCTION stops.at(place text) RETURNS void LANGUAGE plpgsql SET lock_timeout = 0 AS $$ BEGIN
			IF session_user LIKE 'worker%' THEN PERFORM pg_advisory_lock_shared(4711, hashtext(place)), pg_advisory_unlock_shared(4711, hashtext(place)); END IF; END $$`,
		`CREATE FUNCTION stops.ddl() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
			PERFORM stops.at(replace(p.step, '_kept', '') || CASE TG_EVENT WHEN 'ddl_command_start' THEN ' before its DDL' ELSE ' within its DDL' END) FROM mvscheduler.pass AS p WHERE p.xid = pg_current_xact_id_if_assigned(); END $$`,
		`CREATE FUNCTION stops.next() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
			IF EXISTS (SELECT FROM mvscheduler.pruning AS p WHERE p.run_id = NEW.run_id AND replace(p.action, 'restore', 'attach') = replace(NEW.step, '_kept', '')) THEN
				PERFORM stops.at(replace(NEW.step, '_kept', '') || ' between two partitions'); END IF;
			RETURN NEW; END $$`,
		`CREATE FUNCTION stops.recorded() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN PERFORM stops.at(replace(NEW.action, 'restore', 'attach') || ' ' || TG_ARGV[0]); RETURN NULL; END $$`,
		`CREATE FUNCTION stops.ended() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
			PERFORM stops.at(a.step || ' ' || TG_ARGV[0]) FROM (SELECT DISTINCT replace(p.action, 'restore', 'attach') AS step FROM mvscheduler.pruning AS p WHERE p.run_id = NEW.id) AS a; RETURN NULL; END $$`,
		`CREATE EVENT TRIGGER stop_before ON ddl_command_start WHEN TAG IN ('ALTER TABLE', 'DROP TABLE') EXECUTE FUNCTION stops.ddl()`,
		`CREATE EVENT TRIGGER stop_within ON ddl_command_end WHEN TAG IN ('ALTER TABLE', 'DROP TABLE') EXECUTE FUNCTION stops.ddl()`,
		`CREATE TRIGGER stop_next BEFORE INSERT ON mvscheduler.pass FOR EACH ROW WHEN (NEW.step IN ('detach', 'drop_kept', 'attach')) EXECUTE FUNCTION stops.next()`,
		`CREATE TRIGGER stop_recorded AFTER INSERT ON mvscheduler.pruning FOR EACH ROW EXECUTE FUNCTION stops.recorded('before its COMMIT')`,
		`CREATE CONSTRAINT TRIGGER stop_commit AFTER INSERT ON mvscheduler.pruning DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION stops.recorded('within its COMMIT')`,
		`CREATE TRIGGER stop_ended AFTER UPDATE ON mvscheduler.run FOR EACH ROW WHEN (NEW.kind = 'prune' AND OLD.state = 'running' AND NEW.state = 'succeeded') EXECUTE FUNCTION stops.ended('before the COMMIT of the end')`,
		`CREATE CONSTRAINT TRIGGER stop_end AFTER UPDATE ON mvscheduler.run DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.kind = 'prune' AND OLD.state = 'running' AND NEW.state = 'succeeded') EXECUTE FUNCTION stops.ended('within the COMMIT of the end')`)
}

var stopsOfAStep = []string{"before its DDL", "within its DDL", "before its COMMIT", "within its COMMIT", "between two partitions", "before the COMMIT of the end", "within the COMMIT of the end"}

// stopped are the sessions that wait at a place.
const stopped = `FROM pg_locks AS l WHERE l.locktype = 'advisory' AND l.classid = 4711 AND l.objid::bigint = hashtext($1)::bigint & 4294967295 AND NOT l.granted
	AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())`

// struck is a table or view of which partitions move, one step of it.
type struck struct {
	step  string
	table string                       // of which they are partitions
	gone  string                       // a condition on a partition p of original: it may not be there any more
	more  func(t testing.TB, s *scene) // has two more partitions move, where fewer than two are to
	look  string                       // has the sidecar look what is to move, at once
	end   func(t testing.TB, s *scene) // when all that is to move has moved
}

// hourlyParts is a table with so many partitions of an hour, the youngest of which ended three days ago, and one for what is
// younger, rolled up by hour and day.
func (s *scene) hourlyParts(t testing.TB, parts int) {
	t.Helper()
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE readings (ts timestamptz NOT NULL, device int, value numeric) PARTITION BY RANGE (ts)`,
		fmt.Sprintf(`DO $$ DECLARE t timestamptz; BEGIN
			FOR n IN 1..%d LOOP
				t := date_trunc('hour', now()) - (n + 72) * interval '1 hour';
				EXECUTE format('CREATE TABLE readings_%%s PARTITION OF readings FOR VALUES FROM (%%L) TO (%%L)', to_char(n, 'FM0000'), t, t + interval '1 hour');
			END LOOP;
			EXECUTE format('CREATE TABLE readings_0000 PARTITION OF readings FOR VALUES FROM (%%L) TO (%%L)', date_trunc('hour', now()) - interval '72 hours', now() + interval '1 day'); END $$`, parts),
		`INSERT INTO readings SELECT t, d, d FROM (SELECT min(p.lo) AT TIME ZONE 'UTC' AS first FROM mvscheduler.partitions_of('readings'::regclass) AS p) AS p, generate_series(p.first, now(), '17 minutes') AS t, generate_series(1, 3) AS d`,
		`CREATE TABLE mirror AS SELECT * FROM readings`)
	s.incremental(t, "hourly", hourlyReadings)
	s.incremental(t, "daily", dailyOfHourly, "time_column", "day", "bucket_width", "1 day")
}

// Whatever kills a step, wherever it is: sessions of the sidecar by the server, or the sidecar itself, after which its
// session goes on as far as it can without anybody listening, or ends where it is.
func TestAPruneThatIsKilledAtAnyPointIsFinishedByTheNext(t *testing.T) {
	heavy(t)
	t.Parallel()
	hits := 2 // at each place of each step
	if long {
		hits = 20
	}
	parts := 8 * hits
	t.Run("detach", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		s.hourlyParts(t, parts)
		worker := startSidecar(t, s.db)
		s.incremented(t, "hourly", "daily")
		pgtest.Exec(t, s.alice, fmt.Sprintf(`INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '%d hours')`, parts+80))
		s.strike(t, worker, hits, struck{
			step: "detach", table: "readings", gone: "false",
			more: func(t testing.TB, s *scene) {
				pgtest.Exec(t, s.alice, fmt.Sprintf(`UPDATE mvscheduler.source_retention SET retention_period = least(retention_period, make_interval(secs => floor(extract(epoch FROM now() - (
					SELECT p.hi AT TIME ZONE 'UTC' FROM mvscheduler.partitions_of('%s.readings'::regclass) AS p ORDER BY p.hi OFFSET 1 LIMIT 1)))) - interval '3 hours')`, s.owner)) // an hour of the view may last three hours longer than its rows
			},
			look: lookAtTables,
			end: func(t testing.TB, s *scene) {
				s.incremented(t, "hourly", "daily")
				s.nothingLost(t, s.alice)
				pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET legal_hold = true`)
				s.pruned(t)
				pgtest.Exec(t, s.alice, `SELECT mvscheduler.restore_view('readings')`)
				require.Zero(t, s.lost(t, "mirror", "readings", "true"), "every row can come back")
				s.incremented(t, "hourly", "daily")
				s.nothingLost(t, s.alice)
			},
		})
	})
	t.Run("drop", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		s.hourlyParts(t, parts)
		worker := startSidecar(t, s.db)
		s.incremented(t, "hourly", "daily")
		pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '68 hours')`)
		untilWithin(t, 2*patience, s.root, `SELECT count(*) >= $1 FROM mvscheduler.kept`, parts)
		s.pruned(t)
		// Those that were put aside longer ago than the grace period.
		pgtest.Exec(t, s.root, `CREATE TABLE aged (partition oid)`)
		s.strike(t, worker, hits, struck{
			step: "drop", table: "readings", gone: "p.oid IN (SELECT partition FROM aged)",
			more: func(t testing.TB, s *scene) {
				pgtest.Exec(t, s.root, `WITH due AS (SELECT k.relation::oid FROM mvscheduler.kept AS k WHERE NOT EXISTS (SELECT FROM aged AS o WHERE o.partition = k.relation::oid) ORDER BY k.until
					LIMIT 2 - (SELECT count(*) FROM aged AS o JOIN pg_class AS c ON c.oid = o.partition)), old AS (INSERT INTO aged SELECT * FROM due)
					UPDATE mvscheduler.kept AS k SET detached_at = k.detached_at - interval '8 days' FROM due AS d WHERE d.relation = k.relation::oid`)
			},
			look: lookAtTables,
			end: func(t testing.TB, s *scene) {
				require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM aged AS o JOIN pg_class AS c ON c.oid = o.partition`), "all that was old enough is dropped")
				require.Equal(t, ask[int64](t, s.root, `SELECT count(*) FROM aged`), ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.pruning WHERE action = 'drop'`))
				s.incremented(t, "hourly", "daily")
				s.nothingLost(t, s.alice)
			},
		})
	})
	t.Run("attach", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		s.readings(t, parts)
		s.minutely(t, "v")
		worker := startSidecar(t, s.db)
		untilWithin(t, 2*patience, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE state = 'succeeded')`) // in as many steps as there are partitions
		s.incremented(t, "v")
		s.snapshotOf(t, "v", "before")
		pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '1 day'`)
		untilWithin(t, 2*patience, s.root, `SELECT count(*) >= $1 FROM mvscheduler.visible_kept`, parts-1)
		s.pruned(t)
		s.strike(t, worker, hits, struck{
			step: "attach", table: "v__data", gone: "false",
			more: func(t testing.TB, s *scene) {
				pgtest.Exec(t, s.root, `UPDATE mvscheduler.views SET retention_period = greatest(retention_period, make_interval(secs => ceil(extract(epoch FROM now() - (
					SELECT k.until FROM mvscheduler.kept AS k WHERE k.detached_at IS NOT NULL ORDER BY k.until DESC OFFSET 1 LIMIT 1))) + 60))`)
			},
			look: fmt.Sprintf(`SELECT mvscheduler.refresh_view('%s.v')`, s.owner),
			end: func(t testing.TB, s *scene) {
				pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = NULL`)
				untilWithin(t, 2*patience, s.root, `SELECT count(*) = 0 FROM mvscheduler.kept WHERE detached_at IS NOT NULL`)
				require.Zero(t, s.lost(t, "before", "v", "true"))
			},
		})
	})
}

// strike kills a step so many times at each of its places.
func (s *scene) strike(t *testing.T, worker *sidecar, hits int, what struck) {
	pgtest.Exec(t, s.root, fmt.Sprintf(`CREATE TABLE original AS SELECT p.relation AS oid, p.relation::regclass::text AS name FROM mvscheduler.partitions_of('%[1]s.%[2]s'::regclass) AS p
		UNION SELECT k.relation::oid, k.relation::text FROM mvscheduler.kept AS k`, s.owner, what.table))
	s.stops(t)
	// What the last failure says is not waited for.
	const hasten = `UPDATE mvscheduler.run SET finished_at = '2026-01-01' WHERE kind = 'prune' AND state = 'failed' AND finished_at > '2026-01-01'`
	await := func(sql string, args ...any) {
		t.Helper()
		for deadline, n := time.Now().Add(patience), 0; !ask[bool](t, s.root, sql, args...); n++ {
			require.True(t, time.Now().Before(deadline), "never became true: %s %v", sql, args)
			if n%40 == 0 {
				pgtest.Exec(t, s.root, hasten, what.look)
			}
			time.Sleep(25 * time.Millisecond)
		}
	}
	sound := func() {
		t.Helper()
		require.Equal(t, "", ask[string](t, s.root, `SELECT coalesce(string_agg(p.name, ' '), '') FROM original AS p LEFT JOIN pg_class AS c ON c.oid = p.oid
			WHERE CASE WHEN c.oid IS NULL THEN NOT (`+what.gone+`) OR EXISTS (SELECT FROM mvscheduler.kept AS k WHERE k.relation::oid = p.oid)
				ELSE c.relispartition = EXISTS (SELECT FROM mvscheduler.kept AS k WHERE k.relation::oid = p.oid AND k.detached_at IS NOT NULL) END`), "neither in the table nor aside, or both")
		require.Equal(t, "", ask[string](t, s.root, `SELECT coalesce(string_agg(concat_ws(' ', p.name, r.action), ', '), '') FROM original AS p LEFT JOIN pg_class AS c ON c.oid = p.oid
			LEFT JOIN LATERAL (SELECT m.action FROM mvscheduler.pruning AS m WHERE replace(m.partition, '__kept', '') = replace(p.name, '__kept', '') ORDER BY m.id DESC LIMIT 1) AS r ON true
			WHERE coalesce(r.action, 'restore') <> CASE WHEN c.oid IS NULL THEN 'drop' WHEN c.relispartition THEN 'restore' ELSE 'detach' END`), "what is recorded last is what it is")
		require.Equal(t, "", ask[string](t, s.root, `SELECT coalesce(string_agg(x.action || ' ' || x.name, ' '), '') FROM (SELECT p.action, x.name, lag(p.action) OVER (PARTITION BY x.name ORDER BY p.id) AS before FROM mvscheduler.pruning AS p, replace(p.partition, '__kept', '') AS x(name)) AS x
			WHERE x.before IS DISTINCT FROM CASE x.action WHEN 'detach' THEN nullif(x.before, 'detach') ELSE 'detach' END`), "recorded twice")
		if what.step == "detach" {
			require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.kept AS k WHERE k.until > now() - (SELECT r.retention_period FROM mvscheduler.source_retention AS r)`), "nothing within the horizon has left")
		}
	}
	hit := map[string]int{}
	// kill does it once, unless what had stopped has given up meanwhile, which it does after lock_timeout.
	kill := func(n int, place string) (killed int) {
		pgtest.Exec(t, s.root, `SELECT pg_advisory_lock(4711, hashtext('`+place+`'))`)
		release := func() { pgtest.Exec(t, s.root, `SELECT pg_advisory_unlock(4711, hashtext('`+place+`'))`) }
		what.more(t, s)
		await(`SELECT EXISTS (SELECT `+stopped+`)`, place)
		pid := ask[int32](t, s.root, `SELECT l.pid `+stopped, place)
		byServer := n%2 == 0
		if byServer {
			killed = ask[int](t, s.root, `SELECT count(pg_terminate_backend(l.pid))::int `+stopped, place)
			await(`SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)`, pid)
			release()
		} else {
			worker.kill()
			killed = ask[int](t, s.root, `SELECT count(*)::int `+stopped, place) // it still is there
			if n%4 == 1 {
				release() // and goes on
			}
			worker = startSidecar(t, s.db)
			until(t, s.root, `SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)`, pid)
			if n%4 != 1 {
				release()
			}
		}
		sound()
		return killed
	}
	for n := range hits {
		for _, at := range stopsOfAStep {
			place := what.step + " " + at
			for tries := 0; hit[place] <= n; tries++ {
				require.Less(t, tries, 5, place)
				hit[place] += kill(n, place)
			}
		}
	}
	t.Log(hit)
	for _, at := range stopsOfAStep {
		require.GreaterOrEqual(t, hit[what.step+" "+at], hits, at)
	}
	await(`SELECT NOT EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'prune' AND state IN ('queued', 'running')) AND NOT EXISTS (SELECT FROM mvscheduler.run AS r WHERE r.kind = 'prune' AND r.state = 'failed'
		AND r.id > (SELECT max(s.id) FROM mvscheduler.run AS s WHERE s.kind = 'prune' AND s.state = 'succeeded'))`)
	sound()
	what.end(t, s)
	sound()
}
