package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

const rollup = `SELECT date_trunc('hour', ts) AS hour, device, count(*) AS n, sum(value) AS total, min(value) AS least, max(value) AS most, avg(value) AS mean FROM %s%s GROUP BY 1, 2`

// batches are statements that write 10,000 rows each into metrics, which ends at 2026-04-11. ROUND is the number of the round:
// the hours are others in each, or they would grow from round to round.
var batches = []struct {
	name, sql string
	most      time.Duration // that a refresh may take with ten million rows; zero = it may take what a REFRESH takes
}{
	{latest, `INSERT INTO app.metrics SELECT '2026-04-10 22:00+00'::timestamptz - ROUND * interval '1 hour' + random() * interval '1 hour', i % 1000, random() FROM generate_series(1, 10000) AS i`, 30 * time.Millisecond},
	{"10,000 rows in ten old hours", `INSERT INTO app.metrics SELECT '2026-01-10 05:00+00'::timestamptz + ROUND * interval '1 hour' + (i % 10) * interval '5 days' + random() * interval '1 hour', i % 1000, random() FROM generate_series(1, 10000) AS i`, 150 * time.Millisecond},
	{"10,000 rows spread over 100 days", `INSERT INTO app.metrics SELECT '2026-01-01'::timestamptz + random() * interval '100 days', i % 1000, random() FROM generate_series(1, 10000) AS i`, 0},
}

const latest, lastHour = "10,000 rows in the latest hour", "10,000 rows more in the last hour each time"

// grow writes into the last hour, which the other batches leave alone: so the reference measured its latest hour.
const grow = `INSERT INTO app.metrics SELECT '2026-04-10 23:00+00'::timestamptz + random() * interval '1 hour', i % 1000, random() FROM generate_series(1, 10000) AS i`

// latestHour is what the query reads of it that computes the latest hour of a round anew.
const latestHour = ` WHERE ts >= '2026-04-10 22:00+00'::timestamptz - ROUND * interval '1 hour' AND ts < '2026-04-10 23:00+00'::timestamptz - ROUND * interval '1 hour'`

// quickRounds is how often at least the refreshes are measured that are quick with any number of rows, unchangedRounds how often
// those that find nothing, after as many of these to warm up, and fewRounds how often at least what is measured with REFRESH CONCURRENTLY.
const quickRounds, unchangedRounds, fewRounds = 7, 15, 3

// mostConcurrently are the rows up to which REFRESH CONCURRENTLY is measured too: it takes five times what REFRESH takes.
const mostConcurrently = 10_000_000

// incremental compares refreshes of an incremental view with those of a materialized view that has the same contents,
// in turns, and what writers pay.
func incremental(ctx context.Context, b *bench) error {
	for _, sql := range []string{
		`SET client_min_messages = error`, `SET TimeZone = 'UTC'`,
		`CREATE TABLE app.metrics (ts timestamptz NOT NULL, device int NOT NULL, value float8 NOT NULL)`,
		fmt.Sprintf(`INSERT INTO app.metrics SELECT '2026-01-01'::timestamptz + interval '100 days' * (i / %[1]d::float8), i %% 1000, random() FROM generate_series(0, %[1]d - 1) AS i`, b.rows),
		`CREATE INDEX ON app.metrics (ts)`,
		`CREATE MATERIALIZED VIEW app.plain AS ` + fmt.Sprintf(rollup, "app.metrics", ""), `CREATE UNIQUE INDEX ON app.plain (hour, device)`,
	} {
		if _, err := b.owner.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	if _, err := b.admin.Exec(ctx, `VACUUM ANALYZE app.metrics, app.plain`); err != nil {
		return err
	}
	if err := b.start(ctx); err != nil {
		return err
	}
	b.rounds = max(1, b.rounds*1_000_000/max(b.rows, 1_000_000))
	if b.rows <= mostConcurrently {
		b.rounds = max(b.rounds, fewRounds)
	}
	rounds := b.rounds
	if err := b.firstFill(ctx, rounds); err != nil {
		return err
	}
	size := fmt.Sprintf("%.4g M rows: ", float64(b.rows)/1e6)
	methods := []string{"", "CONCURRENTLY "}
	if b.rows > mostConcurrently {
		methods = methods[:1]
	}
	for _, sql := range []string{`VACUUM ANALYZE app.rollup__data`, `CHECKPOINT`} { // else what the fill left to do goes on beside what follows
		if _, err := b.admin.Exec(ctx, sql); err != nil {
			return err
		}
	}
	var unchanged []time.Duration
	for range 2 * unchangedRounds {
		took, _, err := b.increment(ctx)
		if err != nil {
			return err
		}
		unchanged = append(unchanged, took)
	}
	unchanged = unchanged[unchangedRounds:] // the sidecar's connections have planned their statements
	b.report.add(figure{"incremental", size + "nothing changed", "-", ms(median(unchanged)), "-", "at most 3 ms", median(unchanged) <= 3*time.Millisecond})
	if b.wants(lastHour) {
		if err := b.growing(ctx, size); err != nil {
			return err
		}
	}
	for _, batch := range batches {
		if !b.wants(batch.name) {
			continue
		}
		var plain, ours, concurrently, alone []time.Duration
		most := rounds
		if batch.most > 0 { // which is quick
			most = max(rounds, quickRounds)
		}
		for n := range most + 1 {
			write := strings.ReplaceAll(batch.sql, "ROUND", strconv.Itoa(n))
			if _, err := b.owner.Exec(ctx, write); err != nil {
				return err
			}
			took, reason, err := b.increment(ctx)
			if err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "  %s: %s: %s\n", batch.name, took.Round(time.Millisecond), reason)
			began := time.Now()
			if batch.name == latest {
				if _, err := b.owner.Exec(ctx, `SELECT count(q) FROM (`+fmt.Sprintf(rollup, "app.metrics", strings.ReplaceAll(latestHour, "ROUND", strconv.Itoa(n)))+`) AS q`); err != nil {
					return err
				}
			}
			queried := time.Since(began)
			each := []time.Duration{}
			for _, word := range methods {
				if n > rounds {
					break
				}
				if word != "" {
					if _, err := b.owner.Exec(ctx, write); err != nil {
						return err
					}
				}
				began := time.Now()
				if _, err := b.owner.Exec(ctx, `REFRESH MATERIALIZED VIEW `+word+`app.plain`); err != nil {
					return err
				}
				each = append(each, time.Since(began))
			}
			if _, _, err := b.increment(ctx); err != nil { // of the second batch, untimed
				return err
			}
			if _, err := b.admin.Exec(ctx, `VACUUM app.metrics, app.plain, app.rollup__data`); err != nil {
				return err
			}
			if n > 0 { // warm
				ours, alone = append(ours, took), append(alone, queried)
				plain, concurrently = append(plain, each[:min(1, len(each))]...), append(concurrently, each[min(1, len(each)):]...)
			}
		}
		aim, met := "-", true
		switch {
		case batch.most > 0:
			if b.rows == 10_000_000 {
				aim, met = "at most "+ms(batch.most), median(ours) <= batch.most
			}
		default:
			aim, met = "at most 1.2 times", median(ours).Seconds() <= 1.2*median(plain).Seconds()
		}
		b.report.add(figure{"incremental", size + batch.name + ", over REFRESH", ms(median(plain)), ms(median(ours)), times(median(ours), median(plain)), aim, met})
		if batch.name == latest {
			b.report.addLatest(size, latest, median(ours))
			b.report.add(figure{"incremental", size + batch.name + ", over the query for that hour alone", ms(median(alone)), ms(median(ours)), times(median(ours), median(alone)), "-", true})
		}
		if len(concurrently) == 0 {
			continue
		}
		b.report.add(figure{"incremental", size + batch.name + ", over CONCURRENTLY", ms(median(concurrently)), ms(median(ours)), times(median(ours), median(concurrently)), "-", true})
	}
	var differ int64
	err := b.owner.QueryRow(ctx, `SELECT count(*) FROM (SELECT hour, device, n, least, most FROM app.rollup EXCEPT ALL SELECT hour, device, n, least, most FROM app.rollup__query) AS d`).Scan(&differ)
	if err != nil {
		return err
	}
	if differ > 0 {
		return fmt.Errorf("the incremental view differs from its query in %d rows", differ)
	}
	if b.rows > 1_000_000 || !b.wants("writers") { // writers pay the same whatever there is already
		return nil
	}
	return b.writers(ctx, size)
}

// growing measures the same hour again and again.
func (b *bench) growing(ctx context.Context, size string) error {
	var ours []time.Duration
	for n := range quickRounds + 1 {
		if _, err := b.owner.Exec(ctx, grow); err != nil {
			return err
		}
		took, reason, err := b.increment(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "  %s: %s: %s\n", lastHour, took.Round(time.Millisecond), reason)
		if _, err := b.admin.Exec(ctx, `VACUUM app.metrics, app.rollup__data`); err != nil {
			return err
		}
		if n > 0 { // warm
			ours = append(ours, took)
		}
	}
	b.report.addLatest(size, lastHour, median(ours))
	return nil
}

// addLatest compares a refresh of the latest hour with that of the first size that was measured in this run.
func (r *report) addLatest(size, name string, took time.Duration) {
	first, known := r.first[name]
	if !known {
		r.first[name], r.firstSize = took, strings.TrimSuffix(size, ": ")
		return
	}
	r.add(figure{"incremental", size + name + ", over the same with " + r.firstSize, ms(first), ms(took), times(took, first), "at most 1.3 times", took.Seconds() <= 1.3*first.Seconds()})
}

// firstFill registers the view and fills it, some times over.
func (b *bench) firstFill(ctx context.Context, rounds int) error {
	var plain, ours []time.Duration
	for range rounds {
		began := time.Now()
		if _, err := b.owner.Exec(ctx, `REFRESH MATERIALIZED VIEW app.plain`); err != nil {
			return err
		}
		plain = append(plain, time.Since(began))
		if _, err := b.owner.Exec(ctx, `DELETE FROM mvscheduler.views`); err != nil {
			return err
		}
		if err := b.register(ctx, "app.rollup", "app.metrics", "auto"); err != nil {
			return err
		}
		took, _, err := b.increment(ctx)
		if err != nil {
			return err
		}
		ours = append(ours, took)
	}
	ratio := median(ours).Seconds() / median(plain).Seconds()
	b.report.add(figure{"incremental", fmt.Sprintf("%.4g M rows: first fill, over REFRESH", float64(b.rows)/1e6), ms(median(plain)), ms(median(ours)), times(median(ours), median(plain)), "at most 1.5 times", ratio <= 1.5})
	return nil
}

// register makes an incremental view by the hour over a table.
func (b *bench) register(ctx context.Context, view, table, tracking string) error {
	_, err := b.owner.Exec(ctx, `
INSERT INTO mvscheduler.views (name, query, refresh_on, method, time_column, bucket_width, timezone, change_tracking)
VALUES ($1, $2, 'manual', 'incremental', 'hour', '1 hour', 'UTC', $3)`, view, fmt.Sprintf(rollup, table, " WHERE mvscheduler.in_window(ts)"), tracking)
	return err
}

// increment refreshes the view that is measured.
func (b *bench) increment(ctx context.Context) (time.Duration, string, error) {
	return b.refresh(ctx, "app.rollup")
}

// refresh asks for one and returns how long its attempt took, and why it did what it did.
func (b *bench) refresh(ctx context.Context, view string) (time.Duration, string, error) {
	var run int64
	if err := b.owner.QueryRow(ctx, `SELECT mvscheduler.refresh_view($1)`, view).Scan(&run); err != nil {
		return 0, "", err
	}
	for { // with pauses: what runs in parallel needs the processors
		var (
			took   *float64
			reason string
		)
		err := b.admin.QueryRow(ctx, `SELECT extract(epoch FROM finished_at - started_at)::float8, coalesce(reason, '') FROM mvscheduler.run WHERE id = $1`, run).Scan(&took, &reason)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) { // asked for, and not taken up yet
			return 0, "", err
		}
		if took != nil {
			return time.Duration(*took * float64(time.Second)), reason, nil
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// writers compares inserts into tables below incremental views with those into one that nothing watches, in turns: below one
// whose changes triggers note, and one by counters. What of that is PostgreSQL's own, an empty trigger tells, and one written by
// hand what it takes to log times so that they are found again. All have the same rows.
func (b *bench) writers(ctx context.Context, size string) error {
	for _, table := range []string{"app.untracked", "app.counted", "app.empty", "app.byhand"} {
		for _, sql := range []string{`CREATE TABLE %s (LIKE app.metrics)`, `INSERT INTO %s SELECT * FROM app.metrics`, `CREATE INDEX ON %s (ts)`} {
			if _, err := b.owner.Exec(ctx, fmt.Sprintf(sql, table)); err != nil {
				return err
			}
		}
	}
	for _, sql := range []string{
		`CREATE FUNCTION app.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`,
		`CREATE TRIGGER nothing AFTER INSERT ON app.empty REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION app.nothing()`,
		`CREATE TABLE app.log (source regclass, lo timestamptz, hi timestamptz, xid xid8)`,
		`CREATE INDEX ON app.log (source, xid)`, // or what is new in it could not be found without reading all of it
		`CREATE FUNCTION app.note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO app.log SELECT TG_RELID, min(ts), max(ts), pg_current_xact_id() FROM new_rows; RETURN NULL; END'`,
		`CREATE TRIGGER note AFTER INSERT ON app.byhand REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION app.note()`,
	} {
		if _, err := b.owner.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	if err := b.register(ctx, "app.counted_rollup", "app.counted", "counters"); err != nil {
		return err
	}
	if _, _, err := b.refresh(ctx, "app.counted_rollup"); err != nil {
		return err
	}
	if _, err := b.admin.Exec(ctx, `VACUUM ANALYZE app.metrics, app.untracked, app.counted, app.empty, app.byhand`); err != nil {
		return err
	}
	if _, err := b.admin.Exec(ctx, `CHECKPOINT`); err != nil {
		return err
	}
	for _, rows := range []int{1, 100} {
		rate := map[string][]float64{}
		tables := []string{"app.untracked", "app.metrics", "app.counted", "app.empty", "app.byhand"}
		for range writerRounds * b.rounds { // short ones, each with another one first: what else the machine does shall meet all alike
			tables = append(tables[1:], tables[0])
			for _, table := range tables {
				each, err := b.inserts(ctx, table, rows)
				if err != nil {
					return err
				}
				rate[table] = append(rate[table], each)
			}
		}
		most := map[int]float64{1: 0.20, 100: 0.11}[rows]
		add := func(what, bare, ours string, most float64) {
			each := make([]float64, len(rate[bare]))
			for n := range each {
				each[n] = rate[ours][n] / rate[bare][n]
			}
			kept, aim := medianOf(each), "-"
			if most > 0 {
				aim = fmt.Sprintf("at least %.0f %%", 100*(1-most))
			}
			b.report.add(figure{"incremental", fmt.Sprintf("%sinserts a second of %d rows each, %d clients%s", size, rows, clients, what), fmt.Sprintf("%.0f/s", medianOf(rate[bare])),
				fmt.Sprintf("%.0f/s", medianOf(rate[ours])), fmt.Sprintf("%.0f %%", 100*kept), aim, 1-kept <= most || most == 0})
		}
		add("", "app.untracked", "app.metrics", most)
		add(", changes known by counters", "app.untracked", "app.counted", most)
		add(", a trigger written by hand logs the least and the greatest time, by table and transaction", "app.untracked", "app.byhand", 0)
		add(", over that trigger", "app.byhand", "app.metrics", 0)
		add(", over a trigger that does nothing and has a transition table", "app.empty", "app.metrics", 0)
	}
	return nil
}

// clients insert at once, in so many rounds for each one of what is measured otherwise.
const clients, writerRounds = 4, 8

// inserts is how many statements a second insert so many rows each into a table.
func (b *bench) inserts(ctx context.Context, table string, rows int) (float64, error) {
	const span = 500 * time.Millisecond
	var (
		group errgroup.Group
		total [clients]int
	)
	for c := range clients {
		group.Go(func() error {
			conn, err := pgx.Connect(ctx, b.server.URLAs("owner", database))
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
			insert := `INSERT INTO ` + table + ` SELECT '2026-04-10 23:00+00'::timestamptz + random() * interval '1 hour', i % 1000, random() FROM generate_series(1, $1::int) AS i`
			for range 10 { // plans are made, and functions compiled, once for each connection
				if _, err := conn.Exec(ctx, insert, rows); err != nil {
					return err
				}
			}
			for deadline := time.Now().Add(span); time.Now().Before(deadline); total[c]++ {
				if _, err := conn.Exec(ctx, insert, rows); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := group.Wait()
	sum := 0
	for _, n := range total {
		sum += n
	}
	return float64(sum) / span.Seconds(), err
}
