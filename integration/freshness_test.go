package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// An act is what an author does next, whether its session ends then, and how long it rests afterwards.
type act struct {
	Kind   string
	Leaves bool
	Rest   time.Duration
}

// The life of an author: writes of every kind that the server's counters tell of late, or not at all, and rests
// of the lengths after which they do.
var life = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) act {
	ms := func(label string, from, to int) time.Duration {
		return time.Duration(rapid.IntRange(from, to).Draw(t, label)) * time.Millisecond
	}
	a := act{Kind: rapid.SampledFrom([]string{"one", "one", "one", "chain", "chain", "call", "block", "rollback", "savepoint", "copy", "truncate", "prepared", "attach", "detach"}).Draw(t, "kind"),
		Leaves: rapid.IntRange(0, 9).Draw(t, "leaves") < 6}
	switch length := rapid.IntRange(0, 9).Draw(t, "length"); {
	case length < 6:
		a.Rest = ms("short", 0, 1300)
	case length < 8:
		a.Rest = ms("longer", 2000, 5000)
	default:
		a.Rest = ms("for good", 12_000, 19_000)
	}
	return a
}), 200, 200)

// An author writes to a table of its own, one transaction after the other, each of which sets row 0 to its
// number: so it can be told of any contents which transactions they hold.
type author struct {
	number  int
	table   string
	connect func() (*pgx.Conn, error)
	conn    *pgx.Conn
	random  *rand.Rand
	rows    map[int]int
	parts   int // partitions besides the first
	seq     int

	mu     *sync.Mutex
	states map[int]string // by number of the transaction: the rows when it has committed
	seen   []observation  // of commits, in order
}

type observation struct {
	seq int
	at  time.Time // it had committed by then
}

func digest(rows map[int]int) string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		fmt.Fprintf(&b, "%d=%d ", id, rows[id])
	}
	return b.String()
}

// draft is the text of a transaction and what the table holds after it.
func (a *author) draft(truncate bool) (statements []string, after map[int]int) {
	a.seq++
	after = maps.Clone(a.rows)
	set := func(id int) {
		v := a.random.IntN(1_000_000)
		if _, known := after[id]; known {
			statements = append(statements, fmt.Sprintf(`UPDATE %s SET v = %d WHERE id = %d`, a.table, v, id))
		} else {
			statements = append(statements, fmt.Sprintf(`INSERT INTO %s VALUES (%d, %d)`, a.table, id, v))
		}
		after[id] = v
	}
	if truncate {
		statements = append(statements, `TRUNCATE `+a.table, fmt.Sprintf(`INSERT INTO %s VALUES (0, 0)`, a.table))
		after = map[int]int{0: 0}
	}
	for range a.random.IntN(3) {
		id := 1 + a.random.IntN(8)
		if _, known := after[id]; known && a.random.IntN(3) == 0 {
			statements = append(statements, fmt.Sprintf(`DELETE FROM %s WHERE id = %d`, a.table, id))
			delete(after, id)
		} else {
			set(id)
		}
	}
	statements = append(statements, fmt.Sprintf(`UPDATE %s SET v = %d WHERE id = 0`, a.table, a.seq))
	after[0] = a.seq
	return statements, after
}

// will notes what the table holds once the transaction has committed, before it does.
func (a *author) will(after map[int]int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rows, a.states[after[0]] = after, digest(after)
}

// did notes that it has.
func (a *author) did(seq int, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.seen); n == 0 || a.seen[n-1].seq < seq {
		a.seen = append(a.seen, observation{seq, at})
	}
}

// committedBefore is the last transaction that is known to have committed before an instant.
func (a *author) committedBefore(at time.Time) (seq int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, o := range a.seen {
		if o.at.Before(at) {
			seq = max(seq, o.seq)
		}
	}
	return seq
}

// do is one act. The pauses within it are part of what is tried: a transaction that stays open hides what it has
// committed.
func (a *author) do(ctx context.Context, kind string) error {
	exec := func(statements ...string) error {
		for _, s := range statements {
			if _, err := a.conn.Exec(ctx, s); err != nil {
				return fmt.Errorf("%s: %w", s, err)
			}
		}
		return nil
	}
	if err := a.come(); err != nil {
		return err
	}
	switch kind {
	case "one":
		statements, after := a.draft(false)
		a.will(after)
		if err := exec(strings.Join(statements, ";")); err != nil { // one implicit transaction
			return err
		}
	case "truncate":
		statements, after := a.draft(true)
		a.will(after)
		if err := exec(strings.Join(statements, ";")); err != nil {
			return err
		}
	case "chain":
		if err := exec(`BEGIN`); err != nil {
			return err
		}
		for range 1 + a.random.IntN(4) {
			statements, after := a.draft(false)
			a.will(after)
			if err := exec(strings.Join(statements, ";") + `; COMMIT AND CHAIN`); err != nil {
				return err
			}
			a.did(after[0], time.Now())
			time.Sleep(time.Duration(a.random.IntN(1200)) * time.Millisecond)
		}
		return exec(`COMMIT`)
	case "call":
		var body strings.Builder
		for range 1 + a.random.IntN(4) {
			statements, after := a.draft(false)
			a.will(after)
			fmt.Fprintf(&body, "%s; COMMIT; PERFORM pg_sleep(%.2f);\n", strings.Join(statements, ";"), a.random.Float64())
		}
		if err := exec(`DO $$ BEGIN ` + body.String() + ` END $$`); err != nil {
			return err
		}
	case "block":
		statements, after := a.draft(false)
		if err := exec(append([]string{`BEGIN`}, statements...)...); err != nil {
			return err
		}
		time.Sleep(time.Duration(a.random.IntN(1500)) * time.Millisecond)
		a.will(after)
		if err := exec(`COMMIT`); err != nil {
			return err
		}
	case "rollback":
		statements, _ := a.draft(false)
		return exec(append(append([]string{`BEGIN`}, statements...), `ROLLBACK`)...)
	case "savepoint":
		undone, _ := a.draft(true)
		statements, after := a.draft(false)
		a.will(after)
		if err := exec(append(append(append([]string{`BEGIN`, `SAVEPOINT s`}, undone...), `ROLLBACK TO s`), append(statements, `COMMIT`)...)...); err != nil {
			return err
		}
	case "copy":
		statements, after := a.draft(false)
		free := 100
		for after[free] != 0 {
			free++
		}
		after[free] = 1 + a.random.IntN(1000)
		if err := exec(`BEGIN`); err != nil {
			return err
		}
		if _, err := a.conn.PgConn().CopyFrom(ctx, strings.NewReader(fmt.Sprintf("%d\t%d\n", free, after[free])), `COPY `+a.table+` FROM STDIN`); err != nil {
			return err
		}
		a.will(after)
		if err := exec(append(statements, `COMMIT`)...); err != nil {
			return err
		}
	case "prepared":
		name := fmt.Sprintf("'%s %s %d'", a.conn.Config().Database, a.table, a.seq) // of the whole server
		statements, after := a.draft(false)
		err := exec(append(append([]string{`BEGIN`}, statements...), `PREPARE TRANSACTION `+name)...)
		var full *pgconn.PgError
		if errors.As(err, &full) && full.Code == "55000" { // other tests have max_prepared_transactions of them
			return exec(`ROLLBACK`)
		}
		if err != nil {
			return err
		}
		time.Sleep(time.Duration(a.random.IntN(1500)) * time.Millisecond)
		if a.random.IntN(2) == 0 { // by another session than the one that prepared it
			a.leave(ctx)
			if err := a.come(); err != nil {
				return err
			}
		}
		if a.random.IntN(4) == 0 || ctx.Err() != nil {
			return exec(`ROLLBACK PREPARED ` + name)
		}
		a.will(after)
		if err := exec(`COMMIT PREPARED ` + name); err != nil {
			return err
		}
	case "attach":
		statements, after := a.draft(false)
		a.parts++
		id := 1000 * a.parts
		after[id] = a.random.IntN(1000)
		part := fmt.Sprintf("%s_%d", a.table, a.parts)
		a.will(after)
		if err := exec(append([]string{`BEGIN`, fmt.Sprintf(`CREATE TABLE %s (id int PRIMARY KEY, v int NOT NULL)`, part), fmt.Sprintf(`INSERT INTO %s VALUES (%d, %d)`, part, id, after[id]),
			fmt.Sprintf(`ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%d) TO (%d)`, a.table, part, id, id+1000)}, append(statements, `COMMIT`)...)...); err != nil {
			return err
		}
	case "detach":
		if a.parts == 0 {
			return nil
		}
		statements, after := a.draft(false)
		part := fmt.Sprintf("%s_%d", a.table, a.parts)
		delete(after, 1000*a.parts)
		a.parts--
		a.will(after)
		if err := exec(append([]string{`BEGIN`, `ALTER TABLE ` + a.table + ` DETACH PARTITION ` + part, `DROP TABLE ` + part}, append(statements, `COMMIT`)...)...); err != nil {
			return err
		}
	}
	a.did(a.rows[0], time.Now())
	return nil
}

// leave ends the session of the author, which connects again when it has something to do.
func (a *author) leave(ctx context.Context) {
	if a.conn != nil {
		_ = a.conn.Close(ctx)
		a.conn = nil
	}
}

func (a *author) come() (err error) {
	if a.conn == nil {
		a.conn, err = a.connect()
	}
	return err
}

// Whatever the authors of some databases do, no view claims to be younger than it is, and none shows a mixture.
// Runs are skipped, and skips move data_as_of on, or this would show nothing: see the count at the end. It is one of
// all worlds, as in one of them an author may keep the horizon back to the end.
func TestNoViewIsEverReportedFresherThanItIs(t *testing.T) {
	t.Parallel()
	length := 45 * time.Second
	if long {
		length = 6 * time.Minute
	}
	seed := rand.Int()
	t.Logf("seed %d", seed)
	ctx, stop := context.WithTimeout(t.Context(), length)
	defer stop()
	var (
		worlds sync.WaitGroup
		skips  atomic.Int64
	)
	for n := range 3 {
		w := newWorld(t, seed+10*n)
		worlds.Go(func() { skips.Add(w.run(ctx)) })
	}
	worlds.Wait()
	require.NotZero(t, skips.Load(), "no skip moved data_as_of (seed %d)", seed)
}

// A world is a database with two authors, a view of what they write, and a view of that.
type world struct {
	t       *testing.T
	db      *pgtest.DB
	seed    int
	owner   string
	authors []*author
}

func newWorld(t *testing.T, seed int) *world {
	w := &world{t: t, db: pgtest.New(t), seed: seed}
	w.db.Exec(t, `UPDATE mvscheduler.settings SET max_skips = 100`)
	w.owner = w.db.User(t, "alice")
	setUp := w.db.Conn(t, w.owner)
	for n := range 2 {
		a := &author{
			number: n, table: fmt.Sprintf("t%d", n), random: rand.New(rand.NewPCG(uint64(seed), uint64(n))),
			connect: func() (*pgx.Conn, error) { return pgx.Connect(context.WithoutCancel(t.Context()), w.db.URLAs(w.owner)) },
			rows:    map[int]int{0: 0}, mu: &sync.Mutex{}, states: map[int]string{0: digest(map[int]int{0: 0})}, seen: []observation{{0, time.Now()}},
		}
		t.Cleanup(func() { a.leave(context.WithoutCancel(t.Context())) })
		pgtest.Exec(t, setUp, fmt.Sprintf(`CREATE TABLE %s (id int NOT NULL, v int NOT NULL) PARTITION BY RANGE (id)`, a.table),
			fmt.Sprintf(`CREATE TABLE %s_0 PARTITION OF %[1]s FOR VALUES FROM (0) TO (1000)`, a.table), fmt.Sprintf(`ALTER TABLE %s ADD PRIMARY KEY (id)`, a.table), fmt.Sprintf(`INSERT INTO %s VALUES (0, 0)`, a.table))
		w.authors = append(w.authors, a)
	}
	pgtest.Exec(t, setUp, `INSERT INTO mvscheduler.views (name, query, unique_key) VALUES ('v', 'SELECT 0 AS author, id, v FROM t0 UNION ALL SELECT 1, id, v FROM t1', '{author,id}')`,
		`INSERT INTO mvscheduler.views (name, query, refresh_on) VALUES ('w', 'SELECT author, string_agg(id || ''='' || v || '' '', '''' ORDER BY id) AS rows FROM v GROUP BY 1', 'upstream')`)
	startSidecar(t, w.db)
	until(t, setUp, `SELECT bool_and(freshness = 'fresh') FROM mvscheduler.status`)
	require.NoError(t, setUp.Close(t.Context()))
	return w
}

// run lets the authors live until ctx ends, looking at the views all the time, and returns how many skips
// moved data_as_of.
func (w *world) run(ctx context.Context) (skips int64) {
	var authors sync.WaitGroup
	for n, a := range w.authors {
		acts := life.Example(w.seed + n)
		authors.Go(func() {
			for _, act := range acts {
				if ctx.Err() != nil {
					return
				}
				if err := a.do(context.WithoutCancel(ctx), act.Kind); err != nil {
					w.t.Errorf("author %d of seed %d, %s: %v", n, w.seed, act.Kind, err)
					return
				}
				if act.Leaves {
					a.leave(context.WithoutCancel(ctx))
				}
				select {
				case <-ctx.Done():
				case <-time.After(act.Rest):
				}
			}
		})
	}
	for ctx.Err() == nil && !w.t.Failed() {
		if err := w.look(context.WithoutCancel(ctx)); err != nil {
			w.t.Errorf("seed %d: %v", w.seed, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(350 * time.Millisecond):
		}
	}
	authors.Wait()
	conn, err := pgx.Connect(context.WithoutCancel(ctx), w.db.URL())
	if err == nil {
		defer conn.Close(context.WithoutCancel(ctx))
		err = conn.QueryRow(context.WithoutCancel(ctx), `
SELECT count(*)
  FROM mvscheduler.run AS r
 WHERE r.state = 'skipped'
   AND r.data_as_of > (SELECT max(p.data_as_of) FROM mvscheduler.run AS p WHERE p.view_id = r.view_id AND p.id < r.id)`).Scan(&skips)
	}
	if err != nil {
		w.t.Errorf("seed %d: %v", w.seed, err)
	}
	return skips
}

// look makes the view due, and compares what the views claim with what they show. Its session is a new one each
// time: one that stays would hold back what a skip can prove.
func (w *world) look(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, w.db.URL())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, makeDue); err != nil {
		return err
	}
	for n, a := range w.authors {
		var seq int
		if err := conn.QueryRow(ctx, fmt.Sprintf(`SELECT v FROM %s.t%d WHERE id = 0`, w.owner, n)).Scan(&seq); err != nil {
			return err
		}
		a.did(seq, time.Now())
	}
	for view, contents := range map[string]string{
		"v": `SELECT author, string_agg(id || '=' || v || ' ', '' ORDER BY id) AS rows FROM ` + w.owner + `.v GROUP BY 1`,
		"w": `TABLE ` + w.owner + `.w`,
	} {
		rows, err := conn.Query(ctx, `SELECT x.author, x.rows, (SELECT data_as_of FROM mvscheduler.status WHERE name = $1) FROM (`+contents+`) AS x`, w.owner+"."+view)
		if err != nil {
			return err
		}
		var (
			n     int
			shown string
			asOf  time.Time
		)
		_, err = pgx.ForEachRow(rows, []any{&n, &shown, &asOf}, func() error {
			a := w.authors[n]
			var seq int
			if _, err := fmt.Sscanf(shown, "0=%d ", &seq); err != nil {
				return fmt.Errorf("%s shows %q", view, shown)
			}
			a.mu.Lock()
			state := a.states[seq]
			a.mu.Unlock()
			if shown != state {
				return fmt.Errorf("%s shows %q of author %d, which is not what transaction %d left, %q", view, shown, n, seq, state)
			}
			if due := a.committedBefore(asOf); seq < due {
				return fmt.Errorf("%s claims to be whole up to %s and shows transaction %d of author %d, when %d had committed", view, asOf.UTC(), seq, n, due)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
