package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// The worker runs REFRESH on the owner's gate and nothing else, so whatever a DETACH or a DROP evaluates runs as the
// owner, in a security-restricted operation.
func TestWhatHangsOnPartitionsRunsAsTheirOwner(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	a.as(`CREATE FUNCTION mallory.in_key() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM mallory.steal('in_key'); RETURN 1; END $$`,
		`CREATE FUNCTION mallory.in_check(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM mallory.steal('in_check'); RETURN true; END $$`,
		`CREATE FUNCTION mallory.in_index(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM mallory.steal('in_index'); RETURN 1; END $$`,
		`CREATE FUNCTION mallory.in_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.steal('in_trigger'); RETURN NULL; END $$`,
		`CREATE TABLE mallory.raw (ts timestamptz NOT NULL, k int CHECK (mallory.in_check(k))) PARTITION BY RANGE (ts)`,
		`CREATE TABLE mallory.old PARTITION OF mallory.raw FOR VALUES FROM ('2020-01-01') TO ('2021-01-01') PARTITION BY RANGE ((k + mallory.in_key()))`,
		`CREATE TABLE mallory.old1 PARTITION OF mallory.old FOR VALUES FROM (0) TO (100)`,
		`CREATE INDEX ON mallory.raw (ts, k) WHERE mallory.in_index(k) = 1`, `CREATE INDEX ON mallory.raw (mallory.in_index(k))`,
		`CREATE TRIGGER t AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON mallory.raw FOR EACH STATEMENT EXECUTE FUNCTION mallory.in_trigger()`,
		`CREATE TABLE mallory.rest PARTITION OF mallory.raw DEFAULT PARTITION BY RANGE ((k + mallory.in_key()))`, `CREATE TABLE mallory.rest1 PARTITION OF mallory.rest DEFAULT`,
		`INSERT INTO mallory.raw VALUES ('2020-05-05', 1), ('2026-05-05', 2)`,
		`INSERT INTO mvscheduler.source_retention ("table", retention_period, grace_period) VALUES ('mallory.raw', '1 year', '0')`)
	sidecar := startSidecar(t, a.db)
	until(t, a.root, `SELECT EXISTS (SELECT FROM mvscheduler.pruning WHERE action = 'detach')`)
	a.as(`UPDATE mvscheduler.source_retention SET enabled = true`)
	until(t, a.root, `SELECT EXISTS (SELECT FROM mvscheduler.pruning WHERE action = 'drop')`)
	achieved, ran := a.loot()
	require.Empty(t, achieved)
	t.Log(ran, sidecar.role)
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

// A partition is renamed, and a look-alike takes its name, from within what the DETACH runs and from without.
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
