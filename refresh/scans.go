package refresh

import (
	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/catalog"
)

// scans are the scans of this session that it has not reported yet, by relation in which reads of a view show.
type scans struct {
	relations                       []uint32
	seq, idx, tuples, keys, fetched []int64
}

// pendingScans has the relations of a view and of those that it reads.
const pendingScans = `
SELECT k.relation, p.seq, p.idx, p.tuples, p.keys, p.fetched
  FROM mvscheduler.counted AS k
 CROSS JOIN LATERAL (
        SELECT coalesce(pg_stat_get_xact_numscans(k.relation), 0) AS seq,
               coalesce(pg_stat_get_xact_tuples_returned(k.relation), 0) AS tuples, i.idx, i.keys,
               coalesce(pg_stat_get_xact_tuples_fetched(k.relation), 0) + i.fetched AS fetched
          FROM (SELECT coalesce(sum(pg_stat_get_xact_numscans(i.indexrelid)), 0)::bigint AS idx, coalesce(sum(pg_stat_get_xact_tuples_returned(i.indexrelid)), 0)::bigint AS keys,
                       coalesce(sum(pg_stat_get_xact_tuples_fetched(i.indexrelid)), 0)::bigint AS fetched
                  FROM pg_index AS i
                 WHERE i.indrelid = k.relation) AS i) AS p
 WHERE k.view_id = ANY (ARRAY(SELECT $1::bigint UNION ALL SELECT unnest(s.upstream) FROM mvscheduler.view_state AS s WHERE s.view_id = $1))
   AND (p.seq > 0 OR p.idx > 0)`

// readScans is where the counters stand before a refresh: what earlier transactions of the session did is in them
// until it reports, at most once a second.
func readScans(viewID int64, into *scans) catalog.Read {
	return catalog.Read{What: "read the session's own scans", SQL: pendingScans, Args: []any{viewID}, Collect: func(rows pgx.Rows) error {
		var (
			s                               scans
			relation                        uint32
			seq, idx, tuples, keys, fetched int64
		)
		_, err := pgx.ForEachRow(rows, []any{&relation, &seq, &idx, &tuples, &keys, &fetched}, func() error {
			s.relations, s.seq, s.idx, s.tuples = append(s.relations, relation), append(s.seq, seq), append(s.idx, idx), append(s.tuples, tuples)
			s.keys, s.fetched = append(s.keys, keys), append(s.fetched, fetched)
			return nil
		})
		*into = s
		return err
	}}
}

// recordScans leaves what the refresh scanned since to the collector, which takes it for no reads; without one there
// is nobody to take it away. Workers of a parallel scan count for themselves: the collector sees that by the rows.
func recordScans(viewID int64, before scans) catalog.Read {
	return catalog.Read{What: "record the session's own scans", Collect: func(rows pgx.Rows) error {
		rows.Close()
		return rows.Err()
	}, SQL: `
INSERT INTO mvscheduler.own_scan (relation, seq, idx, tuples, keys, fetched)
SELECT n.relation, n.seq - coalesce(b.seq, 0), n.idx - coalesce(b.idx, 0), n.tuples - coalesce(b.tuples, 0), n.keys - coalesce(b.keys, 0), n.fetched - coalesce(b.fetched, 0)
  FROM (` + pendingScans + `) AS n
  LEFT JOIN unnest($2::oid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[]) AS b(relation, seq, idx, tuples, keys, fetched) ON b.relation = n.relation
 WHERE (n.seq > coalesce(b.seq, 0) OR n.idx > coalesce(b.idx, 0))
   AND EXISTS (SELECT FROM mvscheduler.collector AS c WHERE c.lease_until > clock_timestamp())`,
		Args: []any{viewID, before.relations, before.seq, before.idx, before.tuples, before.keys, before.fetched}}
}
