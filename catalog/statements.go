package catalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Statements is what pg_stat_statements says of this database.
type Statements struct {
	Missing string // why it says nothing; empty when it does
	Epoch   string // changes when it was reset, or forgot statements for want of room
	Calls   map[Call]int64
}

// Call is a statement, by queryid, and the role that calls it.
type Call struct {
	Statement int64
	User      uint32
}

// StatementSource is the schema of pg_stat_statements, or what is missing.
type StatementSource struct {
	Schema  string
	Missing string
}

// inSchemaOf says why nothing in such a schema is called.
func inSchemaOf(renamer, extension string) string {
	return extension + " is in a schema of " + renamer + ", who could put functions of her or his own in its place; a DBA runs: ALTER EXTENSION " + extension + " SET SCHEMA public"
}

// FindStatements looks for pg_stat_statements. Only the extension's own functions are ever called: it cannot be made
// by anybody but a superuser.
func FindStatements(ctx context.Context, q Querier) (StatementSource, error) {
	var s StatementSource
	var known, loaded, allowed bool
	var owner string
	err := q.QueryRow(ctx, `
SELECT n.nspname, coalesce(mvscheduler.renamer(n.oid), ''), pg_has_role('pg_read_all_stats', 'USAGE'), count(p.oid) = 2,
       current_setting('server_version_num')::int >= 150000 AND r.rolsuper AND count(p.oid) = 2 AND bool_and(has_function_privilege(p.oid, 'EXECUTE')) AND has_schema_privilege(n.oid, 'USAGE')
  FROM pg_extension AS e
  JOIN pg_namespace AS n ON n.oid = e.extnamespace
  JOIN pg_roles AS r ON r.oid = e.extowner
  LEFT JOIN pg_depend AS d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
  LEFT JOIN pg_proc AS p ON p.oid = d.objid AND p.pronamespace = n.oid
                        AND (p.proname = 'pg_stat_statements' AND p.pronargs = 1 OR p.proname = 'pg_stat_statements_info' AND p.pronargs = 0)
 WHERE e.extname = 'pg_stat_statements'
 GROUP BY n.nspname, n.oid, r.rolsuper`).Scan(&s.Schema, &owner, &allowed, &known, &loaded)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		s.Missing = "pg_stat_statements is not installed in this database"
	case err != nil:
		return s, fmt.Errorf("look for pg_stat_statements: %w", err)
	case owner != "":
		s.Missing = inSchemaOf(owner, "pg_stat_statements")
	case !allowed:
		s.Missing = "pg_stat_statements hides what others run; a DBA runs: GRANT pg_read_all_stats TO mvscheduler_worker"
	case !known: // it came along with pg_upgrade
		s.Missing = "pg_stat_statements is older than 1.9; a DBA runs: ALTER EXTENSION pg_stat_statements UPDATE"
	case !loaded:
		s.Missing = "pg_stat_statements may not be called; a DBA runs: GRANT USAGE ON SCHEMA " + pgx.Identifier{s.Schema}.Sanitize() + " TO mvscheduler_worker"
	}
	return s, nil
}

// ReadCalls is how often each statement was called by each role but our own. What it says is missing when it is not
// loaded.
func ReadCalls(ctx context.Context, q Querier, s StatementSource) (Statements, error) {
	if s.Missing != "" {
		return Statements{Missing: s.Missing}, nil
	}
	schema := pgx.Identifier{s.Schema}.Sanitize()
	calls := Statements{Calls: make(map[Call]int64)}
	rows, err := q.Query(ctx, fmt.Sprintf(`
WITH called AS MATERIALIZED (
    SELECT x.queryid, x.userid, sum(x.calls)::bigint AS calls
      FROM %[1]s.pg_stat_statements(false) AS x
     WHERE x.toplevel
       AND x.queryid IS NOT NULL
       AND x.dbid = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
     GROUP BY x.queryid, x.userid
), ours AS MATERIALIZED (   -- asked once a role, and not once a statement
    SELECT r.oid
      FROM pg_roles AS r
     WHERE r.oid = ANY (ARRAY(SELECT DISTINCT c.userid FROM called AS c))
       AND NOT r.rolsuper
       AND pg_has_role(r.oid, 'mvscheduler_worker', 'MEMBER')
)
SELECT i.dealloc || ' ' || i.stats_reset, s.queryid, s.userid, s.calls
  FROM %[1]s.pg_stat_statements_info() AS i
  LEFT JOIN (SELECT c.* FROM called AS c WHERE c.userid <> ALL (ARRAY(SELECT o.oid FROM ours AS o))) AS s ON true`, schema))
	if err != nil {
		return calls, fmt.Errorf("read pg_stat_statements: %w", err)
	}
	var id, n *int64
	var user *uint32
	_, err = pgx.ForEachRow(rows, []any{&calls.Epoch, &id, &user, &n}, func() error {
		if id != nil {
			calls.Calls[Call{*id, *user}] = *n
		}
		return nil
	})
	var pg sqlStater
	if errors.As(err, &pg) && pg.SQLState() == "55000" {
		return Statements{Missing: "pg_stat_statements is not in shared_preload_libraries"}, nil
	}
	if err != nil {
		return calls, fmt.Errorf("read pg_stat_statements: %w", err)
	}
	return calls, nil
}

type sqlStater interface{ SQLState() string }

// ReadTexts is the text of statements, by queryid; those that are hidden, or longer than so many bytes, are left out. With
// a comment in it a text can have hundreds of megabytes.
func ReadTexts(ctx context.Context, q Querier, s StatementSource, ids []int64, longest int) (map[int64]string, error) {
	rows, err := q.Query(ctx, fmt.Sprintf(`
SELECT DISTINCT ON (x.queryid) x.queryid, x.query
  FROM %s.pg_stat_statements(true) AS x
 WHERE x.queryid = ANY ($1) AND x.query IS NOT NULL AND x.query <> '<insufficient privilege>' AND octet_length(x.query) <= $2
 ORDER BY x.queryid, octet_length(x.query)`, pgx.Identifier{s.Schema}.Sanitize()), ids, longest)
	if err != nil {
		return nil, fmt.Errorf("read the texts of pg_stat_statements: %w", err)
	}
	texts := make(map[int64]string)
	var id int64
	var text string
	_, err = pgx.ForEachRow(rows, []any{&id, &text}, func() error {
		texts[id] = text
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the texts of pg_stat_statements: %w", err)
	}
	return texts, nil
}

// Readable is a relation by which people read a managed view: itself, or an ordinary view above it.
type Readable struct {
	ViewID       int64
	Relation     uint32
	Schema, Name string
	Alone        bool // no other relation has the name without the schema
}

// ReadReadable finds the relations by which managed views are read. Anybody may make an ordinary view of what he may not
// read; through that nobody reads anything.
func ReadReadable(ctx context.Context, q Querier) ([]Readable, error) {
	rows, err := q.Query(ctx, `
WITH RECURSIVE above(view_id, rel) AS (
    SELECT s.view_id, c.oid
      FROM mvscheduler.view_state AS s
      JOIN pg_class AS c ON c.oid = s.relation::oid
    UNION
    SELECT a.view_id, c.oid
      FROM above AS a
      JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.rel AND d.classid = 'pg_rewrite'::regclass AND d.deptype = 'n'
      JOIN pg_rewrite AS w ON w.oid = d.objid
      JOIN pg_class AS c ON c.oid = w.ev_class AND c.relkind = 'v'
     WHERE has_any_column_privilege(c.relowner, a.rel, 'SELECT')
)
SELECT a.view_id, c.oid AS relation, n.nspname AS schema, c.relname AS name,
       NOT EXISTS (SELECT FROM pg_class AS o WHERE o.relname = c.relname AND o.relkind IN ('r', 'p', 'v', 'm', 'f') AND o.oid <> c.oid) AS alone
  FROM above AS a
  JOIN pg_class AS c ON c.oid = a.rel
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE NOT EXISTS (SELECT FROM mvscheduler.view_state AS q WHERE q.query_relation::oid = c.oid)
 ORDER BY a.view_id, c.oid`)
	if err != nil {
		return nil, fmt.Errorf("find by what managed views are read: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[Readable])
	if err != nil {
		return nil, fmt.Errorf("find by what managed views are read: %w", err)
	}
	return found, nil
}

// Reader is a role and a relation that it reads.
type Reader struct{ User, Relation uint32 }

// MayRead says of each whether it may: a statement says a name, and by the search_path of whoever sends it, or in a
// transaction that is rolled back, anything can have that name.
func MayRead(ctx context.Context, q Querier, readers []Reader) (map[Reader]bool, error) {
	may := make(map[Reader]bool, len(readers))
	users, relations := make([]uint32, len(readers)), make([]uint32, len(readers))
	for n, r := range readers {
		users[n], relations[n] = r.User, r.Relation
	}
	rows, err := q.Query(ctx, `
SELECT r.usr, r.relation, coalesce(has_any_column_privilege(r.usr, r.relation, 'SELECT'), false)
  FROM unnest($1::oid[], $2::oid[]) AS r(usr, relation)`, users, relations)
	if err != nil {
		return nil, fmt.Errorf("look who may read what: %w", err)
	}
	var r Reader
	var allowed bool
	_, err = pgx.ForEachRow(rows, []any{&r.User, &r.Relation, &allowed}, func() error {
		may[r] = allowed
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look who may read what: %w", err)
	}
	return may, nil
}
