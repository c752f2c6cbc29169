package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/refresh"
)

type verifyCmd struct {
	Name   string `arg:"" complete:"view" help:"The view."`
	All    bool   `xor:"which" help:"Every bucket, not only a sample."`
	Sample *int   `xor:"which" placeholder:"N" help:"How many buckets: the oldest, the newest and others at random, each with the gap that follows it. Default: 30."`
	Repair bool   `help:"Have the next refresh compute the buckets that are wrong anew."`
}

func (verifyCmd) Help() string {
	return `Computes a view's query and compares the result with what the view holds, value by value as PostgreSQL stores them.

It runs in your session, with your rights, in one snapshot, and is rolled back: the sidecar has no part in it. So only the owner of the view can, since the query may call functions of that role.

An incremental view is compared bucket by bucket, a sample of them unless --all is given. Buckets that agree are counted, and those that differ are listed: 50 of them in a table, wrong ones first, and all with -o json, yaml or csv. A bucket that differs is

  dirty   something changed below that the last refresh had not seen: the next one computes it
  wrong   nothing that is known changed: for example changes came later than lateness, a function of the query gives other results than it did, or somebody wrote into the view's table

Rows are missing (the query gives them and the view does not hold them), extra (the other way round), or different (the key is there, with other values; without a key such a row is missing and extra). The last digits of a real or double precision, which the order of adding up decides on, do not count where there is a key. With change_tracking = 'counters' a change of the last minute may not be known yet, and shows as wrong. Buckets of which the rows below have left (source_retention), also while they were compared, cannot be computed any more and are left out.

Any other view is compared as a whole with what a REFRESH would give. It differs also when the tables changed since data_as_of, or when the query has functions such as now() or random().

--repair marks the buckets that are wrong as dirty, for the next refresh; of any other view it asks for a refresh. What is wrong with the query, or not noted by change tracking, it does not mend.

Exits with 5 when something is wrong, and with 0 when buckets are dirty at most, or --repair has marked all that was wrong, or asked for the refresh.

Examples:

  mvscheduler verify analytics.delays_by_hour
  mvscheduler verify analytics.delays_by_hour --all --repair && mvscheduler refresh --wait analytics.delays_by_hour
  mvscheduler verify analytics.delays_by_hour --sample 500 -o json

In SQL: mvscheduler.buckets_of and compare_buckets compare, SELECT mvscheduler.mark_dirty('analytics.delays_by_hour', '2001-02-01', '2001-02-02') marks.

` + exitCodesHelp
}

// verified is what a verification found.
type verified struct {
	Name        string           `json:"name"`
	Method      string           `json:"method"`
	DataAsOf    *time.Time       `json:"data_as_of"`    // nil = it was never filled
	Buckets     int              `json:"buckets"`       // that it holds and that can be computed; 0 where it has none
	Compared    int              `json:"compared"`      // of them
	Agree       int              `json:"agree"`         // of those that were compared
	Frozen      int              `json:"frozen"`        // that cannot be computed any more, or not when they had been compared
	Before      *time.Time       `json:"frozen_before"` // nothing is compared that is called after an earlier time, nor missed there; nil = all is
	Rows        int64            `json:"rows"`          // stored rows that were compared
	Wrong       int              `json:"wrong"`         // buckets, or 1 for a whole view
	Dirty       int              `json:"dirty"`         // buckets
	Repair      string           `json:"repair"`        // what --repair did; empty = nothing
	Differences []bucketVerified `json:"differences"`
}

// bucketVerified is one bucket that differs, or a whole view.
type bucketVerified struct {
	Bucket    string    `json:"bucket"` // empty = the whole view
	State     string    `json:"state"`  // wrong or dirty
	Missing   int64     `json:"missing"`
	Extra     int64     `json:"extra"`
	Different int64     `json:"different"`
	instant   time.Time // the label; one without a zone as UTC
	at        time.Time // a time of the source within it
}

const (
	bucketWrong = "wrong"
	bucketDirty = "dirty"
)

// Run verifies.
func (c *verifyCmd) Run(ctx context.Context, a *app) error {
	if c.Sample != nil && *c.Sample < 1 {
		return usagef("--sample is at least 1")
	}
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		id, err := a.find(ctx, conn, c.Name)
		if err != nil {
			return err
		}
		var (
			found verified
			width time.Duration // of a bucket; zero where there are none
			zone  string
		)
		err = rolledBack(ctx, conn, func(tx pgx.Tx) error {
			view, err := catalog.LoadVerifiable(ctx, tx, id)
			if err != nil {
				return err
			}
			status, err := catalog.StatusByID(ctx, tx, id)
			if err != nil {
				return err
			}
			zone = view.Timezone
			found = verified{Name: view.Name, Method: status.Method, DataAsOf: status.DataAsOf, Differences: []bucketVerified{}}
			if err := asItsSession(ctx, tx, zone); err != nil {
				return fmt.Errorf("verify view %q: %w", view.Name, err)
			}
			if view.ChangeTracking == "" {
				err = found.whole(ctx, a, tx, id)
			} else {
				width, err = c.buckets(ctx, a, tx, id, view, &found)
			}
			if err != nil {
				return fmt.Errorf("verify view %q: %w", view.Name, err)
			}
			scans, err := catalog.ScansHere(ctx, tx)
			if err != nil {
				return err
			}
			return catalog.NoteVerified(ctx, tx, scans)
		})
		if err != nil {
			return err
		}
		if width > 0 && len(found.Differences) > 0 {
			if err := found.leaveOut(ctx, conn, id, zone); err != nil {
				return fmt.Errorf("verify view %q: %w", found.Name, err)
			}
		}
		if c.Repair && found.Wrong > 0 {
			if err := found.repair(ctx, conn, id, width); err != nil {
				return err
			}
		}
		return found.report(a, c)
	})
}

// asItsSession has the transaction read and write times as the session that refreshes the view.
func asItsSession(ctx context.Context, tx pgx.Tx, zone string) error {
	_, err := tx.Exec(ctx, `SELECT set_config('TimeZone', $1, true), set_config('DateStyle', 'ISO, MDY', true), set_config('IntervalStyle', 'postgres', true)`, zone)
	return err
}

// leaveOut takes out of the differences what has been frozen since the snapshot was taken. A snapshot shows rows and
// horizons of its time, but a query reads the partitions that there are when it is planned: what one of them held that
// left in between is not computed, and the horizon of the snapshot does not tell. So it is read again, afterwards.
func (v *verified) leaveOut(ctx context.Context, conn *pgx.Conn, id int64, zone string) error {
	return rolledBack(ctx, conn, func(tx pgx.Tx) error {
		if err := asItsSession(ctx, tx, zone); err != nil {
			return err
		}
		if err := v.frozenBefore(ctx, tx, id); err != nil || v.Before == nil {
			return err
		}
		v.Differences = slices.DeleteFunc(v.Differences, func(b bucketVerified) bool {
			if !b.instant.Before(*v.Before) {
				return false
			}
			v.Frozen++
			if b.State == bucketWrong {
				v.Wrong--
			} else {
				v.Dirty--
			}
			return true
		})
		return nil
	})
}

// frozenBefore reads from when on buckets can be computed; a time before our era is that of a view that has been frozen for nothing.
func (v *verified) frozenBefore(ctx context.Context, tx pgx.Tx, id int64) (err error) {
	if v.Before, err = catalog.FrozenBefore(ctx, tx, id); err == nil && v.Before != nil && v.Before.Year() < 1 {
		v.Before = nil // nor can JSON have it
	}
	return err
}

// rolledBack runs f in one snapshot and keeps nothing of what it did. The transaction is not read-only, since what is read by
// a name that somebody else could take is read through a view that is made for it.
func rolledBack(ctx context.Context, conn *pgx.Conn, f func(tx pgx.Tx) error) error {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	err = f(tx)
	if conn.PgConn().TxStatus() == 'I' {
		return err // catalog.NoteVerified has rolled it back, and a second ROLLBACK is a warning
	}
	if rollback := tx.Rollback(ctx); err == nil && rollback != nil {
		return fmt.Errorf("roll back: %w", rollback)
	}
	return err
}

// whole compares a view that has no buckets.
func (v *verified) whole(ctx context.Context, a *app, tx pgx.Tx, id int64) error {
	if a.errTerminal {
		a.say("computing the whole view")
	}
	missing, extra, err := catalog.CompareContents(ctx, tx, id)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == "55000" { // as PostgreSQL says of a view without contents
		return &exitError{code: exitFailure, err: fmt.Errorf("it has no contents yet: mvscheduler refresh --wait %s", shellQuote(v.Name))}
	}
	if err != nil {
		return err
	}
	if missing+extra > 0 {
		v.Wrong = 1
		v.Differences = append(v.Differences, bucketVerified{State: bucketWrong, Missing: missing, Extra: extra})
	}
	return nil
}

// buckets compares an incremental view. It returns how wide a bucket is.
func (c *verifyCmd) buckets(ctx context.Context, a *app, tx pgx.Tx, id int64, view catalog.Verifiable, found *verified) (width time.Duration, err error) {
	below, err := catalog.LoadIncremental(ctx, tx, id)
	if err != nil {
		return 0, err
	}
	all, err := catalog.LoadBuckets(ctx, tx, id)
	if err != nil {
		return 0, err
	}
	var open []catalog.Bucket
	stored := map[string]bool{}
	for _, b := range all {
		if b.Frozen {
			found.Frozen++
		} else {
			open = append(open, b)
			stored[b.Label] = true
		}
	}
	found.Buckets = len(open)
	if err := found.frozenBefore(ctx, tx, id); err != nil {
		return 0, err
	}
	dirty, err := dirtyBuckets(ctx, tx, id, view, below)
	if err != nil {
		return 0, err
	}
	sample, most := defaultSample, spanRows
	if c.Sample != nil {
		sample = *c.Sample
	}
	if c.All || !below.Bound {
		sample = 0
	}
	if !below.Bound { // without in_window a part costs as much as the whole
		most = math.MaxInt64
	}
	spans := spansOf(open, sample, most)
	bar := verifyProgress{a: a, spans: spans, began: time.Now()}
	defer bar.clear()
	for n, s := range spans {
		bar.show(n, found)
		differing, err := catalog.CompareBuckets(ctx, tx, id, s.First, s.Last)
		if err != nil {
			return 0, err
		}
		found.Compared += s.Buckets
		found.Agree += s.Buckets
		found.Rows += s.Rows
		for _, d := range differing {
			b := bucketVerified{Bucket: d.Label, State: bucketWrong, Missing: d.Missing, Extra: d.Extra, Different: d.Different, instant: d.Instant, at: d.At}
			for _, labels := range dirty {
				if labels.Contain(d.Instant) {
					b.State = bucketDirty
				}
			}
			if stored[b.Bucket] {
				found.Agree--
			}
			if b.State == bucketDirty {
				found.Dirty++
			} else {
				found.Wrong++
			}
			found.Differences = append(found.Differences, b)
		}
	}
	return below.Width, nil
}

// dirtyBuckets are what the next refresh would compute, by the same decision.
func dirtyBuckets(ctx context.Context, tx pgx.Tx, id int64, view catalog.Verifiable, below catalog.Incremental) ([]catalog.Labels, error) {
	leaves, err := catalog.LoadLeaves(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	tracking, _, err := refresh.ChooseTracking(view.ChangeTracking, view.Owner, leaves, false)
	if err != nil && below.Tracking != nil {
		tracking = *below.Tracking // the next refresh will say what is wrong
	}
	var now time.Time
	if err := tx.QueryRow(ctx, `SELECT now()`).Scan(&now); err != nil {
		return nil, fmt.Errorf("read the clock: %w", err)
	}
	changes, err := catalog.LoadChanges(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	dirt, err := refresh.Unseen(below, changes, leaves, tracking, now)
	if err != nil {
		return nil, err
	}
	starts, ends := coalesced(dirt, below.Width)
	return catalog.DirtyBuckets(ctx, tx, id, starts, ends)
}

// coalesced are the ranges that a refresh would make of dirt.
func coalesced(dirt []refresh.Dirt, width time.Duration) (starts, ends []*time.Time) {
	ranges, _ := refresh.Coalesce(dirt, width+2*time.Hour)
	for _, r := range ranges {
		starts, ends = append(starts, r.Lo), append(ends, r.Hi)
	}
	return starts, ends
}

// verifySpan is a range of labels that is compared at once: it holds buckets, and what would be in the gap after them.
type verifySpan struct {
	First, Last string // labels
	Buckets     int
	Rows        int64
}

// Everything is compared in spans of so many rows, or fewer, so that there is something to tell meanwhile.
const (
	spanRows      int64 = 200_000
	defaultSample int   = 30
)

// spansOf picks what is compared of the buckets, which are in order: the oldest, the newest and others at random, so many
// in all. With sample 0, or fewer buckets, it is everything from the beginning of time to its end, most rows at once.
func spansOf(buckets []catalog.Bucket, sample int, most int64) []verifySpan {
	edge := func(n int) string { // where bucket n begins, which is where what follows the one before ends
		switch {
		case n <= 0:
			return "-infinity"
		case n >= len(buckets):
			return "infinity"
		}
		return buckets[n].Label
	}
	if len(buckets) == 0 {
		return []verifySpan{{First: "-infinity", Last: "infinity"}}
	}
	one := func(n int) verifySpan {
		return verifySpan{First: edge(n), Last: edge(n + 1), Buckets: 1, Rows: buckets[n].Rows}
	}
	var spans []verifySpan
	if sample > 0 && sample < len(buckets) {
		for _, n := range sampled(len(buckets), sample) {
			spans = append(spans, one(n))
		}
		return spans
	}
	for n := range buckets {
		next := one(n)
		if last := len(spans) - 1; last >= 0 && next.Rows <= most-spans[last].Rows {
			next = verifySpan{First: spans[last].First, Last: next.Last, Buckets: spans[last].Buckets + 1, Rows: spans[last].Rows + next.Rows}
			spans = spans[:last]
		}
		spans = append(spans, next)
	}
	return spans
}

// sampled are k of the numbers below n, in order: the last, the first, and others at random. k is less than n.
func sampled(n, k int) []int {
	chosen := make([]bool, n)
	chosen[n-1] = true
	left := k - 1
	if left > 0 {
		chosen[0] = true
		left--
	}
	for _, m := range rand.Perm(n) {
		if left == 0 {
			break
		}
		if !chosen[m] {
			chosen[m] = true
			left--
		}
	}
	var numbers []int
	for m, yes := range chosen {
		if yes {
			numbers = append(numbers, m)
		}
	}
	return numbers
}
