package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/migrations"
)

// queryError is an error of the server about a query that the user wrote; it shows where.
type queryError struct {
	query string
	err   error
}

func (e *queryError) Error() string { return e.err.Error() }
func (e *queryError) Unwrap() error { return e.err }

// adviceError is an error of which the command that met it knows the next step better than the SQLSTATE does.
type adviceError struct {
	err     error
	do      string
	instead bool // of what explain would say, not beside it
}

func (e *adviceError) Error() string { return e.err.Error() }
func (e *adviceError) Unwrap() error { return e.err }

// problem is an error as a person reads it.
type problem struct {
	what     string
	where    string // the line of the query and its mark
	why      string
	do       []string
	sqlstate string
	code     int
}

// report tells the user about an error and returns the exit code.
func (a *app) report(ctx context.Context, err error) int {
	var exit *exitError
	if errors.As(err, &exit) && exit.err == nil {
		return exit.code
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		fmt.Fprintln(a.stderr, "interrupted")
		var known *adviceError
		if errors.As(err, &known) {
			problem{do: []string{known.do}}.writeSteps(a.stderr)
		}
		return exitFailure
	}
	p := explain(err)
	p.write(a.stderr)
	return p.code
}

// explain finds out what happened, why, what to do and the exit code.
func explain(err error) problem {
	p := explainCause(err)
	var known *adviceError
	if errors.As(err, &known) {
		if known.instead {
			p.do = nil
		}
		p.do = append(p.do, known.do)
	}
	return p
}

func explainCause(err error) problem {
	p := problem{what: err.Error(), code: exitFailure}
	var exit *exitError
	if errors.As(err, &exit) {
		p.code = exit.code
	}

	var missing *catalog.NotFoundError
	if errors.As(err, &missing) {
		p.what, p.code = missing.Error(), exitNotFound
		if missing.Else != "" {
			p.do = append(p.do, missing.Else)
			return p
		}
		switch missing.Kind {
		case "run":
			p.do = append(p.do, "List the runs that you may see: mvscheduler runs")
		case "role":
			p.do = append(p.do, "List the roles of the server: psql -c '\\du'")
		default:
			if len(missing.Near) > 0 {
				p.do = append(p.do, "Did you mean "+strings.Join(missing.Near, " or ")+"?")
			}
			p.do = append(p.do, "List the views that you may see: mvscheduler list")
		}
		return p
	}
	var schema *migrations.VersionError
	if errors.As(err, &schema) {
		return p // names the command itself
	}

	var unreadable *pgconn.ParseConfigError
	if errors.As(err, &unreadable) {
		p.what, p.code = "the URL of the database cannot be read: "+unreadableWhy(unreadable), exitUsage
		p.do = append(p.do, "Write it as postgres://USER@HOST:PORT/DATABASE, other characters of a password as %XX; or leave it out and set PGHOST, PGUSER, PGPASSWORD and the like.")
		return p
	}

	var connect *pgconn.ConnectError
	var pg *pgconn.PgError
	isPG := errors.As(err, &pg)
	if errors.As(err, &connect) && !isPG {
		p.what = saidOnce(p.what)
		if strings.Contains(p.what, "server refused TLS connection") {
			p.do = append(p.do, "The server runs and has no TLS: turn it on there (ssl = on), or connect with sslmode=prefer, or with sslmode=disable on a network that you trust.")
			return p
		}
		p.do = append(p.do, "Check that the server runs and that --database-url, DATABASE_URL or the PG* variables name it.",
			"To look around without a database of your own: mvscheduler demo")
		return p
	}
	if !isPG {
		return p
	}

	// pgx appends the severity and SQLSTATE to the message; they are shown apart.
	p.what = strings.Replace(answerOf(err.Error(), pg.Error()), pg.Error(), pg.Message, 1)
	p.why, p.sqlstate = pg.Detail, pg.Code
	if pg.Hint != "" && pg.Code != "2BP01" { // CASCADE would drop managed views behind the catalog's back
		p.do = append(p.do, pg.Hint)
	}
	var q *queryError
	if errors.As(err, &q) {
		p.where = caret(pg, q.query)
	} else {
		p.where = caret(pg, "")
	}
	if pg.ConstraintName == "views_name_key" {
		p.what = strings.Replace(p.what, pg.Message, "a managed view of that name exists", 1)
	}
	advice, code := advise(pg)
	if advice != "" {
		p.do = append(p.do, advice)
	}
	if code != 0 && p.code == exitFailure {
		p.code = code
	}
	return p
}

// saidOnce leaves out lines that another line ends with: pgx tells of every address that it tried, with TLS
// and without, and of a name that is unknown as itself and as its own cause.
func saidOnce(text string) string {
	var kept []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(strings.ReplaceAll(line, "dial error: dial tcp ", ""), "\n")
		said := slices.ContainsFunc(kept, func(k string) bool { return strings.HasSuffix(k, strings.TrimSpace(line)) })
		if !said {
			kept = append(kept, line)
		}
	}
	if len(kept) == 2 && strings.HasSuffix(kept[0], ":") {
		return kept[0] + " " + strings.TrimSpace(kept[1])
	}
	return strings.Join(kept, "\n")
}

// answerOf keeps, of all that pgx tried to connect, the try that the server answered: with TLS first and then
// without, say, only the latter tells why.
func answerOf(text, answer string) string {
	lines := strings.Split(text, "\n\t")
	for _, line := range lines[1:] {
		if strings.HasSuffix(lines[0], ":") && strings.HasSuffix(line, answer) {
			return lines[0] + " " + line
		}
	}
	return text
}

// unreadableWhy leaves out the URL and a reason that quotes from it: pgx cannot always tell which part of a
// malformed one is the password.
func unreadableWhy(err *pgconn.ParseConfigError) string {
	text := err.Error()
	text = text[strings.LastIndex(text, "`: ")+1:]
	if text = strings.TrimPrefix(text, ": "); text == "" || strings.ContainsAny(text, "`\"'@") {
		return "it is not of the form that libpq reads"
	}
	return text
}

// advise is the next step for SQLSTATEs that PostgreSQL itself leaves without one, and the exit code
// where it is not 1.
func advise(pg *pgconn.PgError) (advice string, code int) {
	switch pg.Code {
	case "2BP01": // dependent_objects_still_exist
		return "Drop or change what depends on it first. Managed views among it can go in one command, in any order (NAME for NAME__query): mvscheduler drop NAME ...", exitConflict
	case "23505": // unique_violation
		if pg.ConstraintName == "views_name_key" {
			return "Choose another name, or change the view that has it: mvscheduler edit NAME", exitConflict
		}
		return "", exitConflict
	case "42P07": // duplicate_table
		if pg.Hint == "" {
			return "A materialized view that exists is taken over with: mvscheduler adopt NAME", exitConflict
		}
		return "", exitConflict
	case "42710": // duplicate_object
		return "", exitConflict
	case "40001", "40P01": // serialization_failure, deadlock_detected
		return "Somebody changed the same thing at the same moment. Try again.", exitConflict
	case "55P03": // lock_not_available
		if pg.Hint == "" {
			return "Somebody holds a lock that this needs, for example by LOCK TABLE mvscheduler.views. Try again when it is released.", exitConflict
		}
		return "", exitConflict
	case "55000": // object_not_in_prerequisite_state
		if strings.Contains(pg.Message, "has already ended") || strings.Contains(pg.Message, "recommendation ") {
			return "", exitConflict
		}
	case "P0002": // no_data_found, of cancel_run and of decisions
		return "", exitNotFound
	case "22007": // invalid_datetime_format
		if strings.HasPrefix(pg.Message, "invalid input syntax for type interval") {
			return "Write an interval as 30s, 5min, '1 hour 30 min' or '90 days'.", 0
		}
	case "22023": // invalid_parameter_value
		if strings.HasPrefix(pg.Message, "invalid size: ") && pg.Hint == "" {
			return "Write a size with its unit, for example 512MB or 10GB.", 0
		}
	case "42809": // wrong_object_type
		if strings.HasSuffix(pg.Message, " is not a materialized view") && pg.Hint == "" {
			return "Only materialized views can be adopted. To have what it shows kept in one: mvscheduler create NAME --query 'SELECT ...'", 0
		}
	case "42P01", "3F000", "42883", "42703": // undefined table, schema, function, column
		if pg.Code == "42P01" && strings.HasPrefix(pg.Message, "materialized view ") && pg.InternalQuery == "" { // adopt
			return "", exitNotFound
		}
		if strings.Contains(pg.Message, "mvscheduler") && pg.InternalQuery == "" && pg.Where == "" {
			return "This database has no mvscheduler schema, or an older one. See: mvscheduler migrate status", 0
		}
		if pg.Code == "42703" && pg.Position == 0 && pg.InternalPosition == 0 && pg.Hint == "" { // of CREATE INDEX
			return "--unique-key and --index name columns that the query returns.", 0
		}
	case "42501": // insufficient_privilege
		if strings.HasSuffix(pg.Message, `to set role "mvscheduler_owner"`) {
			return "Connect as a superuser, or as a member of mvscheduler_owner.", 0
		}
		if strings.HasSuffix(pg.Message, "for table settings") {
			return "Settings and pauses of all views are for members of mvscheduler_owner.", 0
		}
		if strings.Contains(pg.Message, "mvscheduler") || isCatalogObject(pg.Message) {
			return "Ask a DBA for: GRANT mvscheduler_user TO <your role> (mvscheduler grants --for <your role> prints all that is needed)", 0
		}
		if name, ok := strings.CutPrefix(pg.Message, "permission denied for schema "); ok && pg.Hint == "" {
			return "Ask the owner of the schema for: GRANT USAGE ON SCHEMA " + name + " TO <the role that shall own the view>", 0
		}
	case "28P01", "28000": // invalid_password, invalid_authorization_specification
		return "Check user and password in --database-url, DATABASE_URL, PGUSER, PGPASSWORD or ~/.pgpass.", 0
	case "3D000": // invalid_catalog_name
		return "Check the name of the database in --database-url, DATABASE_URL or PGDATABASE.", 0
	case "53300": // too_many_connections
		return "Close idle sessions or raise max_connections, then try again.", 0
	case "57P03": // cannot_connect_now
		return "The server is starting or stopping. Try again in a moment.", 0
	case "25006": // read_only_sql_transaction
		return "This is a standby or a read-only session: connect to the primary.", 0
	}
	return "", 0
}

func isCatalogObject(message string) bool {
	for _, name := range []string{"view status", "view runs", "view attempts", "view audit_log", "view recommendations", "table views", "table request"} {
		if strings.HasSuffix(message, "for "+name) {
			return true
		}
	}
	return false
}

func (p problem) write(w io.Writer) {
	head := "error: " + sanitizeLines(p.what)
	if p.sqlstate != "" {
		head += " (SQLSTATE " + sanitize(p.sqlstate) + ")"
	}
	fmt.Fprintln(w, head)
	if p.where != "" {
		fmt.Fprintln(w, indent(p.where, "  "))
	}
	if p.why != "" {
		fmt.Fprintln(w, "  why: "+indentRest(sanitizeLines(p.why), "       "))
	}
	p.writeSteps(w)
}

func (p problem) writeSteps(w io.Writer) {
	for _, step := range p.do {
		fmt.Fprintln(w, "  do:  "+indentRest(sanitizeLines(step), "       "))
	}
}

// notice shows what the server says beside the result: NOTICE and WARNING; less is not shown.
func (a *app) notice(n *pgconn.PgError) {
	if n.SeverityUnlocalized != "NOTICE" && n.SeverityUnlocalized != "WARNING" {
		return
	}
	if a.told[n.Message] {
		return
	}
	if a.told != nil {
		a.told[n.Message] = true
	}
	fmt.Fprintf(a.stderr, "%s: %s\n", strings.ToLower(n.SeverityUnlocalized), indentRest(sanitizeLines(n.Message), "  "))
	if n.Detail != "" {
		fmt.Fprintln(a.stderr, "  why: "+indentRest(sanitizeLines(n.Detail), "       "))
	}
	if n.Hint != "" {
		fmt.Fprintln(a.stderr, "  do:  "+indentRest(sanitizeLines(n.Hint), "       "))
	}
}

func indent(s, by string) string     { return by + indentRest(s, by) }
func indentRest(s, by string) string { return strings.ReplaceAll(s, "\n", "\n"+by) }

// isUnpopulated says that a materialized view was read before its first refresh.
func isUnpopulated(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "55000"
}

// badInterval says in the words of the command line that an option is no interval of PostgreSQL's, or one that leads out of all
// time; other errors stay as they are.
func badInterval(err error, flag, value string) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case "22007": // invalid_datetime_format
			return usagef("%s %q is no interval: write for example 24h or '7 days'", flag, value)
		case "22008", "22015": // datetime_field_overflow, interval_field_overflow
			return usagef("%s %q is longer than the server's calendar: write for example 24h or '7 days'", flag, value)
		}
	}
	return err
}
