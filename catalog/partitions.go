package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Steps of retention; the functions are in the migration 000019_partitions.
const (
	StepDetach   = "detach"
	StepDropKept = "drop_kept"
	StepAttach   = "attach"
)

// PruneTarget is an incremental view, or a table of source_retention, and the facts on which its plan depends.
type PruneTarget struct {
	ID       int64  // views.id, or source_retention.id, which is below zero
	Name     string // of the view or table
	Relation uint32 // the partitioned table
	Facts    []byte // JSON, for retention.Decode
	Seen     string // the snapshot in which they were read
}

// OnlySince has the facts that this transaction reads tell of no changes that a snapshot sees: these an earlier plan has read. There
// can be many, and everybody who uses the table waits.
func OnlySince(ctx context.Context, tx pgx.Tx, seen string) error {
	_, err := tx.Exec(ctx, `SELECT set_config('mvscheduler.planned', concat_ws(' ', pg_current_xact_id(), $1::text), true)`, seen)
	if err != nil {
		return fmt.Errorf("leave out what was seen: %w", err)
	}
	return nil
}

// LoadPruneTarget reads the facts of one snapshot, as far as the caller may see them; nil when there is no such target
// any more, or it is not the owner's.
func LoadPruneTarget(ctx context.Context, q Querier, id int64) (*PruneTarget, error) {
	rows, err := q.Query(ctx, `SELECT f.id, f.name, f.relation, f.facts, pg_current_snapshot()::text AS seen FROM mvscheduler.prune_facts AS f WHERE f.id = $1`, id)
	if err != nil {
		return nil, fmt.Errorf("read the partitions of target %d: %w", id, err)
	}
	t, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[PruneTarget])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the partitions of target %d: %w", id, err)
	}
	return t, nil
}

// PruneGate is the gate of a target; zero when it has none.
func PruneGate(ctx context.Context, q Querier, id int64) (uint32, error) {
	var gate uint32
	err := q.QueryRow(ctx, `SELECT coalesce(max(t.gate::oid), 0::oid) FROM mvscheduler.visible_targets AS t WHERE t.id = $1`, id).Scan(&gate)
	if err != nil {
		return 0, fmt.Errorf("look for the gate of target %d: %w", id, err)
	}
	return gate, nil
}

// GivePartition hands a partition to the step that the attempt was let through for.
func GivePartition(ctx context.Context, tx pgx.Tx, a Attempt, partition uint32) error {
	_, err := tx.Exec(ctx, `INSERT INTO mvscheduler.pass_partition (run_id, relation) VALUES ($1, $2)`, a.RunID, partition)
	if err != nil {
		return fmt.Errorf("hand a partition to run %d: %w", a.RunID, err)
	}
	return nil
}

// TakePartitionBack takes the pass and its partition back, in the transaction that gave them.
func TakePartitionBack(ctx context.Context, tx pgx.Tx, a Attempt) error {
	_, err := tx.Exec(ctx, `DELETE FROM mvscheduler.pass_partition WHERE run_id = $1`, a.RunID)
	if err != nil {
		return fmt.Errorf("close the gate behind run %d: %w", a.RunID, err)
	}
	return Closed(ctx, tx, a)
}

// Lock is one that a step asks for.
type Lock struct {
	Relation uint32
	Mode     string // as pg_locks calls it
}

// PartitionLocks are the locks that a step needs to move a partition of a table: of both, of the DEFAULT partition, and of
// tables that their foreign keys point at.
func PartitionLocks(ctx context.Context, q Querier, table, partition uint32, step string) ([]Lock, error) {
	rows, err := q.Query(ctx, `
WITH RECURSIVE tree(oid) AS (
    SELECT $2::oid
     UNION
    SELECT i.inhrelid FROM tree AS t JOIN pg_inherits AS i ON i.inhparent = t.oid
), pointed AS (
    SELECT DISTINCT x.confrelid AS oid
      FROM pg_constraint AS x
     WHERE x.contype = 'f'
       AND (x.conrelid IN (SELECT t.oid FROM tree AS t) OR x.conrelid = $1 AND $3 = 'attach')
)
SELECT t.oid, 'AccessExclusiveLock'
  FROM tree AS t
 WHERE $3 <> 'detach' OR t.oid = $2 OR EXISTS (SELECT FROM pointed)
 UNION ALL
SELECT p.oid, CASE WHEN $3 = 'detach' THEN 'ShareRowExclusiveLock' ELSE 'AccessExclusiveLock' END
  FROM pointed AS p
 UNION ALL
SELECT $1::oid, CASE WHEN $3 = 'detach' THEN 'AccessExclusiveLock' ELSE 'ShareUpdateExclusiveLock' END
 WHERE $3 <> 'drop_kept'
 UNION ALL
SELECT p.partdefid, 'AccessExclusiveLock'
  FROM pg_partitioned_table AS p
 WHERE p.partrelid = $1
   AND p.partdefid <> 0
   AND $3 <> 'drop_kept'`, table, partition, step)
	if err != nil {
		return nil, fmt.Errorf("look for the locks that a partition needs: %w", err)
	}
	locks, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Lock])
	if err != nil {
		return nil, fmt.Errorf("look for the locks that a partition needs: %w", err)
	}
	return locks, nil
}

// Moved is what became of a partition.
type Moved struct {
	Target    int64
	Partition uint32
	Name      string // qualified, before
	Bound     string // as PostgreSQL deparses it with UTC and ISO
	Rows      int64  // estimated; -1 = unknown
	Bytes     int64
	Reason    string
}

// IsAside says whether this very transaction has put a partition aside. What follows is ours, under the locks of the
// DETACH: compiling the plan that reads the facts would take a second, and partitions that are attached are not read again.
// It locks the horizon of the target first: what moves those of its readers back comes before the facts are read, or waits.
func IsAside(ctx context.Context, tx pgx.Tx, target int64, partition uint32) (bool, error) {
	var aside bool
	err := tx.QueryRow(ctx, `
WITH horizon AS (
    INSERT INTO mvscheduler.frozen AS f (target, relation)
    VALUES ($1, (SELECT r.relation FROM mvscheduler.source_state AS r WHERE r.id = $1))
    ON CONFLICT (target) DO UPDATE
       SET labels = f.labels
)
SELECT EXISTS (SELECT
                 FROM mvscheduler.kept AS k
                WHERE k.relation::oid = $2
                  AND k.target = $1
                  AND k.xid = pg_current_xact_id_if_assigned()
                  AND NOT EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = $2))
   AND set_config('jit', 'off', true) IS NOT NULL
   AND set_config('mvscheduler.detached', 'on', true) IS NOT NULL`, target, partition).Scan(&aside)
	if err != nil {
		return false, fmt.Errorf("look at the partition that was put aside: %w", err)
	}
	return aside, nil
}

// Detached records a partition that was put aside in this transaction, and until where its table has left. What was restored and is not
// attached any more is forgotten: it is not what all views have once taken.
func Detached(ctx context.Context, tx pgx.Tx, a Attempt, m Moved, until time.Time) error {
	_, err := tx.Exec(ctx, `
WITH noted AS (
    UPDATE mvscheduler.kept AS k
       SET rows = nullif($5::bigint, -1),
           bytes = $6,
           mark = mvscheduler.kept_mark($2),
           until = $8
     WHERE k.relation::oid = $2
), elsewhere AS (   -- what was restored, and its owner has detached since: when he attaches it again, below this horizon, no view follows it
    DELETE FROM mvscheduler.kept AS k
     WHERE k.target = $1
       AND k.detached_at IS NULL
       AND NOT EXISTS (SELECT FROM pg_inherits AS i JOIN mvscheduler.visible_targets AS t ON t.relation::oid = i.inhparent WHERE t.id = $1 AND i.inhrelid = k.relation::oid AND NOT i.inhdetachpending)
), frozen AS (
    UPDATE mvscheduler.frozen AS f
       SET labels = greatest(f.labels, $8)
     WHERE f.target = $1
)
INSERT INTO mvscheduler.pruning (target, name, owner, run_id, action, partition, bound, rows, bytes, reason)
SELECT $1, r.view_name, r.owner, r.id, 'detach', $3, $4, nullif($5::bigint, -1), $6, $7
  FROM mvscheduler.run AS r
 WHERE r.id = $9`, m.Target, m.Partition, m.Name, m.Bound, m.Rows, m.Bytes, m.Reason, until, a.RunID)
	if err != nil {
		return fmt.Errorf("record that %s was put aside: %w", m.Name, err)
	}
	if _, err = tx.Exec(ctx, `
UPDATE mvscheduler.frozen_by AS b
   SET before = false
 WHERE b.target = $1
   AND b.before`, m.Target); err != nil {
		return fmt.Errorf("record that views have what %s held: %w", m.Name, err)
	}
	return nil
}

// ByOwner is the reason of what nobody but the owner can have brought back.
const ByOwner = "its owner has brought it back, and it stays for another grace period"

// Reused is the reason of what has left for good, since its owner needed the table for something else.
const Reused = "its owner has attached it for other times, so that what it held does not come back"

// NoteRestored records which partitions that were put aside PostgreSQL's catalog shows as attached again, and returns how
// many: a run has done it, or without one (nil) their owner, by restore_view or otherwise. They stay for another grace
// period from now on, and views follow them again. One that was attached for other times is another partition: what it was has
// gone, as if it were dropped.
func NoteRestored(ctx context.Context, q Querier, id int64, run *int64, reason string) (restored int64, err error) {
	err = q.QueryRow(ctx, `
WITH attached AS MATERIALIZED (
    SELECT k.relation, t.name, t.owner, k.bound = mvscheduler.bound_of(k.relation::oid) AS same
      FROM mvscheduler.kept AS k
      JOIN mvscheduler.visible_targets AS t ON t.id = k.target
      JOIN pg_inherits AS i ON i.inhrelid = k.relation::oid AND i.inhparent = t.relation::oid
     WHERE k.target = $1
       AND k.detached_at IS NOT NULL
), back AS (
    UPDATE mvscheduler.kept AS k
       SET detached_at = NULL,
           restored_at = clock_timestamp()
      FROM attached AS a
     WHERE k.relation = a.relation
       AND k.target = $1
       AND k.detached_at IS NOT NULL
       AND a.same
    RETURNING k.target, a.name, a.owner, k.relation, k.bound, k.rows, k.bytes, k.until
), reused AS (
    DELETE FROM mvscheduler.kept AS k
     USING attached AS a
     WHERE k.relation = a.relation
       AND k.target = $1
       AND k.detached_at IS NOT NULL
       AND a.same IS NOT TRUE
    RETURNING k.target, a.name, a.owner, k.relation, k.bound, k.rows, k.bytes, k.until
), gone AS (
    UPDATE mvscheduler.frozen AS f
       SET gone = greatest(f.gone, r.until)
      FROM (SELECT max(x.until) AS until FROM reused AS x) AS r
     WHERE f.target = $1
       AND r.until > f.gone
), horizon AS MATERIALIZED (   -- of the table first, then of views, as in thaw
    SELECT f.target, greatest(f.gone, (SELECT max(k.until) FROM mvscheduler.kept AS k WHERE k.target = f.target AND k.detached_at IS NOT NULL AND NOT EXISTS (SELECT FROM back AS b WHERE b.relation = k.relation))) AS labels
      FROM mvscheduler.frozen AS f WHERE f.target = $1
       FOR UPDATE
), below AS (
    SELECT max(b.until) AS until FROM back AS b JOIN horizon AS h ON b.until <= h.labels
), reader AS MATERIALIZED (
    SELECT f.target, least(r.below, b.until + interval '1 day') AS until
      FROM below AS b
      JOIN mvscheduler.frozen_by AS r ON r.target = $1 AND NOT r.before AND isfinite(r.below)
      JOIN mvscheduler.frozen AS f ON f.target = r.view_id
     WHERE b.until IS NOT NULL
     ORDER BY f.target
       FOR UPDATE OF f
), unfollowed AS (   -- what comes for it now they do not take: they are frozen by what left after it
    UPDATE mvscheduler.frozen AS f
       SET unasked = greatest(f.unasked, r.until)
      FROM reader AS r
     WHERE f.target = r.target
), noted AS (
    INSERT INTO mvscheduler.pruning (target, name, owner, run_id, action, partition, bound, rows, bytes, reason)
    SELECT b.target, b.name, b.owner, $2::bigint, 'restore', mvscheduler.shown_name(b.relation::oid), b.bound, b.rows, b.bytes, $3::text
      FROM back AS b
     UNION ALL
    SELECT r.target, r.name, r.owner, $2, 'drop', mvscheduler.shown_name(r.relation::oid), r.bound, r.rows, r.bytes, $4::text
      FROM reused AS r
)
SELECT count(*) FROM back`, id, run, reason, Reused).Scan(&restored)
	if err == nil {
		_, err = q.Exec(ctx, `SELECT mvscheduler.thaw($1)`, id)
	}
	if err != nil {
		return 0, fmt.Errorf("look for what was restored of target %d: %w", id, err)
	}
	return restored, nil
}

// FreezeView records that rows of a target that a view reads have left below an instant; horizon is that of the target
// from which this follows. It does nothing when that one has moved back meanwhile. A view that nobody has begun to fill has nothing
// that could be lost, see BeginFill. What leaves before unasked the view may not have taken (nil = it has all): who reads it and is frozen
// by it stays so there, also when partitions of the view are back, and who begins to read it will be.
func FreezeView(ctx context.Context, q Querier, viewID, target int64, below, horizon time.Time, unasked *time.Time) error {
	_, err := q.Exec(ctx, `
WITH target AS (
    SELECT FROM mvscheduler.frozen AS f WHERE f.target = $2 AND f.labels >= $4 FOR SHARE
), of_target AS (
    INSERT INTO mvscheduler.frozen_by AS b (view_id, target, below, before)
    SELECT $1, $2, $3, NOT EXISTS (SELECT FROM mvscheduler.increment_state AS i WHERE i.view_id = $1)
      FROM target
    ON CONFLICT (view_id, target) DO UPDATE
       SET below = greatest(b.below, EXCLUDED.below)
), of_readers AS (
    UPDATE mvscheduler.frozen_by AS b
       SET built = greatest(b.built, least(b.below, $5::timestamptz + interval '1 day'))
      FROM target
     WHERE b.target = $1
       AND NOT b.before
       AND $5::timestamptz IS NOT NULL
)
INSERT INTO mvscheduler.frozen AS f (target, times, unasked)
SELECT $1, $3, coalesce($5::timestamptz, '-infinity')
  FROM target
ON CONFLICT (target) DO UPDATE
   SET times = greatest(f.times, EXCLUDED.times),
       unasked = greatest(f.unasked, EXCLUDED.unasked)`, viewID, target, below, horizon, unasked)
	if err != nil {
		return fmt.Errorf("freeze view %d: %w", viewID, err)
	}
	return nil
}

// Dropped records a partition that was dropped in this transaction. It returns false when it is there still: somebody
// attached it again, or gave it away. What follows in the transaction is ours, as after [IsAside].
func Dropped(ctx context.Context, tx pgx.Tx, a Attempt, m Moved) (bool, error) {
	var gone bool
	err := tx.QueryRow(ctx, `SELECT NOT EXISTS (SELECT FROM pg_class WHERE oid = $1) AND set_config('jit', 'off', true) IS NOT NULL AND set_config('mvscheduler.detached', 'on', true) IS NOT NULL`, m.Partition).Scan(&gone)
	if err != nil {
		return false, fmt.Errorf("look whether %s was dropped: %w", m.Name, err)
	}
	if !gone {
		return false, nil
	}
	_, err = tx.Exec(ctx, `
WITH gone AS (
    DELETE FROM mvscheduler.kept WHERE relation::oid = $2
    RETURNING target, until
), frozen AS (
    UPDATE mvscheduler.frozen AS f
       SET gone = greatest(f.gone, g.until)
      FROM gone AS g
     WHERE f.target = g.target
)
INSERT INTO mvscheduler.pruning (target, name, owner, run_id, action, partition, bound, rows, bytes, reason)
SELECT $1, r.view_name, r.owner, r.id, 'drop', $3, $4, nullif($5::bigint, -1), $6, $7
  FROM mvscheduler.run AS r
 WHERE r.id = $8`, m.Target, m.Partition, m.Name, m.Bound, m.Rows, m.Bytes, m.Reason, a.RunID)
	if err != nil {
		return false, fmt.Errorf("record that %s was dropped: %w", m.Name, err)
	}
	return true, nil
}

// EndPrune ends a run that pruned and its attempt. The health of the view is that of its refreshes and stays. It
// returns [ErrFenced] when the run is not the attempt's any more.
func EndPrune(ctx context.Context, tx pgx.Tx, a Attempt, rows, bytes int64, reason string) error {
	var fenced bool
	err := tx.QueryRow(ctx, `
WITH ended AS (
    UPDATE mvscheduler.run
       SET state = 'succeeded',
           finished_at = clock_timestamp(),
           rows = $4,
           size_bytes = $5,
           reason = $6,
           sqlstate = NULL,
           error = NULL,
           progress = NULL
     WHERE id = $1
       AND token = $2
       AND state = 'running'
    RETURNING id, finished_at
), attempted AS (
    UPDATE mvscheduler.attempt AS t
       SET outcome = 'succeeded',
           finished_at = e.finished_at
      FROM ended AS e
     WHERE t.run_id = e.id
       AND t.attempt = $3
)
SELECT count(*) = 0
  FROM ended`, a.RunID, a.Token, a.Number, rows, bytes, reason).Scan(&fenced)
	if err != nil {
		return fmt.Errorf("complete run %d: %w", a.RunID, err)
	}
	if fenced {
		return ErrFenced
	}
	return nil
}

// SourceRetentions are the numbers of the rows of source_retention that the caller may see, which are below zero.
func SourceRetentions(ctx context.Context, q Querier) ([]int64, error) {
	rows, err := q.Query(ctx, `SELECT t.id FROM mvscheduler.visible_targets AS t WHERE t.kind = 'source' ORDER BY t.name`)
	if err != nil {
		return nil, fmt.Errorf("list the rows of source_retention: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, fmt.Errorf("list the rows of source_retention: %w", err)
	}
	return ids, nil
}

// SidecarConnected says whether a sidecar is connected to the database.
func SidecarConnected(ctx context.Context, q Querier) (there bool, err error) {
	err = q.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.application_name = 'mvscheduler control' AND a.datname = current_database())`).Scan(&there)
	if err != nil {
		return false, fmt.Errorf("look for a sidecar: %w", err)
	}
	return there, nil
}
