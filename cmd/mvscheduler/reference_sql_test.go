package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// callers are the functions meant for users, those of the contract among them that are not there yet.
var callers = []string{
	"create_view", "drop_view", "refresh_view", "cancel_run", "pause_view", "resume_view", "pause_all", "resume_all",
	"adopt_view", "release_view", "prune_view", "restore_view", "accept_recommendation", "reject_recommendation", "snooze_recommendation", "undo_recommendation", "in_window", "mark_dirty", "buckets_of", "compare_buckets",
}

// relations are what users write and read; those of the contract that are not there yet are left out.
var (
	tables    = []string{"views", "settings", "source_retention"}
	readViews = []string{"status", "runs", "attempts", "prunings", "alerts", "recommendations", "audit_log"}
)

// behind are the tables whose CHECKs say what a column of a view can be.
var behind = map[string]string{"runs": "run", "attempts": "attempt"}

var literal = regexp.MustCompile(`'(\w+)'::text`)

// roles says what the roles of the schema are for; what they may do is read from the catalog.
var roles = [][2]string{
	{"mvscheduler_user", "Whoever registers views. Granted to roles that own views."},
	{"mvscheduler_worker", "The sidecar. Granted to its login, and to nobody else."},
	{"mvscheduler_owner", "Owns the schema. Granted to administrators, who see every view and may UPDATE the settings."},
}

func (p *page) sql(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	_, err := conn.Exec(t.Context(), `SET IntervalStyle = postgres_verbose`) // '@ 1 hour' rather than '01:00:00'
	require.NoError(t, err)
	p.line("## SQL")
	p.line("Everything is in schema `mvscheduler`. Other tables and functions of the schema are mvscheduler's own and may change in any version. A role sees the rows of views that it owns or could become the owner of; administrators see all.")
	p.line("### Tables")
	for _, name := range tables {
		p.relation(t, conn, name)
	}
	p.line("### Read-only views")
	for _, name := range readViews {
		p.relation(t, conn, name)
	}
	p.functions(t, conn)
	p.roles(t, conn)
}

func (p *page) relation(t *testing.T, conn *pgx.Conn, name string) {
	t.Helper()
	comment := ask[*string](t, conn, `SELECT obj_description(to_regclass('mvscheduler.' || $1), 'pg_class')`, name)
	if comment == nil {
		return
	}
	p.line("#### mvscheduler." + name)
	p.line(prose(*comment))
	rows := askRows(t, conn, `
SELECT a.attname::text, format_type(a.atttypid, a.atttypmod),
       CASE WHEN a.attidentity <> '' THEN 'identity' ELSE coalesce(pg_get_expr(d.adbin, d.adrelid), '') END,
       coalesce(col_description(a.attrelid, a.attnum), ''),
       coalesce((SELECT pg_get_constraintdef(c.oid)
                   FROM pg_constraint AS c
                   JOIN pg_attribute AS b ON b.attrelid = c.conrelid AND c.conkey = ARRAY[b.attnum]
                  WHERE c.contype = 'c' AND c.conrelid = to_regclass('mvscheduler.' || nullif($2, '')) AND b.attname = a.attname
                    AND pg_get_constraintdef(c.oid) ~ 'ANY'), '')
  FROM pg_attribute AS a
  LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attrelid = to_regclass('mvscheduler.' || $1) AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum`, name, behind[name])
	for _, row := range rows {
		require.NotEmpty(t, row[3], "mvscheduler.%s.%s has no comment", name, row[0])
		row[0], row[1], row[2], row[3] = code(row[0]), shortType(row[1]), code(shortExpr(row[2])), prose(row[3])
		if choices := literal.FindAllStringSubmatch(row[4], -1); choices != nil {
			row[4] = code(choices[0][1])
			for _, c := range choices[1:] {
				row[4] += ", " + code(c[1])
			}
		}
	}
	p.table([]string{"column", "type", "default", "means", "one of"}, rows)
}

func (p *page) functions(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	p.line("### Functions")
	p.line("They run with the rights of the caller. Arguments can be named: `SELECT mvscheduler.pause_view('daily', until => now() + interval '1 hour')`.")
	for _, name := range callers {
		rows := askRows(t, conn, `
SELECT pg_get_function_arguments(f.oid), pg_get_function_result(f.oid), coalesce(obj_description(f.oid, 'pg_proc'), '')
  FROM pg_proc AS f
 WHERE f.pronamespace = 'mvscheduler'::regnamespace AND f.proname = $1
 ORDER BY 1`, name)
		if len(rows) == 0 {
			continue
		}
		p.line("#### mvscheduler." + name)
		for _, row := range rows {
			require.NotEmpty(t, row[2], "function %s has no comment", name)
			p.line("```sql\n" + signature("mvscheduler."+name, row[0], row[1]) + "\n```")
			p.line(prose(row[2]))
		}
	}
}

// signature breaks a long list of arguments into lines.
func signature(name, arguments, result string) string {
	arguments, result = shortType(shortExpr(arguments)), shortType(result)
	if one := name + "(" + arguments + ") RETURNS " + result; len(one) <= 100 {
		return one
	}
	list := arguments
	if arguments != "" {
		list = "\n    " + strings.ReplaceAll(arguments, ", ", ",\n    ")
	}
	return name + "(" + list + "\n) RETURNS " + result
}

func (p *page) roles(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	p.line("### Roles")
	var rows [][]string
	for _, role := range roles {
		may := askRows(t, conn, `
SELECT c.relname::text,
       concat_ws(', ', CASE WHEN has_any_column_privilege($1, c.oid, 'SELECT') THEN 'SELECT' END,
                       CASE WHEN c.relkind = 'r' AND has_any_column_privilege($1, c.oid, 'INSERT') THEN 'INSERT' END,
                       CASE WHEN c.relkind = 'r' AND has_any_column_privilege($1, c.oid, 'UPDATE') THEN 'UPDATE' END,
                       CASE WHEN c.relkind = 'r' AND has_table_privilege($1, c.oid, 'DELETE') THEN 'DELETE' END)
  FROM unnest($2::text[]) WITH ORDINALITY AS n(name, position)
  JOIN pg_class AS c ON c.oid = to_regclass('mvscheduler.' || n.name)
 ORDER BY n.position`, role[0], append(append([]string(nil), tables...), readViews...))
		var words, order []string
		for _, m := range may {
			if m[1] != "" && !slices.Contains(order, m[1]) {
				order = append(order, m[1])
			}
		}
		for _, rights := range order {
			var on []string
			for _, m := range may {
				if m[1] == rights {
					on = append(on, code(m[0]))
				}
			}
			words = append(words, rights+" on "+strings.Join(on, ", "))
		}
		rows = append(rows, []string{code(role[0]), role[1], strings.Join(words, "; ")})
	}
	p.table([]string{"role", "is for", "may, of the relations above"}, rows)
	p.line("None of them can log in. `mvscheduler grants` prints what is still to be granted on a server.")
}

var (
	typeNames = strings.NewReplacer("timestamp with time zone", "timestamptz", "timestamp without time zone", "timestamp")
	exprNames = strings.NewReplacer("::timestamp with time zone", "", "::text[]", "", "::text", "", "::interval", "", "::smallint", "", "::bigint", "",
		"::regrole", "", "::jsonb", "", "'@ ", "'", "(quote_ident((CURRENT_USER)::text))::regrole", "CURRENT_USER")
)

func shortType(s string) string { return typeNames.Replace(s) }

// shortExpr leaves out the casts that a column's own type says.
func shortExpr(s string) string { return exprNames.Replace(s) }

func ask[T any](t *testing.T, conn *pgx.Conn, sql string, args ...any) T {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql, args...)
	require.NoError(t, err)
	value, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	require.NoError(t, err)
	return value
}

// askRows returns rows of texts.
func askRows(t *testing.T, conn *pgx.Conn, sql string, args ...any) [][]string {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql, args...)
	require.NoError(t, err)
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) ([]string, error) {
		cells := make([]string, len(row.FieldDescriptions()))
		targets := make([]any, len(cells))
		for i := range cells {
			targets[i] = &cells[i]
		}
		return cells, row.Scan(targets...)
	})
	require.NoError(t, err)
	return all
}
