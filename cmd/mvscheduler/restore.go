package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/refresh"
)

type restoreCmd struct {
	Name string `arg:"" complete:"view" help:"The view, or the table of source_retention."`
}

func (restoreCmd) Help() string {
	return `Brings back the partitions that retention has put aside and not dropped yet, with every row of them. It runs in your session, so only their owner can. They stay for another grace period; to keep them for longer, lengthen retention_period.

Each comes back in a transaction of its own, the newest first. When one cannot, that is said and the others follow; repeat the command once its cause is gone. Where the table has a DEFAULT partition, PostgreSQL searches that at each ATTACH, and whoever uses the table waits for so long; rows in it that belong to what is to come back have to be moved first. Somebody who holds a lock on it, as a reader does until his transaction ends, is waited for once and named.

Examples:

  mvscheduler restore analytics.hourly_delays
  mvscheduler restore app.flights

The same in SQL, all or nothing: SELECT * FROM mvscheduler.restore_view('analytics.hourly_delays')

` + exitCodesHelp
}

// restored is a partition that was brought back.
type restored struct {
	Partition string `json:"partition"`
	Bound     string `json:"bound"`
	Rows      *int64 `json:"rows"` // estimated; nil = unknown
	Bytes     *int64 `json:"bytes"`
}

// Run restores.
func (c *restoreCmd) Run(ctx context.Context, a *app) error {
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		target, err := a.findTarget(ctx, conn, c.Name)
		if err != nil {
			return err
		}
		found, failed := c.restore(ctx, a, conn, target)
		if len(found) > 0 || failed == nil {
			if err := emit(a, found, []column[restored]{
				{title: "partition", cell: func(r restored) string { return r.Partition }},
				{title: "holds", cell: func(r restored) string { return r.Bound }, wrap: true},
				{title: "rows", cell: func(r restored) string { return countOf(r.Rows) }, right: true},
				{title: "bytes", cell: func(r restored) string { return bytesOf(r.Bytes) }, right: true},
			}, "Nothing is kept aside."); err != nil {
				return errors.Join(failed, err)
			}
		}
		return failed
	})
}

// aside is a partition that was put aside.
type aside struct{ Relation, Parent uint32 }

// restore brings back one partition after the other, the newest first, so that the horizon up to which views are frozen moves back
// with each. It goes on after one that fails, and reports that, unless the others would fail as well.
func (c *restoreCmd) restore(ctx context.Context, a *app, conn *pgx.Conn, target int64) (found []restored, failed error) {
	rows, err := conn.Query(ctx, `
SELECT v.relation::oid, v.parent::oid
  FROM mvscheduler.visible_kept AS v
 WHERE v.target = $1
 ORDER BY split_part(v.bound, ' TO (', 2) COLLATE "C" DESC`, target)
	if err != nil {
		return nil, fmt.Errorf("look for what was put aside of %q: %w", c.Name, err)
	}
	partitions, err := pgx.CollectRows(rows, pgx.RowToStructByPos[aside])
	if err != nil {
		return nil, fmt.Errorf("look for what was put aside of %q: %w", c.Name, err)
	}
	var failures []error
	for n, partition := range partitions {
		began := time.Now()
		back, err := c.restoreOne(ctx, conn, target, partition.Relation)
		var refused *pgconn.PgError
		switch {
		case err == nil:
			found = append(found, back...)
			continue
		case !errors.As(err, &refused), refused.Code == "42501", conn.IsClosed(): // it is not about this partition
			return found, err
		case refused.Code == "55P03":
			holder, all := c.holder(ctx, conn, partition, time.Since(began))
			if holder != "" {
				err = &adviceError{err: err, do: "Try again when its transaction has ended: " + holder, instead: true}
			}
			if all && n+1 < len(partitions) {
				explain(err).write(a.stderr)
				return found, &exitError{code: exitConflict, err: fmt.Errorf("%d of %d partitions of %q came back: the others need the same lock and were not tried", len(found), len(partitions), c.Name)}
			}
			if holder == "" && n+1 < len(partitions) { // who had queued behind it goes first
				select {
				case <-ctx.Done():
					return found, ctx.Err()
				case <-time.After(time.Since(began)):
				}
			}
		}
		if len(partitions) == 1 {
			return found, err
		}
		explain(err).write(a.stderr)
		failures = append(failures, err)
	}
	if len(failures) == 0 {
		return found, nil
	}
	code := explain(failures[0]).code
	if slices.ContainsFunc(failures, func(err error) bool { return explain(err).code != code }) {
		code = exitFailure
	}
	return found, &exitError{code: code, err: fmt.Errorf("%d of %d partitions of %q did not come back", len(failures), len(partitions), c.Name)}
}

// holder says who holds the lock that was not had after so long, empty when that is not known any more, and whether every partition
// of the table needs it: readers and writers of the table would queue behind the wait for each. Whoever came later was not waited for.
func (*restoreCmd) holder(ctx context.Context, conn *pgx.Conn, partition aside, waited time.Duration) (who string, all bool) {
	var oldest time.Time
	if err := conn.QueryRow(ctx, `SELECT clock_timestamp() - $1::interval`, waited).Scan(&oldest); err != nil {
		return "", false
	}
	for _, relation := range []uint32{0, partition.Relation} { // none: of the table, its DEFAULT partition and what it points at
		needs, err := catalog.PartitionLocks(ctx, conn, partition.Parent, relation, catalog.StepAttach)
		if err != nil {
			return "", false
		}
		h, since, err := refresh.HolderOf(ctx, conn, needs)
		if err != nil {
			return "", false
		}
		if h != "" && since.Before(oldest) {
			who, oldest, all = h, since, relation == 0
		}
	}
	return who, all
}

// restoreOne brings back one partition; nothing, when somebody was faster.
func (c *restoreCmd) restoreOne(ctx context.Context, conn *pgx.Conn, target int64, partition uint32) ([]restored, error) {
	rows, err := conn.Query(ctx, `SELECT r.partition, r.bound, r.rows, r.bytes FROM mvscheduler.restore_partitions($1, $2) AS r`, target, partition)
	if err == nil {
		var back []restored
		if back, err = pgx.CollectRows(rows, pgx.RowToStructByPos[restored]); err == nil {
			return back, nil
		}
	}
	return nil, fmt.Errorf("restore what was put aside of %q: %w", c.Name, err)
}
