package refresh

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/catalog"
)

// querier is a session or a transaction of one.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// Files are the relations with storage below a view, through views and partitions, with their physical
// files; and the plain views and policies on the way, with the transaction that wrote them.
type Files map[uint32]uint32

// ErrMoved is returned where what is below a view did not stay what it was for long enough to be read.
var ErrMoved = errors.New("a table below the view was rewritten, truncated, attached or detached, or a view or policy replaced, while the refresh waited")

// below lists what the view $1 reads, itself included, by PostgreSQL's catalog alone: pg_depend of the
// rules says what a query names, through ordinary views and partitions. Relations that a function or a policy
// reads are not seen: see measure.
const below = `
WITH RECURSIVE reads(rel, kind) AS (
    SELECT c.oid, c.relkind
      FROM pg_class AS c
     WHERE c.oid = $1
    UNION
    SELECT c.oid, c.relkind
      FROM reads AS r
     CROSS JOIN LATERAL (
            SELECT d.refobjid AS oid
              FROM pg_rewrite AS w
              JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass
                                 AND d.objid = w.oid
                                 AND d.refclassid = 'pg_class'::regclass
                                 AND d.deptype = 'n'
             WHERE w.ev_class = r.rel
               AND (r.kind = 'v' OR r.rel = $1)
             UNION ALL
            SELECT i.inhrelid
              FROM pg_inherits AS i
             WHERE i.inhparent = r.rel
               AND NOT i.inhdetachpending   -- queries do not see it any more
               AND r.kind IN ('r', 'p', 'f')) AS below
      JOIN pg_class AS c ON c.oid = below.oid
)`

// loadFiles reads the relations with storage below a view, and those that are known to be read besides.
func loadFiles(ctx context.Context, q querier, view uint32, besides []uint32) (files Files, err error) {
	err = ReadFiles(view, besides, &files).Alone(ctx, q)
	return files, err
}

// ReadFiles reads the relations with storage below a view, and those that are known to be read besides.
func ReadFiles(view uint32, besides []uint32, into *Files) catalog.Read {
	return catalog.Read{What: "read what the view reads", Args: []any{view, besides}, Collect: func(rows pgx.Rows) error {
		*into = make(Files)
		var oid, file uint32
		_, err := pgx.ForEachRow(rows, []any{&oid, &file}, func() error {
			(*into)[oid] = file
			return nil
		})
		return err
	}, SQL: below + `
SELECT c.oid, c.relfilenode
  FROM (SELECT rel FROM reads WHERE kind IN ('r', 'm') AND rel <> $1
         UNION
        SELECT unnest($2::oid[])) AS r
 CROSS JOIN LATERAL (SELECT oid, relfilenode FROM pg_class WHERE oid = r.rel OFFSET 0) AS c
 UNION ALL
SELECT w.ev_class, w.xmin::text::oid
  FROM reads AS r
  JOIN pg_rewrite AS w ON w.ev_class = r.rel AND w.ev_type = '1'
 WHERE r.kind = 'v'
 UNION ALL
SELECT p.oid, p.xmin::text::oid
  FROM reads AS r
  JOIN pg_policy AS p ON p.polrelid = r.rel`}
}

func (f Files) moved(after Files) bool { return !maps.Equal(f, after) }

// holder is a session that holds a lock against a refresh.
type holder struct {
	PID         int32
	Prepared    *string // name of a transaction that is prepared, and of which there is no session; nil = it is that of PID
	Relation    string
	Mode        string
	User        *string
	Application *string
	State       *string
	Since       *time.Time // start of its transaction
}

func (h holder) String() string {
	text := fmt.Sprintf("pid %d", h.PID)
	if h.Prepared != nil {
		text = fmt.Sprintf("prepared transaction %q", clean(*h.Prepared, 60))
	}
	if h.User != nil && *h.User != "" {
		text += " (" + *h.User
		if h.Application != nil && *h.Application != "" {
			text += ", " + clean(*h.Application, 60)
		}
		if h.State != nil && *h.State != "" {
			text += ", " + *h.State
		}
		text += ")"
	}
	text += fmt.Sprintf(" holds %s on %s", h.Mode, clean(h.Relation, 130))
	if h.Since != nil {
		text += " since " + h.Since.UTC().Format("2006-01-02 15:04:05") + " UTC"
	}
	return text
}

// lockHolder finds who holds a lock that conflicts with a refresh, the oldest transaction first; nil when
// nobody does any more.
func lockHolder(ctx context.Context, q querier, view uint32, below Files, concurrently bool) (*holder, error) {
	needs := append(toRead(below), catalog.Lock{Relation: view, Mode: "AccessExclusiveLock"})
	if concurrently {
		needs[len(needs)-1].Mode = "ExclusiveLock"
	}
	return holderOf(ctx, q, needs)
}

// HolderOf says who holds a lock that conflicts with one of these, and since when his transaction is open: the oldest one. Empty
// when nobody does any more.
func HolderOf(ctx context.Context, q querier, needs []catalog.Lock) (who string, since time.Time, _ error) {
	h, err := holderOf(ctx, q, needs)
	if err != nil || h == nil || h.Since == nil {
		return "", since, err
	}
	return h.String(), *h.Since, nil
}

// toRead are the locks that a query asks for.
func toRead(below Files) []catalog.Lock {
	needs := make([]catalog.Lock, 0, len(below)+1)
	for oid := range below {
		needs = append(needs, catalog.Lock{Relation: oid, Mode: "AccessShareLock"})
	}
	return needs
}

// holderOf finds who holds a lock that conflicts with one of these, the oldest transaction first; nil when nobody does any
// more.
func holderOf(ctx context.Context, q querier, needs []catalog.Lock) (*holder, error) {
	oids, modes := make([]uint32, len(needs)), make([]string, len(needs))
	for i, n := range needs {
		oids[i], modes[i] = n.Relation, n.Mode
	}
	rows, err := q.Query(ctx, `
SELECT coalesce(l.pid, 0), p.gid, c.relname, l.mode, coalesce(a.usename, p.owner), a.application_name, a.state, coalesce(a.xact_start, p.prepared)
  FROM pg_locks AS l
  JOIN unnest($1::oid[], $2::text[]) AS n(relation, mode) ON n.relation = l.relation
  JOIN pg_class AS c ON c.oid = l.relation
  LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
  LEFT JOIN LATERAL (SELECT x.gid, x.owner, x.prepared
                       FROM pg_locks AS k
                       JOIN pg_prepared_xacts AS x ON x.transaction = k.transactionid
                      WHERE l.pid IS NULL
                        AND k.pid IS NULL
                        AND k.locktype = 'transactionid'
                        AND k.virtualtransaction = l.virtualtransaction
                      LIMIT 1) AS p ON true
 WHERE l.locktype = 'relation'
   AND l.granted
   AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
   AND l.pid IS DISTINCT FROM pg_backend_pid()
   AND CASE n.mode
         WHEN 'AccessShareLock' THEN l.mode = 'AccessExclusiveLock'
         WHEN 'RowExclusiveLock' THEN l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
         WHEN 'ShareUpdateExclusiveLock' THEN l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')
         WHEN 'ShareRowExclusiveLock' THEN l.mode NOT IN ('AccessShareLock', 'RowShareLock')
         WHEN 'ExclusiveLock' THEN l.mode <> 'AccessShareLock'
         ELSE n.mode = 'AccessExclusiveLock'
       END
 ORDER BY coalesce(a.xact_start, p.prepared) NULLS LAST
 LIMIT 1`, oids, modes)
	if err != nil {
		return nil, fmt.Errorf("look for who holds the lock: %w", err)
	}
	h, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByPos[holder])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for who holds the lock: %w", err)
	}
	return h, nil
}
