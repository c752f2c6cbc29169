package integration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// historied is a kind of view, with the table that it reads, of which random histories are played.
type historied struct {
	name, columns, partition string // of the source; partition is what follows its columns
	below                    string // PARTITION BY of its partition in the middle, by k; empty = it is none but a leaf
	query, width             string
	settings                 []any
	tracking                 string // that is expected
	staged                   bool   // the view is taken for large, so that all is computed in one pass
}

var historiedViews = []historied{
	{"plain", `ts timestamptz, k int, v numeric`, "", "",
		`SELECT date_trunc('hour', ts) AS hour, k, count(*) AS n, sum(v) AS total FROM src WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, "1 hour", nil, "trigger", false},
	{"keyless", `ts timestamp, k int, v numeric`, "", "",
		`SELECT date_bin('6 hours', ts, '2000-01-01 01:00') AS hour, k, v FROM src WHERE mvscheduler.in_window(ts)`, "6 hours", []any{"unique_key", "{}"}, "trigger", false},
	{"partitioned", `ts timestamptz, k int, v numeric`, "PARTITION BY RANGE (ts)", "",
		`SELECT date_trunc('day', ts) AS hour, k, count(*) AS n, max(v) AS most FROM src WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, "1 day", []any{"timezone", "Australia/Lord_Howe"}, "trigger", false},
	{"counted", `ts timestamptz, k int, v numeric`, "PARTITION BY RANGE (ts)", "",
		`SELECT date_trunc('day', ts) AS hour, k, count(*) AS n, max(v) AS most FROM src WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, "1 day", []any{"timezone", "America/Havana", "change_tracking", "counters"}, "counters", false},
	{"joined", `ts date, k int, v numeric`, "", "",
		`SELECT date_trunc('month', s.ts)::date AS hour, d.name, count(*) AS n FROM src AS s LEFT JOIN dim AS d ON d.k = s.k WHERE mvscheduler.in_window(s.ts) GROUP BY 1, 2`, "1 month", nil, "trigger", false},
	{"local", `ts timestamptz, k int, v numeric`, "", "",
		`SELECT date_trunc('hour', ts AT TIME ZONE 'Africa/Cairo') AS hour, k, count(*) AS n FROM src WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, "1 hour", []any{"timezone", "Africa/Cairo"}, "trigger", false},
	{"staged", `ts timestamptz, k int, v numeric`, "PARTITION BY RANGE (ts)", "",
		`SELECT date_trunc('day', ts) AS hour, k, count(*) AS n, max(v) AS most FROM src WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, "1 day", []any{"timezone", "America/Havana"}, "trigger", true},
	{"staged keyless", `ts timestamp, k int, v numeric`, "", "",
		`SELECT date_bin('6 hours', ts, '2000-01-01 01:00') AS hour, k, v FROM src WHERE mvscheduler.in_window(ts)`, "6 hours", []any{"unique_key", "{}"}, "trigger", true},
	{"sub-partitioned", `ts timestamptz, k int, v numeric`, "PARTITION BY RANGE (ts)", "PARTITION BY LIST (k)",
		`SELECT date_trunc('day', ts) AS hour, k, count(*) AS n, max(v) AS most FROM src WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, "1 day", []any{"timezone", "Australia/Lord_Howe"}, "trigger", false},
	{"sub-partitioned counted", `ts timestamptz, k int, v numeric`, "PARTITION BY RANGE (ts)", "PARTITION BY RANGE (ts, k)",
		`SELECT date_trunc('day', ts) AS hour, k, count(*) AS n, max(v) AS most FROM src WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, "1 day", []any{"timezone", "America/Havana", "change_tracking", "counters"}, "counters", false},
	{"unwatched", `ts timestamptz, k int, v numeric`, "", "",
		`SELECT date_trunc('day', ts) AS hour, k, count(*) AS n, max(v) AS most FROM src WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, "1 day", []any{"timezone", "Africa/Cairo", "change_tracking", "none", "lateness", "90 years"}, "none", false},
	{"unbound", `ts timestamptz, k int, v numeric`, "", "",
		`SELECT date_trunc('day', ts) AS hour, count(*) AS n FROM src WHERE ts > '-infinity' AND ts < 'infinity' GROUP BY 1`, "1 day", nil, "trigger", false},
}

// first is the bound of the first partition of the one in the middle.
func (h historied) first() string {
	if strings.Contains(h.below, "LIST") {
		return `FOR VALUES IN (1, NULL)`
	}
	return `FOR VALUES FROM ('2026-03-29', MINVALUE) TO ('2026-04-01', 2)`
}

// change is one statement on the source, its instants somewhere around two changes of clocks.
func change(r *rapid.T, h historied) string {
	partitioned := h.partition != ""
	instant := func() string {
		if rapid.IntRange(0, 40).Draw(r, "odd") == 0 {
			return rapid.SampledFrom([]string{"'infinity'", "'-infinity'", "NULL", "'2019-02-03 04:05+00'", "'2150-01-01'"}).Draw(r, "odd time")
		}
		return fmt.Sprintf("'2026-03-27 00:00+00'::timestamptz + %d * interval '10 minutes'", rapid.IntRange(0, 144*14).Draw(r, "at"))
	}
	finite := func() string {
		return fmt.Sprintf("'2026-03-27 00:00+00'::timestamptz + %d * interval '10 minutes'", rapid.IntRange(0, 144*14).Draw(r, "at"))
	}
	if partitioned {
		instant = finite
	}
	key := func() string { return rapid.SampledFrom([]string{"1", "2", "3", "NULL"}).Draw(r, "key") }
	between := func() string {
		return fmt.Sprintf("ts >= %s AND ts < %s", finite(), finite())
	}
	statements := []func() string{
		func() string {
			return fmt.Sprintf(`INSERT INTO src VALUES (%s, %s, %d)`, instant(), key(), rapid.IntRange(0, 9).Draw(r, "v"))
		},
		func() string {
			return fmt.Sprintf(`INSERT INTO src SELECT %s + g * interval '37 minutes', g %% 4, g FROM generate_series(1, %d) AS g`, finite(), rapid.IntRange(1, 60).Draw(r, "many"))
		},
		func() string { return fmt.Sprintf(`UPDATE src SET v = v + 1 WHERE %s`, between()) },
		func() string {
			return fmt.Sprintf(`UPDATE src SET ts = %s WHERE %s AND k = %s`, finite(), between(), key())
		},
		func() string { return fmt.Sprintf(`UPDATE src SET k = %s WHERE %s`, key(), between()) },
		func() string { return fmt.Sprintf(`DELETE FROM src WHERE %s AND k = %s`, between(), key()) },
		func() string { return fmt.Sprintf(`DELETE FROM src WHERE %s`, between()) },
		func() string {
			return fmt.Sprintf(`MERGE INTO src AS s USING (VALUES (%s, 1), (%s, 2)) AS n(ts, k) ON s.k = n.k AND s.v > %d WHEN MATCHED AND s.v > 5 THEN DELETE WHEN MATCHED THEN UPDATE SET ts = n.ts WHEN NOT MATCHED THEN INSERT VALUES (n.ts, n.k, 1)`,
				finite(), finite(), rapid.IntRange(0, 9).Draw(r, "v"))
		},
		func() string {
			return fmt.Sprintf(`INSERT INTO dim VALUES (%s, 'n%d') ON CONFLICT (k) DO UPDATE SET name = EXCLUDED.name`, rapid.SampledFrom([]string{"1", "2"}).Draw(r, "key"), rapid.IntRange(0, 5).Draw(r, "name"))
		},
		func() string {
			if rapid.IntRange(0, 3).Draw(r, "really") > 0 {
				return `SELECT 1`
			}
			return `TRUNCATE src`
		},
	}
	if partitioned {
		parts, of := []string{"src_a", "src_b", "src_c"}, map[string]string{}
		if h.below != "" {
			parts = append(parts, "src_b_1", "src_b_1", "src_b_2")
			of["src_b_1"], of["src_b_2"] = "src_b", "src_b"
		}
		leaf := func() string { return rapid.SampledFrom(parts).Draw(r, "leaf") }
		bounds := map[string]string{"src_a": `FOR VALUES FROM (MINVALUE) TO ('2026-03-29')`, "src_b": `FOR VALUES FROM ('2026-03-29') TO ('2026-04-05')`, "src_c": `FOR VALUES FROM ('2026-04-05') TO (MAXVALUE)`, "src_b_1": h.first(), "src_b_2": "DEFAULT"}
		statements = append(statements,
			func() string { return fmt.Sprintf(`TRUNCATE %s`, leaf()) },
			func() string { l := leaf(); return fmt.Sprintf(`DELETE FROM %s WHERE k = %s`, l, key()) },
			func() string {
				if h.below != "" && rapid.Bool().Draw(r, "below") {
					return `INSERT INTO src_b_1 VALUES ('2026-03-30 05:00+00', 1, 3)`
				}
				return fmt.Sprintf(`INSERT INTO src_b VALUES ('2026-03-30 05:00+00', %s, 3)`, key())
			},
			func() string {
				l := leaf()
				return fmt.Sprintf(`DO $d$ BEGIN IF EXISTS (SELECT FROM pg_inherits WHERE inhrelid = '%[1]s'::regclass) THEN ALTER TABLE %[3]s DETACH PARTITION %[1]s; ELSE ALTER TABLE %[3]s ATTACH PARTITION %[1]s %[2]s; END IF; END $d$`, l, bounds[l], cmp.Or(of[l], "src"))
			})
	}
	for _, kind := range kinds {
		statements = append(statements, func() string { return h.upsert(r, kind) })
	}
	return rapid.SampledFrom(statements).Draw(r, "statement")()
}

// upsert is a statement of a kind. An instant that no row has after it finds the first ones.
func (h historied) upsert(r *rapid.T, kind string) string {
	from := time.Date(2026, 3, 27, 0, 0, 0, 0, time.UTC).Add(10 * time.Minute * time.Duration(rapid.IntRange(0, 144*14).Draw(r, "at")))
	if kind == kindCopy {
		rows := make([]string, rapid.IntRange(1, 40).Draw(r, "copied"))
		for n := range rows {
			rows[n] = fmt.Sprintf("%s\t%s\t%d", clockTime(from.Add(time.Duration(n)*7*time.Minute), "timestamptz", nil), []string{"1", "2", "3", `\N`}[n%4], n)
		}
		into := "src"
		switch rapid.IntRange(0, 9).Draw(r, "odd") {
		case 0:
			if h.partition == "" {
				rows = append(rows, "infinity\t1\t1", "-infinity\t1\t1", "\\N\t1\t1", "2019-02-03\t1\t1")
			}
		case 1:
			if h.partition != "" { // past the table above
				into, rows = "src_b", []string{"2026-03-30 05:00+00\t1\t3", "2026-04-02 05:00+00\t2\t3"}
			}
		}
		return copied(into, "ts, k, v", rows...)
	}
	u := upserts{table: "src", key: h.key(), columns: "ts, k, v, c", fresh: "ts, k, 7, nextval('numbers')", add: "v = src.v + 1", move: clock(from.Add(time.Hour))}
	if h.partition != "" { // PostgreSQL moves no row to another partition on a conflict
		u.move = fmt.Sprintf("date_trunc('day', src.ts, 'UTC') + interval '%d minutes'", rapid.IntRange(0, 24*60-1).Draw(r, "to"))
	}
	return u.upsert(r, kind, fmt.Sprintf("true ORDER BY ts < %s, ts", clock(from)))
}

// clock is SQL for an instant.
func clock(at time.Time) string {
	return "'" + at.Format(time.RFC3339) + "'::timestamptz"
}

// key is the key of the source: each row has a number, so that none conflicts by chance.
func (h historied) key() string {
	if h.partition != "" {
		return "ts, k, c"
	}
	return "c"
}

// tolerated are errors that random statements may meet: no partition for a row, or a bound that is violated; a
// partition that the other writer has attached or detached meanwhile.
func tolerated(command, code string) bool {
	switch code {
	case "23514":
		return command == "INSERT" || command == "UPDATE" || command == "MERGE" || command == "DO" || command == "COPY"
	case "0A000": // it would move to another partition
		return command == "INSERT"
	case "42P01", "42809":
		return command == "DO"
	}
	return concurrently(command, code)
}

// After every history of statements, some of them in transactions that overlap refreshes, which may be killed, the view
// equals its query.
func TestAfterAnyHistoryAViewIsWhatItsQueryGives(t *testing.T) {
	t.Parallel()
	for _, h := range historiedViews {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			pgtest.Exec(t, s.alice, `CREATE SEQUENCE numbers`, `CREATE TABLE src (`+h.columns+`, c bigint DEFAULT nextval('numbers')) `+h.partition, `CREATE TABLE dim (k int PRIMARY KEY, name text)`)
			if h.partition != "" {
				pgtest.Exec(t, s.alice, `CREATE TABLE src_a PARTITION OF src FOR VALUES FROM (MINVALUE) TO ('2026-03-29')`, `CREATE TABLE src_b PARTITION OF src FOR VALUES FROM ('2026-03-29') TO ('2026-04-05') `+h.below,
					`CREATE TABLE src_c PARTITION OF src FOR VALUES FROM ('2026-04-05') TO (MAXVALUE)`)
			}
			if h.below != "" {
				pgtest.Exec(t, s.alice, `CREATE TABLE src_b_1 PARTITION OF src_b `+h.first(), `CREATE TABLE src_b_2 PARTITION OF src_b DEFAULT`)
			}
			pgtest.Exec(t, s.alice, `CREATE UNIQUE INDEX ON src (`+h.key()+`) NULLS NOT DISTINCT`)
			s.incremental(t, "v", h.query, append([]any{"bucket_width", h.width, "max_attempts", 20}, h.settings...)...)
			zone := ask[string](t, s.alice, `SELECT timezone FROM mvscheduler.views`)
			pgtest.Exec(t, s.alice, `SET TimeZone = '`+zone+`'`)
			startSidecar(t, s.db)
			s.incremented(t, "v")
			require.Equal(t, h.tracking, ask[string](t, s.root, `SELECT tracking FROM mvscheduler.increment_state`))
			if h.staged {
				pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_health SET rows_estimate = 1000000000`)
			}
			writers := []*pgx.Conn{s.db.Conn(t, s.owner), s.db.Conn(t, s.owner)}
			for _, w := range writers {
				pgtest.Exec(t, w, `SET lock_timeout = '2s'`)
			}
			var told tally
			rapid.Check(t, func(r *rapid.T) {
				for _, from := range []string{"2026-03-27", "2026-03-29", "2026-04-05"} { // so that UPDATE and DELETE have something to change
					_, err := s.alice.Exec(context.Background(), fmt.Sprintf(`INSERT INTO src SELECT '%s 12:00+00'::timestamptz + g * interval '97 minutes', g %% 4, g FROM generate_series(1, 20) AS g WHERE (SELECT count(*) FROM src) < 100`, from))
					var failed *pgconn.PgError
					require.True(t, err == nil || h.partition != "" && errors.As(err, &failed) && failed.Code == "23514", err) // it is detached
				}
				histories := [][]string{}
				for range writers {
					var history []string
					for range rapid.IntRange(1, 4).Draw(r, "transactions") {
						block := rapid.IntRange(0, 2).Draw(r, "block") > 0
						if block {
							history = append(history, "BEGIN")
						}
						for range rapid.IntRange(1, 3).Draw(r, "statements") {
							history = append(history, change(r, h))
						}
						if block {
							history = append(history, rapid.SampledFrom([]string{"COMMIT", "COMMIT", "COMMIT", "ROLLBACK"}).Draw(r, "end"))
						}
					}
					histories = append(histories, history)
				}
				strewn(r, histories, func(kind string) string { return h.upsert(r, kind) })
				var group sync.WaitGroup
				for n, w := range writers {
					group.Go(func() {
						told.play(r, w, histories[n], tolerated)
					})
				}
				if rapid.IntRange(0, 7).Draw(r, "kill") == 0 {
					told.kill(t, s, "v")
				}
				for range rapid.IntRange(0, 2).Draw(r, "meanwhile") {
					s.incremented(t, "v")
				}
				group.Wait()
				for _, w := range slices.Concat(writers, []*pgx.Conn{s.alice}) { // what the server's counters do not tell yet, a refresh cannot know
					pgtest.Exec(t, w, `SELECT pg_stat_force_next_flush()`, `SELECT 1`)
				}
				s.incremented(t, "v")
				same(t, s.alice, "v")
			})
			told.sound(t, s)
		})
	}
}
