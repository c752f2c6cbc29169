package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A view of who may only read shares what is noted for others, while those come and go, by either column, privileges are granted and revoked,
// writers are open with old snapshots, and partitions come. After a quiet refresh it is what its query gives.
func TestAViewThatSharesWhatIsNotedMissesNothingWhateverOthersDo(t *testing.T) {
	heavy(t)
	t.Parallel()
	a := newArena(t)
	alice := a.db.Conn(t, a.alice)
	writers := []*pgx.Conn{a.db.Conn(t, a.alice), a.db.Conn(t, a.alice)}
	open := make([]bool, len(writers))
	for _, w := range append([]*pgx.Conn{alice}, writers...) {
		pgtest.Exec(t, w, `SET TimeZone = 'UTC'`, `SET lock_timeout = '300ms'`)
	}
	pgtest.Exec(t, alice, `CREATE TABLE readings (ts timestamptz NOT NULL, arrived timestamptz, device int) PARTITION BY RANGE (ts)`,
		`CREATE TABLE d1 PARTITION OF readings FOR VALUES FROM ('2026-03-01') TO ('2026-03-02')`, `CREATE TABLE d2 PARTITION OF readings FOR VALUES FROM ('2026-03-02') TO ('2026-03-03')`,
		a.sql(`GRANT SELECT ON readings TO mallory`),
		`INSERT INTO readings SELECT t, t, 1 FROM generate_series('2026-03-01 00:00+00'::timestamptz, '2026-03-02 23:00+00', '1 hour') AS t`)
	startSidecar(t, a.db)
	const view = `INSERT INTO mvscheduler.views (name, method, time_column, bucket_width, refresh_on, query) VALUES ('%[1]s', 'incremental', 'hour', '1 hour', 'manual',
		'SELECT date_trunc(''hour'', %[2]s) AS hour, count(*) AS n, sum(device) AS d FROM alice.readings WHERE mvscheduler.in_window(%[2]s) GROUP BY 1')`
	a.as(fmt.Sprintf(view, "same", "ts"))
	refreshed(t, a.m, a.sql("mallory.same"))
	told := map[string]int{}
	try := func(conn *pgx.Conn, what, sql string) bool {
		_, err := conn.Exec(context.Background(), a.sql(sql))
		if err != nil {
			what += " fails"
			if conn.PgConn().TxStatus() == 'E' {
				_, _ = conn.Exec(context.Background(), `ROLLBACK`)
			}
		}
		told[what]++
		return err == nil
	}
	settled := func() { // or waits for a writer
		until(t, a.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.run AS r WHERE r.state IN ('queued', 'running') AND NOT EXISTS (SELECT FROM mvscheduler.attempt AS t WHERE t.run_id = r.id AND t.outcome IS DISTINCT FROM 'running') AND r.progress -> 'waiting_for' IS NULL)`)
	}
	parts := 2
	whole := func(r *rapid.T) {
		for i, w := range writers {
			if open[i] {
				try(w, "commit", `COMMIT`)
				open[i] = false
			}
		}
		pgtest.Exec(t, alice, `SELECT pg_stat_force_next_flush()`, `SELECT 1`)
		for _, w := range writers {
			pgtest.Exec(t, w, `SELECT pg_stat_force_next_flush()`, `SELECT 1`)
		}
		refreshed(t, a.m, a.sql("mallory.same"))
		require.Equal(r, "", ask[string](t, a.root, a.sql(`SELECT coalesce(string_agg(x::text, ' '), '') FROM (
			(SELECT 'missing', q.* FROM mallory.same__query AS q EXCEPT ALL SELECT 'missing', v.* FROM mallory.same AS v) UNION ALL (SELECT 'too much', v.* FROM mallory.same AS v EXCEPT ALL SELECT 'too much', q.* FROM mallory.same__query AS q)) AS x`)))
	}
	rapid.Check(t, func(r *rapid.T) {
		for range rapid.IntRange(4, 14).Draw(r, "deeds") {
			instant := fmt.Sprintf("2026-03-%02d %02d:30+00", rapid.IntRange(1, parts).Draw(r, "day"), rapid.IntRange(0, 23).Draw(r, "hour"))
			who := rapid.IntRange(0, len(writers)-1).Draw(r, "writer")
			write := rapid.SampledFrom([]string{
				`INSERT INTO readings VALUES ('` + instant + `', '` + instant + `', 3)`,
				`UPDATE readings SET device = device + 1 WHERE ts = '` + strings.Replace(instant, ":30", ":00", 1) + `'`,
				`DELETE FROM readings WHERE ts BETWEEN '` + instant + `' AND '` + instant + `'::timestamptz + interval '40 minutes'`,
				`UPDATE readings SET ts = '` + instant + `' WHERE ctid = (SELECT min(ctid) FROM readings WHERE tableoid = 'd1'::regclass) AND tableoid = 'd1'::regclass`,
				`INSERT INTO d1 VALUES ('2026-03-01 04:30+00', '2026-03-01 04:30+00', 7)`,
			}).Draw(r, "write")
			switch deed := rapid.SampledFrom([]string{"alice ts", "alice arrived", "alice goes", "grant", "revoke", "write", "write", "open", "open repeatable", "open write", "open write", "open write", "open repeatable", "commit", "refresh alice", "refresh alice", "refresh", "refresh", "housekeeper", "partition", "truncate"}).Draw(r, "deed"); deed {
			case "alice ts":
				try(alice, deed, fmt.Sprintf(view, "hourly", "ts"))
			case "alice arrived":
				try(alice, deed, fmt.Sprintf(view, "arrivals", "arrived"))
			case "alice goes":
				try(alice, deed, `DELETE FROM mvscheduler.views`)
			case "grant":
				try(alice, deed, `GRANT TRIGGER ON readings, d1, d2 TO mallory`)
			case "revoke":
				try(alice, deed, `REVOKE TRIGGER ON readings, d1, d2 FROM mallory`)
			case "write":
				try(alice, deed, write)
			case "open", "open repeatable":
				if !open[who] {
					open[who] = try(writers[who], deed, map[string]string{"open": `BEGIN`, "open repeatable": `BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM readings LIMIT 1`}[deed])
				}
			case "open write":
				if open[who] {
					open[who] = try(writers[who], deed, write)
				}
			case "commit":
				if open[who] {
					try(writers[who], deed, `COMMIT`)
					open[who] = false
				}
			case "refresh alice":
				try(alice, deed, `SELECT mvscheduler.refresh_view(name) FROM mvscheduler.views`)
				settled()
			case "refresh":
				try(a.m, deed, `SELECT mvscheduler.refresh_view('mallory.same')`)
				settled()
			case "housekeeper":
				_, err := catalog.ForgetChanges(context.Background(), a.root, 1000)
				require.NoError(r, err)
			case "partition":
				if parts < 9 && try(alice, deed, fmt.Sprintf(`CREATE TABLE d%d PARTITION OF readings FOR VALUES FROM ('2026-03-%02d') TO ('2026-03-%02d')`, parts+1, parts+1, parts+2)) {
					parts++
				}
			case "truncate":
				if parts > 2 {
					try(alice, deed, fmt.Sprintf(`TRUNCATE d%d`, parts))
				}
			}
		}
		whole(r)
	})
	t.Log(told)
}
