package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
	"github.com/mvscheduler/mvscheduler/retention"
)

// days are the ranges of each reader, joined where they begin and end on the same days, as prune_facts does.
func daysOf(t testing.TB, q catalog.Querier, id int64, into map[string]retention.Range) (seen string) {
	t.Helper()
	target, err := catalog.LoadPruneTarget(t.Context(), q, id)
	require.NoError(t, err)
	facts, _, err := retention.Decode(target.Facts)
	require.NoError(t, err)
	day := func(at retention.Timestamp) string {
		if !at.Finite() {
			return fmt.Sprint(at)
		}
		return at.Time().UTC().Format(time.DateOnly)
	}
	for _, r := range facts.Readers {
		for _, d := range r.Dirt {
			key := r.Name + " " + day(d.From) + " " + day(d.To)
			if was, known := into[key]; known {
				d.From, d.To = min(d.From, was.From), max(d.To, was.To)
			}
			into[key] = d
		}
	}
	return target.Seen
}

// Whatever is open, commits, is refreshed and deleted from the change log between two plans: what both have read is all that a plan that
// reads everything would know at the second one.
func TestTwoPlansTogetherKnowAllThatChanged(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.chain(t)
	s.minutely(t, "mins", "refresh_on", "manual")
	startSidecar(t, s.db)
	s.incremented(t, "hourly", "daily", "mins")
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period, enabled) VALUES ('readings', '6 days', false)`)
	id := ask[int64](t, s.alice, `SELECT id FROM mvscheduler.source_retention`)
	writers := []*pgx.Conn{s.db.Conn(t, s.owner), s.db.Conn(t, s.owner), s.db.Conn(t, s.owner)}
	for _, w := range writers {
		pgtest.Exec(t, w, `SET lock_timeout = '50ms'`)
	}
	prepares := ask[int](t, s.root, `SELECT current_setting('max_prepared_transactions')::int`) > 0
	did, prepared, found := map[string]int{}, 0, 0
	defer func() { // nothing else ends what is prepared
		for _, w := range writers {
			_ = w.Close(t.Context())
		}
		for _, name := range ask[[]string](t, s.root, `SELECT coalesce(array_agg(gid), '{}') FROM pg_prepared_xacts WHERE database = current_database()`) {
			pgtest.Exec(t, s.root, `ROLLBACK PREPARED '`+name+`'`)
		}
	}()
	rapid.Check(t, func(r *rapid.T) {
		step := func() {
			w := writers[rapid.IntRange(0, len(writers)-1).Draw(r, "writer")]
			ago := rapid.IntRange(1, 200).Draw(r, "hours ago")
			what := rapid.SampledFrom([]string{"begin", "insert", "insert", "insert", "savepoint", "undo", "commit", "commit", "rollback", "delete", "update", "leaf", "refresh", "refresh", "forget", "give up", "prepare", "truncate"}).Draw(r, "step")
			sql := map[string]string{
				"begin": `BEGIN`, "savepoint": `SAVEPOINT a`, "undo": `ROLLBACK TO a`, "commit": `COMMIT`, "rollback": `ROLLBACK`,
				"insert":   fmt.Sprintf(`INSERT INTO readings VALUES (now() - interval '%d hours', 3, 1)`, ago),
				"delete":   fmt.Sprintf(`DELETE FROM readings WHERE ts BETWEEN now() - interval '%d hours' AND now() - interval '%d hours'`, ago+1, ago),
				"update":   fmt.Sprintf(`UPDATE readings SET ts = ts - interval '1 minute' WHERE ts BETWEEN now() - interval '%d hours' AND now() - interval '%d hours'`, ago+1, ago),
				"leaf":     `INSERT INTO readings_m3 SELECT min(ts), 3, 1 FROM readings_m3`,
				"truncate": fmt.Sprintf(`TRUNCATE readings_m%d`, 1+ago%9),
			}[what]
			var err error
			switch what {
			case "refresh":
				_, err = s.alice.Exec(t.Context(), `SELECT mvscheduler.refresh_view($1)`, rapid.SampledFrom([]string{"hourly", "daily", "mins"}).Draw(r, "view"))
			case "forget":
				_, err = catalog.ForgetChanges(t.Context(), s.root, 1000)
			case "give up":
				err = catalog.GiveUpChanges(t.Context(), s.root, 5)
			case "prepare":
				if !prepares {
					return
				}
				prepared++
				if _, err = w.Exec(t.Context(), fmt.Sprintf(`PREPARE TRANSACTION '%s p%d'`, s.owner, prepared)); err == nil && rapid.Bool().Draw(r, "and commit") {
					_, err = w.Exec(t.Context(), fmt.Sprintf(`COMMIT PREPARED '%s p%d'`, s.owner, prepared))
				}
			default:
				_, err = w.Exec(t.Context(), sql)
				if err != nil && w.PgConn().TxStatus() == 'E' {
					pgtest.Exec(t, w, `ROLLBACK`)
				}
			}
			if err != nil {
				what += " fails"
			}
			did[what]++
		}
		steps := func(label string) {
			for range rapid.IntRange(0, 12).Draw(r, label) {
				step()
			}
		}
		steps("before")
		known := map[string]retention.Range{}
		seen := daysOf(t, s.root, id, known)
		steps("between")
		tx, err := s.root.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
		require.NoError(r, err)
		all := map[string]retention.Range{}
		daysOf(t, tx, id, all)
		require.NoError(r, catalog.OnlySince(t.Context(), tx, seen))
		daysOf(t, tx, id, known)
		require.NoError(r, tx.Rollback(t.Context()))
		for key, d := range all {
			found++
			have, there := known[key]
			require.True(r, there, "%s: %v", key, d)
			require.True(r, have.From <= d.From && have.To >= d.To, "%s: %v, known is %v", key, d, have)
		}
		for _, w := range writers {
			if w.PgConn().TxStatus() != 'I' && rapid.Bool().Draw(r, "ends") {
				pgtest.Exec(t, w, `COMMIT`)
			}
		}
	})
	t.Log(found, "ranges compared;", did)
	require.NotZero(t, found)
}
