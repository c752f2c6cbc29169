package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A subscription between two databases of one server: the initial copy, and what is applied afterwards.
func TestRowsThatARealSubscriptionAppliesAreNotMissed(t *testing.T) {
	heavy(t)
	t.Parallel()
	db := pgtest.Dedicated(t, map[string]string{"wal_level": "logical"})
	s := sceneOn(t, db)
	const upstream = "upstream"
	pgtest.Exec(t, s.root, `CREATE DATABASE `+upstream)
	publisher, err := pgx.Connect(t.Context(), strings.Replace(db.URL(), "/"+db.Name, "/"+upstream, 1))
	require.NoError(t, err)
	defer publisher.Close(context.WithoutCancel(t.Context()))
	tables := []string{`CREATE SCHEMA IF NOT EXISTS ` + s.owner,
		`CREATE TABLE ` + s.owner + `.metrics (id int PRIMARY KEY, ts timestamptz NOT NULL, device int, value numeric)`,
		`CREATE TABLE ` + s.owner + `.parted (id int, ts timestamptz NOT NULL, device int, value numeric, PRIMARY KEY (id, ts)) PARTITION BY RANGE (ts)`,
		`CREATE TABLE ` + s.owner + `.p1 PARTITION OF ` + s.owner + `.parted FOR VALUES FROM (MINVALUE) TO ('2026-03-02 00:00+00')`,
		`CREATE TABLE ` + s.owner + `.p2 PARTITION OF ` + s.owner + `.parted FOR VALUES FROM ('2026-03-02 00:00+00') TO (MAXVALUE)`}
	pgtest.Exec(t, publisher, tables...)
	pgtest.Exec(t, publisher, `SET search_path = `+s.owner, `SET TimeZone = 'UTC'`,
		`INSERT INTO metrics SELECT g, '2026-03-01 00:00+00'::timestamptz + g * interval '1 hour', g % 3, g FROM generate_series(1, 48) AS g`, `INSERT INTO parted TABLE metrics`,
		`CREATE PUBLICATION p FOR TABLE metrics, parted WITH (publish_via_partition_root = true)`, `SELECT pg_create_logical_replication_slot('s', 'pgoutput')`)
	pgtest.Exec(t, s.alice, append([]string{`SET TimeZone = 'UTC'`}, tables[1:]...)...)
	s.incremental(t, "v", hourly)
	s.incremental(t, "w", strings.Replace(hourly, "metrics", "parted", 1))
	startSidecar(t, db)
	s.incremented(t, "v", "w")
	config := publisher.Config()
	pgtest.Exec(t, s.root, fmt.Sprintf(`CREATE SUBSCRIPTION s CONNECTION 'host=%s port=%d user=%s dbname=%s' PUBLICATION p WITH (create_slot = false, slot_name = 's')`, config.Host, config.Port, config.User, upstream))
	defer pgtest.Exec(t, s.root, `ALTER SUBSCRIPTION s DISABLE`, `ALTER SUBSCRIPTION s SET (slot_name = NONE)`, `DROP SUBSCRIPTION s`)
	applied := func() {
		t.Helper()
		lsn := ask[string](t, publisher, `SELECT pg_current_wal_lsn()::text`)
		until(t, publisher, `SELECT coalesce(bool_and(confirmed_flush_lsn >= $1::text::pg_lsn), false) FROM pg_replication_slots WHERE slot_name = 's'`, lsn)
		for _, table := range []string{"metrics", "parted"} {
			count := `SELECT coalesce(string_agg(x::text, ' ' ORDER BY id), '') FROM (SELECT * FROM ` + s.owner + `.` + table + `) AS x`
			pgtest.Exec(t, s.root, `SET TimeZone = 'UTC'`)
			want := ask[string](t, publisher, count)
			require.Eventually(t, func() bool { return ask[string](t, s.root, count) == want }, patience, 100*time.Millisecond)
		}
	}
	check := func(what string) {
		t.Helper()
		applied()
		s.incremented(t, "v", "w")
		for _, v := range []string{"v", "w"} {
			t.Log(what, v, s.last(t, v, "concat_ws(' | ', buckets, changed, reason)"))
			same(t, s.alice, v)
		}
	}
	until(t, s.root, `SELECT bool_and(srsubstate = 'r') AND count(*) > 1 FROM pg_subscription_rel`)
	check("copy")
	for _, statement := range []string{`INSERT INTO %s VALUES (100, '2026-03-05 10:10+00', 1, 7)`, `UPDATE %s SET value = value + 1 WHERE id = 5`, `UPDATE %s SET ts = ts + '1 day' WHERE id = 7`,
		`DELETE FROM %s WHERE id IN (9, 40)`, `TRUNCATE %s`, `INSERT INTO %s VALUES (1, '2026-03-01 10:10+00', 1, 7)`} {
		for _, table := range []string{"metrics", "parted"} {
			pgtest.Exec(t, publisher, fmt.Sprintf(statement, table))
		}
		check(statement)
	}
}
