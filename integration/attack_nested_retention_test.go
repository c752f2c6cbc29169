package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// years is a table by year, the oldest of which is by half year, with a view.
func (s *scene) years(t testing.TB) {
	t.Helper()
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE raw (ts timestamptz NOT NULL, k int) PARTITION BY RANGE (ts)`,
		`CREATE TABLE y2020 PARTITION OF raw FOR VALUES FROM ('2020-01-01') TO ('2021-01-01') PARTITION BY RANGE (ts)`,
		`CREATE TABLE first PARTITION OF y2020 FOR VALUES FROM ('2020-01-01') TO ('2020-07-01')`, `CREATE TABLE second PARTITION OF y2020 FOR VALUES FROM ('2020-07-01') TO ('2021-01-01') PARTITION BY RANGE (ts)`,
		`CREATE TABLE autumn PARTITION OF second FOR VALUES FROM ('2020-07-01') TO ('2021-01-01')`,
		`CREATE TABLE since PARTITION OF raw FOR VALUES FROM ('2021-01-01') TO (MAXVALUE)`,
		`INSERT INTO raw VALUES ('2020-03-03', 1), ('2020-09-09', 2), (now(), 3)`)
	s.incremental(t, "hourly", `SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM raw WHERE mvscheduler.in_window(ts) GROUP BY 1`)
}

// A table is a part of another one, and both have a row in source_retention.
func TestALegalHoldOnAPartOfATableHoldsWhenTheTableLetsItGo(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.years(t)
	startSidecar(t, s.db)
	s.incremented(t, "hourly")
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period, legal_hold) VALUES ('y2020', '10 years', true)`, keepAYear)
	s.stays(t, "raw", "there is a legal hold on "+s.owner+".y2020")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET legal_hold = false`)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.kept`)
}

// The hold comes when the plan is made, and what the part belongs to is waited for.
func TestALegalHoldOnAPartThatComesBeforeTheLockHoldsWhatThePartBelongsTo(t *testing.T) {
	t.Parallel()
	const hold = `INSERT INTO mvscheduler.source_retention ("table", retention_period, legal_hold) VALUES ($1::text::regclass, '10 years', true)`
	for _, step := range []string{"detach", "drop"} {
		for _, part := range []string{"y2020", "second"} {
			t.Run(step+" "+part, func(t *testing.T) {
				t.Parallel()
				s := newScene(t)
				s.years(t)
				startSidecar(t, s.db)
				s.incremented(t, "hourly")
				reader := s.db.Conn(t, s.owner)
				year, stays := "y2020", "stays: "
				if step == "drop" {
					pgtest.Exec(t, s.alice, keepAYear)
					until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.kept`)
					s.pruned(t)
					year, part, stays = "y2020__kept", strings.Replace(part, "y2020", "y2020__kept", 1), "stays aside: "
				}
				pgtest.Exec(t, reader, `BEGIN`, `SELECT * FROM `+year)
				if step == "drop" {
					pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET grace_period = '0'`)
				} else {
					pgtest.Exec(t, s.alice, keepAYear)
				}
				until(t, s.root, dropWaits)
				_, err := s.alice.Exec(t.Context(), hold, part)
				require.NoError(t, err)
				pgtest.Exec(t, reader, `COMMIT`)
				s.pruned(t)
				require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.pruning WHERE action = $1`, step))
				require.Contains(t, ask[string](t, s.root, `SELECT string_agg(reason, ' ') FROM mvscheduler.run WHERE kind = 'prune' AND view_name LIKE '%.raw'`), stays+"there is a legal hold on "+s.owner+"."+part)
				if step == "detach" { // it has its own name again
					require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.run WHERE kind = 'prune' AND reason LIKE '%y2020!_!_kept%' ESCAPE '!'`))
				}
				require.Equal(t, int64(2), ask[int64](t, s.alice, `SELECT count(*) FROM `+year))
			})
		}
	}
}

// A legal hold that somebody has set, and not committed yet: what is irrevocable waits for him, or he for that.
func TestALegalHoldThatIsAboutToBeCommittedIsWaitedFor(t *testing.T) {
	t.Parallel()
	const onPart = `INSERT INTO mvscheduler.source_retention ("table", retention_period, legal_hold) VALUES ('second', '10 years', %t)`
	for name, c := range map[string]struct{ step, before, hold string }{
		"what leaves":            {"detach", ``, `UPDATE mvscheduler.source_retention SET legal_hold = true`},
		"what is dropped":        {"drop", ``, `UPDATE mvscheduler.source_retention SET legal_hold = true`},
		"a new row of a part":    {"drop", ``, fmt.Sprintf(onPart, true)},
		"of a part that has one": {"drop", fmt.Sprintf(onPart, false), `UPDATE mvscheduler.source_retention SET legal_hold = true WHERE "table" = 'second'::regclass`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.years(t)
			startSidecar(t, s.db)
			s.incremented(t, "hourly")
			reader, holder, year := s.db.Conn(t, s.owner), s.db.Conn(t, s.owner), "y2020"
			if c.step == "drop" {
				pgtest.Exec(t, s.alice, keepAYear)
				until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.kept`)
				s.pruned(t)
				year = "y2020__kept"
			}
			if c.before != "" {
				pgtest.Exec(t, s.alice, c.before)
			}
			pgtest.Exec(t, reader, `BEGIN`, `SELECT * FROM `+year)
			if c.step == "drop" {
				pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET grace_period = '0' WHERE "table" = 'raw'::regclass`)
			} else {
				pgtest.Exec(t, s.alice, keepAYear)
			}
			until(t, s.root, dropWaits)
			pgtest.Exec(t, holder, `BEGIN`, c.hold)
			pgtest.Exec(t, reader, `COMMIT`)
			s.pruned(t)
			pgtest.Exec(t, holder, `COMMIT`)
			s.pruned(t)
			require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.pruning WHERE action = $1`, c.step))
			require.Equal(t, int64(2), ask[int64](t, s.alice, `SELECT count(*) FROM `+year))
		})
	}
}

// What is aside comes back with every row, whatever the row of the part says meanwhile.
func TestAPartThatIsAsideLosesNothingByARowOfItsOwn(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.years(t)
	startSidecar(t, s.db)
	s.incremented(t, "hourly")
	pgtest.Exec(t, s.alice, keepAYear)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.kept WHERE detached_at IS NOT NULL`)
	s.pruned(t)
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period, grace_period) VALUES ('y2020__kept', '1 year', '0')`)
	whole := func(table string) {
		t.Helper()
		out := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+"."+table, "--dry-run", "-o", "json")
		require.Zero(t, out.code, out.stderr)
		require.Contains(t, out.stdout, " is a part of "+s.owner+".raw, which has a row in source_retention itself")
		require.Zero(t, mvscheduler(t, s.db, s.owner, "", "prune", s.owner+"."+table, "--wait").code)
		require.Equal(t, int64(2), ask[int64](t, s.alice, `SELECT count(*) FROM pg_inherits WHERE inhparent = $1::regclass`, table))
	}
	whole("y2020__kept")
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.restore_view('raw')`)
	whole("y2020")
	s.incremented(t, "hourly")
	require.Equal(t, int64(3), ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM hourly`))
	same(t, s.alice, "hourly")
}
