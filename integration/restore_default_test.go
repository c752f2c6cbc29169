package integration

import (
	"encoding/json"
	"fmt"
	"regexp"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A DEFAULT partition is searched at each ATTACH while everybody waits: so each is a transaction of its own. One that cannot come
// back keeps no other one from it.
func TestRestoreBringsPartitionsBackOneByOneAndGoesOnAfterOneThatFails(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE raw (ts timestamptz NOT NULL, gone text, k int, twice int GENERATED ALWAYS AS (k * 2) STORED, "a column" text DEFAULT 'x') PARTITION BY RANGE (ts)`,
		`ALTER TABLE raw DROP gone`, `CREATE TABLE "the rest" PARTITION OF raw DEFAULT`)
	for y := 2015; y < 2021; y++ {
		pgtest.Exec(t, s.alice, fmt.Sprintf(`CREATE TABLE y%d PARTITION OF raw FOR VALUES FROM ('%d-01-01') TO ('%d-01-01')`, y, y, y+1), fmt.Sprintf(`INSERT INTO raw VALUES ('%d-05-05', 1)`, y))
	}
	pgtest.Exec(t, s.alice, keepAYear)
	startSidecar(t, s.db)
	until(t, s.root, `SELECT count(*) = 6 FROM mvscheduler.kept`)
	s.pruned(t)
	pgtest.Exec(t, s.alice, `INSERT INTO raw VALUES ('2018-06-06', 2), (now(), 3)`) // late, into DEFAULT

	_, err := s.alice.Exec(t.Context(), `SELECT mvscheduler.restore_view('raw')`)
	require.ErrorContains(t, err, s.owner+".y2018__kept cannot be attached to "+s.owner+".raw again: ")
	require.Equal(t, int64(6), ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.visible_kept`), "in SQL it is all or nothing")

	restore := func() (result, []string) {
		out := mvscheduler(t, s.db, s.owner, "", "restore", s.owner+".raw", "-o", "json")
		var found []struct{ Partition string }
		require.NoError(t, json.Unmarshal([]byte(out.stdout), &found), out.stderr)
		names := []string{}
		for _, f := range found {
			names = append(names, f.Partition)
		}
		return out, names
	}
	out, back := restore()
	require.Equal(t, 1, out.code, out.stderr)
	require.Equal(t, []string{s.owner + ".y2020", s.owner + ".y2019", s.owner + ".y2017", s.owner + ".y2016", s.owner + ".y2015"}, back, "the newest first")
	require.Equal(t, int64(5), ask[int64](t, s.root, `SELECT count(DISTINCT i.xmin::text) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid WHERE c.relname LIKE 'y20%'`))
	require.Contains(t, out.stderr, s.owner+".y2018__kept cannot be attached to "+s.owner+".raw again: ")
	require.Contains(t, out.stderr, "1 of 6 partitions of \""+s.owner+".raw\" did not come back")

	move := regexp.MustCompile(`WITH late AS \(.*FROM late`).FindString(out.stderr)
	require.NotEmpty(t, move, out.stderr)
	pgtest.Exec(t, s.alice, move)
	out, back = restore()
	require.Zero(t, out.code, out.stderr)
	require.Equal(t, []string{s.owner + ".y2018"}, back)
	require.Equal(t, "2018-05-05 1 2 x, 2018-06-06 2 4 x", ask[string](t, s.alice, `SELECT string_agg(concat_ws(' ', ts::date, k, twice, "a column"), ', ' ORDER BY ts) FROM y2018`))
	require.Equal(t, int64(8), ask[int64](t, s.alice, `SELECT count(*) FROM raw`))
	out, back = restore()
	require.Zero(t, out.code, out.stderr)
	require.Empty(t, back)
}

// Whoever reads the table queues behind an ATTACH that waits for the DEFAULT partition, and each would wait for the same reader.
func TestRestoreThatMeetsAReaderOfTheDefaultPartitionWaitsOnceAndNamesHim(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE raw (ts timestamptz NOT NULL, k int) PARTITION BY RANGE (ts)`, `CREATE TABLE rest PARTITION OF raw DEFAULT`)
	for y := 2015; y < 2021; y++ {
		pgtest.Exec(t, s.alice, fmt.Sprintf(`CREATE TABLE y%d PARTITION OF raw FOR VALUES FROM ('%d-01-01') TO ('%d-01-01')`, y, y, y+1))
	}
	pgtest.Exec(t, s.alice, keepAYear)
	startSidecar(t, s.db)
	until(t, s.root, `SELECT count(*) = 6 FROM mvscheduler.kept`)
	s.pruned(t)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET legal_hold = true`)
	reader := s.db.Conn(t, s.owner)
	pid := reader.PgConn().PID()
	timeouts := func() (n int) {
		for _, line := range s.db.Log(t) {
			if line.Application == "mvscheduler cli" && line.Message == "ERROR:  canceling statement due to lock timeout" {
				n++
			}
		}
		return n
	}

	pgtest.Exec(t, reader, `BEGIN`, `SELECT * FROM raw`)
	out := mvscheduler(t, s.db, s.owner, "", "restore", s.owner+".raw")
	require.Equal(t, 6, out.code, out.stderr)
	require.Contains(t, out.stderr, fmt.Sprintf("pid %d (%s, idle in transaction) holds AccessShareLock on rest ", pid, s.owner))
	require.Contains(t, out.stderr, "0 of 6 partitions of \""+s.owner+".raw\" came back")
	require.Equal(t, 1, timeouts(), "those that follow need the same lock")
	require.Equal(t, int64(6), ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.visible_kept`))

	_, err := s.alice.Exec(t.Context(), `SELECT mvscheduler.restore_view('raw')`)
	var busy *pgconn.PgError
	require.ErrorAs(t, err, &busy)
	require.Equal(t, "55P03", busy.Code)
	require.Contains(t, busy.Detail, "a lock on "+s.owner+".raw, or on what is kept aside of it")
	require.Contains(t, busy.Hint, `"mvscheduler restore" says whose it is`)

	// Who reads what is aside is in the way of that partition only.
	pgtest.Exec(t, reader, `COMMIT`, `BEGIN`, `SELECT * FROM y2019__kept`)
	out = mvscheduler(t, s.db, s.owner, "", "restore", s.owner+".raw")
	require.Equal(t, 6, out.code, out.stderr)
	require.Contains(t, out.stderr, fmt.Sprintf("pid %d (%s, idle in transaction) holds AccessShareLock on y2019__kept ", pid, s.owner))
	require.Contains(t, out.stderr, "1 of 6 partitions of \""+s.owner+".raw\" did not come back")
	require.Equal(t, int64(1), ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.visible_kept`))
	require.Equal(t, 2, timeouts())

	pgtest.Exec(t, reader, `COMMIT`)
	out = mvscheduler(t, s.db, s.owner, "", "restore", s.owner+".raw")
	require.Zero(t, out.code, out.stderr)
	require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.visible_kept`))
}

// Nobody else's session is the place for it, so it is said once and not of each partition.
func TestRestoreSaysOnceThatItIsForTheOwner(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.aside(t)
	out := mvscheduler(t, s.db, "postgres", "", "restore", s.owner+".raw")
	require.Equal(t, 1, out.code)
	require.Empty(t, out.stdout)
	require.Contains(t, out.stderr, "only "+s.owner+" can restore partitions of "+s.owner+".raw")
	require.Equal(t, int64(1), ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.visible_kept`))
}
