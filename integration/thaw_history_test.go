package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// The view between gets new versions that go less far back and farther again, the days read another one for a while, or one upon it that is younger or not filled yet, and partitions of the table
// leave, are held, come back, go to an archive, or are used for other times, as in a ring. Two sidecars see to it, one of which is killed now and then. What the days have once had they keep, also rows that
// some of the views have let go of, and of what is followed they have every row.
func TestTheDaysKeepEveryRowWhateverHorizonsMoveBack(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := mirrored(t)
	ctx := t.Context()
	pgtest.Exec(t, s.alice, `DO $$ DECLARE p record; part text; BEGIN   -- some partitions have parts, of which some have a row of source_retention
			FOR p IN SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) AS bound, row_number() OVER (ORDER BY c.relname) AS n FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = 'readings'::regclass LOOP
				CONTINUE WHEN p.n % 9 <> 4;
				EXECUTE format('ALTER TABLE readings DETACH PARTITION %I', p.relname);
				part := p.relname || '_whole';
				EXECUTE format('CREATE TABLE %I (LIKE readings) PARTITION BY RANGE (ts)', part);
				EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I %s', part, p.relname, p.bound);
				EXECUTE format('ALTER TABLE readings ATTACH PARTITION %I %s', part, p.bound);
				INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES (part::regclass, '100 years');
			END LOOP; END $$`)
	pgtest.Exec(t, s.alice, `CREATE VIEW by_view AS SELECT hour, device, n::numeric AS n, total FROM hourly WHERE mvscheduler.in_window(hour)`,
		`UPDATE mvscheduler.views SET query = 'SELECT date_trunc(''day'', hour) AS day, device, sum(n) AS n, sum(total) AS total FROM by_view GROUP BY 1, 2' WHERE name LIKE '%.daily'`,
		`UPDATE mvscheduler.views SET retention_period = '480 hours' WHERE name LIKE '%.hourly'`,
		`CREATE TABLE archive (LIKE readings) PARTITION BY RANGE (ts)`, `CREATE VIEW by_view_too AS TABLE by_view`, `CREATE TABLE shown (LIKE daily, PRIMARY KEY (day, device))`)
	const young = `SELECT hour, device, sum(n)::bigint AS n, sum(total) AS total FROM hourly WHERE mvscheduler.in_window(hour) GROUP BY 1, 2`
	s.incremental(t, "other", hourlyReadings)
	s.incremental(t, "young", young)
	views := []string{"hourly", "other", "young", "daily"}
	sidecars := []*sidecar{startSidecar(t, s.db), startSidecar(t, s.db)}
	s.incremented(t, views...)
	const serve = `CREATE TABLE served AS SELECT query, unique_key FROM mvscheduler.views WHERE split_part(name, '.', 2) = 'hourly'`
	pgtest.Exec(t, s.alice, serve)
	raw, between := 480, 480
	const ofRaw = ` WHERE "table" = 'readings'::regclass`
	leave := func() string {
		return fmt.Sprintf(`INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '%d hours')`, raw)
	}
	pgtest.Exec(t, s.alice, leave(), `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('archive', '600 hours')`)
	did := make(map[string]int)
	var trace []string
	deed := func(name, sql string) {
		if _, err := s.alice.Exec(ctx, sql); err != nil {
			trace = append(trace, name+": "+err.Error())
			name += " fails"
		} else {
			trace = append(trace, name+": "+sql)
		}
		did[name]++
	}
	const aside = `SELECT k.* FROM mvscheduler.visible_kept AS k WHERE k.name LIKE '%%.readings' ORDER BY k.bound OFFSET %d LIMIT 1`
	versions := 0
	deeds := map[string]func(r *rapid.T){
		"version": func(r *rapid.T) {
			versions++
			between = rapid.SampledFrom([]int{50, 100, 150, 200, 300, 480, 480}).Draw(r, "back to")
			period := fmt.Sprintf("'%d hours'", between)
			if rapid.IntRange(0, 4).Draw(r, "for ever") == 0 {
				period, between = "NULL", 480
			}
			query := hourlyReadings
			if versions%2 == 0 {
				query = strings.Replace(query, "AS total", "AS total, max(value) AS most", 1)
			}
			deed("version", `UPDATE mvscheduler.views SET retention_period = `+period+`, query = `+quote(query)+` WHERE split_part(name, '.', 2) = 'hourly'`)
		},
		"key": func(r *rapid.T) {
			deed("key", `UPDATE mvscheduler.views SET unique_key = CASE WHEN unique_key IS NULL THEN '{device,hour}'::text[] END WHERE split_part(name, '.', 2) = 'hourly'`)
		},
		"period": func(r *rapid.T) {
			between = rapid.SampledFrom([]int{50, 80, 120, 200, 300, 480}).Draw(r, "period")
			deed("period", fmt.Sprintf(`UPDATE mvscheduler.views SET retention_period = '%d hours' WHERE split_part(name, '.', 2) = 'hourly'`, between))
		},
		"raw": func(r *rapid.T) {
			raw = rapid.SampledFrom([]int{100, 150, 200, 250, 300, 350, 400, 480}).Draw(r, "raw")
			deed("raw", fmt.Sprintf(`UPDATE mvscheduler.source_retention SET retention_period = '%d hours'`, raw)+ofRaw)
		},
		"hold": func(r *rapid.T) {
			deed("hold", `UPDATE mvscheduler.source_retention SET legal_hold = NOT legal_hold`+ofRaw)
		},
		"hold a part": func(r *rapid.T) {
			deed("hold a part", fmt.Sprintf(`UPDATE mvscheduler.source_retention SET legal_hold = NOT legal_hold WHERE id = (SELECT id FROM mvscheduler.source_retention WHERE "table"::text LIKE '%%\_whole%%' ORDER BY id OFFSET %d LIMIT 1)`, rapid.IntRange(0, 6).Draw(r, "which")))
		},
		"ring": func(r *rapid.T) {
			deed("ring", fmt.Sprintf(`DO $$ DECLARE part record; lo timestamptz := (SELECT max((regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \(''(.*)''\)'))[1]::timestamptz) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = 'readings'::regclass); BEGIN
				FOR part IN `+aside+` LOOP
					EXECUTE format('TRUNCATE %%s', part.relation);
					EXECUTE format('ALTER TABLE readings ATTACH PARTITION %%s FOR VALUES FROM (%%L) TO (%%L)', part.relation, lo, lo + interval '6 hours');
				END LOOP; END $$`, rapid.IntRange(0, 6).Draw(r, "which")))
		},
		"archive": func(r *rapid.T) {
			deed("archive", fmt.Sprintf(`DO $$ DECLARE part record; BEGIN
				FOR part IN `+aside+` LOOP
					EXECUTE format('ALTER TABLE archive ATTACH PARTITION %%s %%s', part.relation, part.bound);
				END LOOP; END $$`, rapid.IntRange(0, 6).Draw(r, "which")))
		},
		"archive leaves": func(r *rapid.T) {
			deed("archive leaves", fmt.Sprintf(`UPDATE mvscheduler.source_retention SET retention_period = '%d hours' WHERE "table" = 'archive'::regclass`, rapid.SampledFrom([]int{120, 300, 600}).Draw(r, "archive")))
		},
		"drop": func(r *rapid.T) {
			deed("drop", fmt.Sprintf(`DO $$ DECLARE part record; BEGIN FOR part IN `+aside+` LOOP EXECUTE format('DROP TABLE %%s', part.relation); END LOOP; END $$`, rapid.IntRange(0, 20).Draw(r, "which")))
		},
		"restore": func(r *rapid.T) { deed("restore", `SELECT mvscheduler.restore_view('readings')`) },
		"restore one": func(r *rapid.T) {
			deed("restore one", fmt.Sprintf(`SELECT mvscheduler.restore_partitions(k.target, k.relation) FROM mvscheduler.visible_kept AS k WHERE k.name LIKE '%%.readings' ORDER BY k.bound DESC OFFSET %d LIMIT 1`, rapid.IntRange(0, 3).Draw(r, "which")))
		},
		"restore view": func(r *rapid.T) { deed("restore view", `SELECT mvscheduler.restore_view('hourly')`) },
		"row anew": func(r *rapid.T) {
			deed("row anew", `DELETE FROM mvscheduler.source_retention`+ofRaw)
			deed("row anew", leave())
		},
		"grace": func(r *rapid.T) {
			grace := rapid.SampledFrom([]int{0, 86400, 86400}).Draw(r, "grace")
			deed("grace", fmt.Sprintf(`UPDATE mvscheduler.source_retention SET grace_period = '%d seconds'`, grace)+ofRaw)
			pgtest.Exec(t, s.root, fmt.Sprintf(`UPDATE mvscheduler.settings SET grace_period = '%d seconds'`, grace))
		},
		"pause": func(r *rapid.T) {
			deed("pause", `SELECT mvscheduler.pause_view('`+rapid.SampledFrom(views).Draw(r, "who")+`')`)
		},
		"switch": func(r *rapid.T) {
			deed("switch", `CREATE OR REPLACE VIEW by_view AS SELECT hour, device, n::numeric AS n, total FROM `+rapid.SampledFrom(views[:3]).Draw(r, "to")+` WHERE mvscheduler.in_window(hour)`)
		},
		"anew": func(r *rapid.T) { // fails while the days read it
			name, query := "other", hourlyReadings
			if rapid.Bool().Draw(r, "young") {
				name, query = "young", young
			}
			deed(name+" gone", `DELETE FROM mvscheduler.views WHERE split_part(name, '.', 2) = '`+name+`'`)
			deed(name+" anew", fmt.Sprintf(`INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width, refresh_interval, timezone, retention_period, enabled) VALUES ('%s', %s, 'incremental', 'hour', '1 hour', '1 day', 'UTC', '%d hours', %t)`,
				name, quote(query), rapid.SampledFrom([]int{100, 200, 480}).Draw(r, "since"), rapid.Bool().Draw(r, "enabled")))
		},
		"days": func(r *rapid.T) { // read the one plain view or the other
			from := rapid.SampledFrom([]string{"by_view", "by_view_too"}).Draw(r, "from")
			deed("days", `UPDATE mvscheduler.views SET query = 'SELECT date_trunc(''day'', hour) AS day, device, sum(n) AS n, sum(total) AS total FROM `+from+` GROUP BY 1, 2' WHERE name LIKE '%.daily'`)
		},
		"switch too": func(r *rapid.T) {
			deed("switch too", `CREATE OR REPLACE VIEW by_view_too AS SELECT hour, device, n::numeric AS n, total FROM `+rapid.SampledFrom(views[:3]).Draw(r, "too")+` WHERE mvscheduler.in_window(hour)`)
		},
		"late": func(r *rapid.T) { // who follows it takes it
			deed("late", fmt.Sprintf(`INSERT INTO readings (ts, device, value) VALUES (now() - interval '%d minutes', %d, 10)`, rapid.IntRange(1, 480*60).Draw(r, "late"), rapid.IntRange(11, 13).Draw(r, "device")))
		},
		"one": func(r *rapid.T) {
			deed("one", `SELECT mvscheduler.refresh_view('`+rapid.SampledFrom(views).Draw(r, "which")+`')`)
		},
		"terminate": func(*rapid.T) {
			pgtest.Exec(t, s.root, `SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity AS a WHERE a.datname = current_database() AND a.application_name LIKE 'mvscheduler%' AND a.state <> 'idle'`)
			did["terminate"]++
			trace = append(trace, "terminate")
		},
		"kill": func(r *rapid.T) {
			n := rapid.IntRange(0, 1).Draw(r, "sidecar")
			sidecars[n].kill()
			sidecars[n] = startSidecar(t, s.db)
			did["kill"]++
			trace = append(trace, "kill")
		},
		"everything": func(r *rapid.T) { pgtest.Exec(t, s.root, everythingDirty) },
	}
	names := []string{"late", "days", "restore view", "late", "days", "version", "switch", "version", "ring", "archive", "archive leaves", "drop", "switch", "anew", "restore one", "key", "period", "raw", "raw", "hold", "hold a part", "ring", "archive", "archive leaves", "drop", "restore", "restore one", "restore view", "row anew", "grace", "pause", "switch", "anew", "everything",
		"one", "one", "terminate", "kill", "switch too"} // the first ones are drawn most
	// As in TestTheDaysHaveEveryRowWhateverBecomesOfTheViewBetween; and what a version was not built for, and what has left.
	const followed = `SELECT coalesce(floor(extract(epoch FROM now() - greatest(
		(SELECT max(date_trunc(w.bucket, b.below - interval '1 microsecond', 'UTC') + ('1 ' || w.bucket)::interval)
		   FROM mvscheduler.frozen_by AS b JOIN mvscheduler.view_state AS s ON s.view_id = b.view_id CROSS JOIN LATERAL (SELECT CASE split_part(s.name, '.', 2) WHEN 'daily' THEN 'day' ELSE 'hour' END AS bucket) AS w WHERE isfinite(b.below)),
		(SELECT max(f.labels) FROM mvscheduler.frozen AS f), (SELECT max(i.built_from) FROM mvscheduler.increment_state AS i), now() - interval '480 hours')) / 3600), 480)::int - 1`
	const different = `SELECT coalesce(string_agg(r, E'\n'), '') FROM (
		(SELECT 'missing ' || w::text AS r FROM (SELECT date_trunc('day', ts) AS day, device, count(*)::numeric AS n, sum(value) AS total FROM mirror WHERE device < 10 GROUP BY 1, 2 EXCEPT SELECT day, device, n, total FROM daily) AS w)
		UNION ALL
		(SELECT 'too much ' || w::text FROM (SELECT day, device, n, total FROM daily WHERE device < 10 EXCEPT SELECT date_trunc('day', ts), device, count(*)::numeric, sum(value) FROM mirror GROUP BY 1, 2) AS w) LIMIT 10) AS d`
	const fewer = `SELECT coalesce(string_agg('lost ' || w::text, E'\n'), '') FROM shown AS w LEFT JOIN daily AS d USING (day, device) WHERE w.n > coalesce(d.n, 0)`
	quiet := func() {
		pgtest.Exec(t, s.alice, `SELECT mvscheduler.resume_view(name) FROM mvscheduler.views`, `UPDATE mvscheduler.views SET enabled = true WHERE NOT enabled`)
		until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.redefinition)
			OR EXISTS (SELECT FROM mvscheduler.attempt AS a JOIN mvscheduler.run AS r ON r.id = a.run_id WHERE r.view_name LIKE '%.hourly' AND r.state IN ('queued', 'running', 'failed') AND r.queued_at > (SELECT min(d.requested_at) FROM mvscheduler.redefinition AS d) AND a.error LIKE '%left while its new version was being made%')`)
		if ask[bool](t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.redefinition)`) {
			deed("version cancelled", `UPDATE mvscheduler.views AS v SET query = w.query, unique_key = w.unique_key FROM served AS w WHERE split_part(v.name, '.', 2) = 'hourly'`)
			until(t, s.root, `SELECT count(*) = 0 FROM mvscheduler.redefinition`)
		}
		pgtest.Exec(t, s.alice, `DROP TABLE served`, serve)
		s.incremented(t, views...)
		s.pruned(t)
		require.NoError(t, catalog.ForgetPrunings(ctx, s.root))
		s.incremented(t, views...)
	}
	written := 0
	rapid.Check(t, func(r *rapid.T) {
		pgtest.Exec(t, s.root, `UPDATE mvscheduler.kept SET restored_at = restored_at - interval '30 days'`) // what is back may leave again
		start := len(trace)
		for range rapid.IntRange(1, 4).Draw(r, "deeds") {
			deeds[rapid.SampledFrom(names).Draw(r, "deed")](r)
			if rapid.IntRange(0, 2).Draw(r, "settled") == 0 {
				quiet()
			}
		}
		quiet()
		if hours := min(raw, between, ask[int](t, s.root, followed)); hours > 0 {
			for range rapid.IntRange(0, 3).Draw(r, "rows") {
				sql := fmt.Sprintf(`INSERT INTO readings (ts, device, value) VALUES (now() - interval '%d minutes', %d, 10)`, rapid.IntRange(1, hours*60).Draw(r, "at"), rapid.IntRange(1, 5).Draw(r, "device"))
				pgtest.Exec(t, s.alice, sql)
				trace = append(trace, sql)
				written++
			}
			if rapid.Bool().Draw(r, "taken") {
				quiet()
			} else {
				s.incremented(t, views...)
			}
		}
		if d := ask[string](t, s.alice, different) + ask[string](t, s.alice, fewer); d != "" {
			t.Log(ask[string](t, s.root, `SELECT concat_ws(E'\n', (SELECT string_agg(f::text, E'\n') FROM mvscheduler.frozen AS f), (SELECT string_agg(f::text, E'\n') FROM mvscheduler.frozen_by AS f), (SELECT string_agg(concat_ws(' ', s.name, i.view_id, i.built_from, i.unit), E'\n') FROM mvscheduler.increment_state AS i JOIN mvscheduler.view_state AS s USING (view_id)))`))
			t.Log("this round: ", strings.Join(trace[start:], "\n"))
			t.Fatal(strings.Join(trace, "\n") + "\n" + d) // what was lost is lost: nothing to be made smaller
		}
		pgtest.Exec(t, s.alice, `INSERT INTO shown SELECT * FROM daily WHERE device > 10 ON CONFLICT (day, device) DO UPDATE SET n = EXCLUDED.n`)
	})
	t.Logf("%d rows came late, %d put aside, %d dropped, %d restored; %v", written, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.pruning WHERE action = 'detach'`),
		ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.pruning WHERE action = 'drop'`), ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.pruning WHERE action = 'restore'`), did)
}
