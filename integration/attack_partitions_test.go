package integration

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// The worker runs REFRESH on the owner's gate and nothing else, so what that evaluates runs as the owner, in a
// security-restricted operation: what hangs on the gate. A DETACH or a DROP evaluates nothing of what hangs on the table. A
// canonical function of a range type is left out, since it can be written in C alone.
func TestWhatHangsOnPartitionsRunsAsTheirOwner(t *testing.T) {
	heavy(t)
	t.Parallel()
	a := newArena(t)
	a.as(`CREATE FUNCTION mallory.in_key() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM mallory.steal('in_key'); RETURN 1; END $$`,
		`CREATE FUNCTION mallory.in_check(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM mallory.steal('in_check'); RETURN true; END $$`,
		`CREATE FUNCTION mallory.in_index(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM mallory.steal('in_index'); RETURN 1; END $$`,
		`CREATE FUNCTION mallory.in_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.steal('in_trigger'); RETURN NULL; END $$`,
		`CREATE FUNCTION mallory.in_statistics(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM mallory.steal('in_statistics'); RETURN $1; END $$`,
		`CREATE FUNCTION mallory.in_span(float8, float8) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE LOG 'RAN|in_span|%|%', session_user, current_user; RETURN $1 - $2; END $$`, `CREATE TYPE mallory.span AS RANGE (subtype = float8, subtype_diff = mallory.in_span)`,
		`CREATE TABLE mallory.raw (ts timestamptz NOT NULL, k int CHECK (mallory.in_check(k)), r mallory.span) PARTITION BY RANGE (ts)`,
		`CREATE TABLE mallory.old PARTITION OF mallory.raw FOR VALUES FROM ('2020-01-01') TO ('2021-01-01') PARTITION BY RANGE ((k + mallory.in_key()))`,
		`CREATE TABLE mallory.old1 PARTITION OF mallory.old FOR VALUES FROM (0) TO (100)`,
		`CREATE INDEX ON mallory.raw (ts, k) WHERE mallory.in_index(k) = 1`, `CREATE INDEX ON mallory.raw (mallory.in_index(k))`, `CREATE INDEX ON mallory.raw USING gist (r)`,
		`CREATE STATISTICS mallory.s ON (mallory.in_statistics(k)), ts FROM mallory.raw`, `CREATE STATISTICS mallory.s_old ON (mallory.in_statistics(k)), ts FROM mallory.old1`,
		`CREATE TRIGGER t AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON mallory.raw FOR EACH STATEMENT EXECUTE FUNCTION mallory.in_trigger()`,
		`CREATE TABLE mallory.rest PARTITION OF mallory.raw DEFAULT PARTITION BY RANGE ((k + mallory.in_key()))`, `CREATE TABLE mallory.rest1 PARTITION OF mallory.rest DEFAULT`,
		`INSERT INTO mallory.raw SELECT '2020-05-05'::timestamptz + g * interval '1 minute', g % 90, mallory.span(g, g + 1) FROM generate_series(1, 200) AS g`, `INSERT INTO mallory.raw VALUES ('2026-05-05', 2)`, `ANALYZE mallory.raw`, `ANALYZE mallory.old1`,
		`INSERT INTO mvscheduler.source_retention ("table", retention_period, grace_period) VALUES ('mallory.raw', '1 year', '0')`,
		`CREATE FUNCTION mallory.in_gate(bigint) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM mallory.steal('in_gate'); RETURN 1; END $$`, `CREATE INDEX ON mallory.raw__gate (mallory.in_gate(step))`)
	sidecar := startSidecar(t, a.db)
	until(t, a.root, `SELECT EXISTS (SELECT FROM mvscheduler.pruning WHERE action = 'detach')`)
	a.as(`UPDATE mvscheduler.source_retention SET enabled = true`)
	until(t, a.root, `SELECT EXISTS (SELECT FROM mvscheduler.pruning WHERE action = 'drop')`)
	a.nothingStolen(a.mallory, "in_key", "in_check", "in_index", "in_trigger", "in_statistics", "in_span") // they do say when they run
	a.nothingStolen(sidecar.role, "in_gate")
	_, ran := a.loot()
	for tag, sessions := range ran {
		if tag != "in_gate" {
			require.NotContains(t, sessions, sidecar.role, "neither a DETACH nor a DROP has %s evaluated", tag)
		}
	}
}

func TestForgedStepsAndGatesOfOthersMoveNothing(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	alice := a.db.Conn(t, a.alice)
	for _, who := range []string{a.alice, a.mallory} {
		conn := alice
		if who == a.mallory {
			conn = a.m
		}
		pgtest.Exec(t, conn, `CREATE TABLE `+who+`.raw (ts timestamptz NOT NULL, k int) PARTITION BY RANGE (ts)`, `CREATE TABLE `+who+`.old PARTITION OF `+who+`.raw FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')`,
			`INSERT INTO `+who+`.raw VALUES ('2020-05-05', 1)`)
	}
	pgtest.Exec(t, alice, a.sql(`INSERT INTO mvscheduler.source_retention ("table", retention_period, enabled) VALUES ('alice.raw', '1 year', false)`))
	id := ask[int64](t, alice, `SELECT id FROM mvscheduler.source_retention`)
	a.as(`GRANT USAGE ON SCHEMA mallory TO mvscheduler_worker`)
	// Calls from anywhere do nothing, and the private tables cannot be written.
	for _, call := range []string{`step`, `step_detach`, `step_drop_kept`, `step_attach`} {
		require.Zero(t, ask[int64](t, a.m, `SELECT mvscheduler.`+call+`($1)`, id), call)
	}
	require.Zero(t, ask[int64](t, a.m, `SELECT count(*) FROM mvscheduler.partition_at_hand($1) AS p WHERE p.partition IS NOT NULL`, id))
	for _, statement := range []string{
		`INSERT INTO mvscheduler.kept (target, relation, name, bound, detached_at) VALUES (-1, 'alice.old', 'old', 'DEFAULT', now())`, `INSERT INTO mvscheduler.pass_partition VALUES (1, 1)`,
		`INSERT INTO mvscheduler.frozen VALUES (1)`, `INSERT INTO mvscheduler.pruning DEFAULT VALUES`, `UPDATE mvscheduler.source_state SET relation = 'mallory.raw'`, `SELECT * FROM mvscheduler.kept`,
		`INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('alice.raw', '1 day')`, `INSERT INTO mvscheduler.source_retention ("table", owner, retention_period) VALUES ('mallory.raw', 'alice', '1 day')`,
	} {
		a.refused(a.m, "42501", statement)
	}
	// Her own gate, made to call the step of alice's table, and of everybody's, in her own runs.
	a.as(`INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('mallory.raw', '1 year')`)
	mine := ask[int64](t, a.m, `SELECT id FROM mvscheduler.source_retention`)
	require.NotEqual(t, id, mine)
	require.Equal(t, int64(1), ask[int64](t, a.m, `SELECT count(*) FROM mvscheduler.visible_targets`))
	a.as(`DROP MATERIALIZED VIEW mallory.raw__gate`, `CREATE FUNCTION mallory.both_() RETURNS bigint LANGUAGE sql AS $$ SELECT sum(mvscheduler.step(g)) FROM generate_series(-20, 20) AS g $$`)
	startSidecar(t, a.db)
	until(t, a.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'prune' AND state = 'failed' AND error LIKE '%gate%')`)
	require.Equal(t, int64(1), ask[int64](t, alice, a.sql(`SELECT count(*) FROM alice.raw`)))
	require.Equal(t, int64(1), ask[int64](t, a.m, a.sql(`SELECT count(*) FROM mallory.raw`)))
	a.as(`DELETE FROM mvscheduler.source_retention`, `INSERT INTO mvscheduler.source_retention ("table", retention_period, enabled) VALUES ('mallory.raw', '1 year', false)`,
		`DROP MATERIALIZED VIEW mallory.raw__gate`)
	pgtest.Exec(t, a.root, `UPDATE mvscheduler.source_retention SET enabled = enabled`)
	require.Zero(t, ask[int64](t, a.root, `SELECT (SELECT count(*) FROM mvscheduler.kept) + (SELECT count(*) FROM mvscheduler.pruning)`))
}

// A partition that was put aside is renamed, and so is its table, and look-alikes take their names, before it is restored and dropped.
func TestALookAlikeOfAPartitionIsNeverTaken(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE raw (ts timestamptz NOT NULL, k int) PARTITION BY RANGE (ts)`, `CREATE TABLE old PARTITION OF raw FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')`,
		`INSERT INTO raw VALUES ('2020-05-05', 1)`, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('raw', '1 year')`)
	startSidecar(t, s.db)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.kept`)
	pgtest.Exec(t, s.alice, `ALTER TABLE old__kept RENAME TO precious`, `CREATE TABLE old__kept (ts timestamptz, k int)`, `INSERT INTO old__kept VALUES (now(), 7)`,
		`ALTER TABLE raw RENAME TO raw_was`, `CREATE TABLE raw (ts timestamptz NOT NULL, k int) PARTITION BY RANGE (ts)`)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.restore_partitions(id) FROM mvscheduler.source_retention`)
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM raw_was`))
	require.Zero(t, ask[int64](t, s.alice, `SELECT count(*) FROM raw`))
	require.Equal(t, "old", ask[string](t, s.alice, `SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'raw_was'::regclass`))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET grace_period = '0'`)
	until(t, s.root, `SELECT count(*) = 2 FROM mvscheduler.pruning WHERE action = 'detach' OR action = 'drop'`)
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM old__kept WHERE k = 7`))
}

// Renamed it is, and a look-alike takes its name, by a transaction for whose end the DETACH and the DROP wait.
func TestALookAlikeThatComesWhileAStepWaitsForItsLockIsNeverTaken(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.oldYear(t)
	thief := s.db.Conn(t, s.owner)
	startSidecar(t, s.db)
	pgtest.Exec(t, thief, `BEGIN`, `SELECT FROM old`)
	pgtest.Exec(t, s.alice, keepAYear)
	until(t, s.root, dropWaits)
	pgtest.Exec(t, thief, `ALTER TABLE old RENAME TO precious`, `CREATE TABLE old (ts timestamptz NOT NULL, k int)`, `INSERT INTO old VALUES ('2020-05-05', 7)`, `COMMIT`)
	untilWithin(t, 2*patience, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.kept WHERE detached_at IS NOT NULL)`)
	require.Equal(t, int64(7), ask[int64](t, s.alice, `SELECT k FROM old`), "the look-alike is what it was")
	aside := ask[string](t, s.root, `SELECT relation::oid::regclass::text FROM mvscheduler.kept`)
	require.Contains(t, aside, "precious")
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT k FROM `+aside))
	s.pruned(t)

	name := aside[strings.LastIndex(aside, ".")+1:]
	pgtest.Exec(t, thief, `BEGIN`, `SELECT FROM `+aside)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET grace_period = '0'`)
	until(t, s.root, dropWaits)
	pgtest.Exec(t, thief, `ALTER TABLE `+aside+` RENAME TO treasure`, `CREATE TABLE `+name+` (ts timestamptz NOT NULL, k int)`, `INSERT INTO `+name+` VALUES ('2020-05-05', 8)`, `COMMIT`)
	s.pruned(t)
	require.Equal(t, int64(8), ask[int64](t, s.alice, `SELECT k FROM `+name), "the look-alike is not dropped")
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT k FROM treasure`), "and what was renamed is its owner's")
	require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.pruning WHERE action = 'drop'`))
}
