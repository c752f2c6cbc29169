package catalog

import (
	"context"
	"fmt"
)

// QuerySays tells whether the query of a view, or a plain view that it reads, has one of the words as a literal of its own. What
// PostgreSQL has stored of it is read, as numbers of bytes, since to write it out as SQL would wait for locks.
func QuerySays(ctx context.Context, q Querier, view int64, words []string) (says bool, err error) {
	if len(words) == 0 {
		return false, nil
	}
	err = q.QueryRow(ctx, `
WITH RECURSIVE reader(oid) AS (
    SELECT r.oid FROM mvscheduler.view_state AS s CROSS JOIN LATERAL unnest(ARRAY[s.relation::oid, s.query_relation::oid]) AS r(oid) WHERE s.view_id = $1
    UNION
    SELECT p.relation::oid FROM mvscheduler.piece AS p WHERE p.view_id = $1   -- a version that is being built has its own
    UNION
    SELECT c.oid
      FROM reader AS r
      JOIN pg_rewrite AS w ON w.ev_class = r.oid
      JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
      JOIN pg_class AS c ON c.oid = d.refobjid AND c.relkind = 'v'
)
SELECT EXISTS (SELECT
                 FROM unnest($2::text[]) AS u(word)
                CROSS JOIN LATERAL convert_to(u.word, getdatabaseencoding()) AS b(bytes)
                CROSS JOIN LATERAL (SELECT string_agg(CASE WHEN get_byte(b.bytes, n) > 127 THEN get_byte(b.bytes, n) - 256 ELSE get_byte(b.bytes, n) END::text, ' ' ORDER BY n) AS numbers
                                      FROM generate_series(0, length(b.bytes) - 1) AS n) AS l
                 JOIN reader AS r ON true
                 JOIN pg_rewrite AS w ON w.ev_class = r.oid
                WHERE w.ev_action::text ~ (':constvalue [0-9]+ \[( -?[0-9]+){4} ' || l.numbers || ' \]'))`, view, words).Scan(&says)
	if err != nil {
		return false, fmt.Errorf("look into the query of view %d: %w", view, err)
	}
	return says, nil
}
