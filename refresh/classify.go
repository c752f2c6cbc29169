package refresh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgexec"
)

// Class is what helps against an error.
type Class int

const (
	Other        Class = iota // nobody knows: tried again a few times
	Busy                      // a lock was not had, a deadlock: trying again soon
	Away                      // the server or the connection is gone: waiting until it is back
	Resource                  // time, memory, disk: a setting, or less load
	Data                      // what the query computes with or what its functions raise: other data
	Precondition              // something has to be there first: another refresh, an index
	Permanent                 // only a person can mend it: the view is paused
)

var classNames = [...]string{"other", "busy", "server away", "resource", "data", "precondition", "permanent"}

func (c Class) String() string { return classNames[c] }

// rule is one line of the table of SQLSTATEs: the first whose prefix fits.
type rule struct {
	prefix string // of the SQLSTATE
	class  Class
	advice string // the user's next step
}

// rules is the table. A FATAL is Away whatever its SQLSTATE, since no function can raise one, but for
// transaction_timeout, which a function can set.
var rules = []rule{
	{"55P03", Busy, "See status.reason for who holds the lock; a longer lock_timeout makes readers wait longer."},
	{"40", Busy, "Nothing to do unless it stays."},

	{"57014", Resource, "Raise statement_timeout of the view, make its query cheaper, or give it more work_mem."},
	{"53100", Resource, "The disk is full: free space; the old contents are still served."},
	{"53200", Resource, "The server is out of memory: lower work_mem of the view, or give the server more."},
	{"53400", Resource, "A configured limit was reached, such as temp_file_limit: raise it, or work_mem of the view."},
	{"53", Resource, "The server is short of something; see the message."},
	{"54", Resource, "The query goes past a limit of PostgreSQL; see the message. An index row that is too long: name a shorter unique_key, or {} for none."},
	{"58", Resource, "The server could not read or write a file; see its log."},

	{"21000", Data, "Rows that should be one are several: mend the data, or the query."},
	{"22", Data, "Mend the data that the query cannot compute with, or the query."},
	{"23505", Data, "The unique_key does not identify a row: correct unique_key, or the query."},
	{"23", Data, "Data violate a constraint; see the message."},
	{"25P04", Resource, "transaction_timeout ended the refresh: a function of the query sets it, or the server's settings do."},
	{"25006", Other, "The server takes no writes; is it a standby?"},
	{"2F", Data, "A function of the query failed; see the message."},
	{"38", Data, "A function of the query failed; see the message."},
	{"39", Data, "A function of the query failed; see the message."},
	{"44", Data, "Data violate a check option; see the message."},
	{"P0", Data, "A function of the query raised this; see the message."},

	{"55000", Precondition, "A view below is not populated yet, or there is no usable unique index: refresh the view below first, or set unique_key. Where a table lacks a replica identity, which a publication needs: ALTER TABLE ... REPLICA IDENTITY FULL."},
	{"0A000", Precondition, "PostgreSQL cannot do this yet for this view; see the message."},

	{"42501", Permanent, "Grant the owner of the view what the message says that it lacks; mvscheduler doctor names the GRANT where it is one on a table, a view or a schema."},
	{"42P01", Permanent, "A relation is missing: restore it, or change the query."},
	{"42703", Permanent, "A column is missing: restore it, or change the query."},
	{"42611", Permanent, "Set bucket_width, time_column or timezone of the view to what its query does, or change the query."},
	{"42883", Permanent, "A function is missing: restore it, or change the query."},
	{"42", Permanent, "The query does not fit the database any more: change the query, or undo what changed below it."},
	{"3F000", Permanent, "A schema is missing: restore it, or drop the view."},
	{"2BP01", Permanent, "Something depends on it: drop or change what the message names."},
}

// Rule is one line of the table of SQLSTATEs, as the documentation shows it.
type Rule struct {
	Prefix string // of the SQLSTATE
	Class  Class
	Advice string // the user's next step; empty when the message has to do
}

// Rules is the table: of the lines whose prefix fits the first one counts.
func Rules() []Rule {
	out := make([]Rule, len(rules))
	for i, r := range rules {
		out[i] = Rule{Prefix: r.prefix, Class: r.class, Advice: r.advice}
	}
	return out
}

func ruleOf(sqlstate string) rule {
	for _, r := range rules {
		if strings.HasPrefix(sqlstate, r.prefix) {
			return r
		}
	}
	return rule{class: Other}
}

// Classify sorts an error of a refresh. A nil error is Other.
func Classify(err error) Class {
	var (
		pgErr        *pgconn.PgError
		tooLong      *pgproto3.ExceededMaxBodyLenErr
		notIt        *pgexec.NotItError
		precondition *PreconditionError
		size         *SizeError
		network      net.Error
		connect      *pgconn.ConnectError
	)
	switch {
	case err == nil:
		return Other
	case errors.Is(err, ErrMoved), errors.Is(err, ErrReplaced), errors.Is(err, catalog.ErrCommitting):
		return Busy
	case errors.Is(err, pgexec.ErrMissing), errors.As(err, &notIt):
		return Permanent
	case errors.As(err, &precondition):
		return Permanent // only another key or method helps
	case errors.As(err, &size):
		return Resource
	case errors.As(err, &tooLong):
		return Data
	case errors.As(err, &pgErr):
		// A function can set transaction_timeout, which ends the session.
		if fatal(pgErr) && pgErr.Code != "25P04" {
			return Away
		}
		return ruleOf(pgErr.Code).class
	case errors.As(err, &connect), errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return Away
	case pgconn.SafeToRetry(err), strings.Contains(err.Error(), "conn closed"):
		return Away
	}
	return Other
}

// fatal tells a FATAL of the server from an ERROR that a function raised with the same SQLSTATE.
func fatal(e *pgconn.PgError) bool {
	severity := e.SeverityUnlocalized
	if severity == "" {
		severity = e.Severity
	}
	return severity == "FATAL" || severity == "PANIC"
}

// SQLState of an error; errors that are ours have none, and for those it is the closest one of
// PostgreSQL's. Empty when there is none.
func SQLState(err error) string {
	var (
		pgErr        *pgconn.PgError
		notIt        *pgexec.NotItError
		precondition *PreconditionError
		size         *SizeError
	)
	switch {
	case errors.As(err, &pgErr):
		return pgErr.Code
	case errors.Is(err, pgexec.ErrMissing):
		return "42P01" // undefined_table
	case errors.As(err, &notIt):
		return "42809" // wrong_object_type
	case errors.As(err, &precondition):
		return "55000" // object_not_in_prerequisite_state
	case errors.As(err, &size):
		return "53400" // configuration_limit_exceeded
	case errors.Is(err, ErrMoved), errors.Is(err, ErrReplaced), errors.Is(err, catalog.ErrCommitting):
		return "40001" // serialization_failure
	case Classify(err) == Away:
		return "08006" // connection_failure
	}
	return ""
}

// Advice is the user's next step after an error of a class.
func Advice(class Class, sqlstate string, err error) string {
	var (
		notIt   *pgexec.NotItError
		tooLong *pgproto3.ExceededMaxBodyLenErr
		size    *SizeError
		piece   *PieceError
		pgErr   *pgconn.PgError
	)
	switch {
	case sqlstate == "42611" && errors.As(err, &pgErr) && pgErr.Hint != "":
		return "" // Describe has it
	case errors.As(err, &piece):
		return "Resuming the view makes it anew; an UPDATE back to what the view was cancels a new version."
	case errors.Is(err, pgexec.ErrMissing):
		return "mvscheduler export | mvscheduler import - creates the view again; DELETE the row to give it up."
	case errors.As(err, &notIt):
		return "UPDATE the name or the owner of the row to what the view has now, or DELETE the row."
	case errors.As(err, &tooLong):
		return "A function of the query sends notices or errors of more than 1 MB: make it stop."
	case errors.As(err, &size):
		return "Raise max_size_bytes of the view, or let its query return less."
	case class == Away:
		return "The server is being restarted or the connection was lost; the refresh goes on when it is back."
	}
	var precondition *PreconditionError
	if errors.As(err, &precondition) {
		return precondition.Advice
	}
	return ruleOf(sqlstate).advice
}

const describeAtMost = 8 << 10 // bytes

// Describe is the message of an error as it is stored and shown: PostgreSQL's message, detail and hint
// where there are some and what of its context is not ours, at most 8 kB, without control characters.
func Describe(err error) string {
	var (
		pgErr   *pgconn.PgError
		tooLong *pgproto3.ExceededMaxBodyLenErr
	)
	switch {
	case err == nil:
		return ""
	case errors.As(err, &tooLong):
		return fmt.Sprintf("the server sent a message of %d bytes, at most %d are taken", tooLong.ActualBodyLen, tooLong.MaxExpectedBodyLen)
	case errors.As(err, &pgErr):
		text := pgErr.Message
		if pgErr.Detail != "" {
			text += " DETAIL: " + pgErr.Detail
		}
		if pgErr.Hint != "" {
			text += " HINT: " + pgErr.Hint
		}
		if where := whereOutside(pgErr); where != "" {
			text += " CONTEXT: " + where
		}
		return clean(text, describeAtMost)
	case errors.Is(err, context.Canceled):
		return "cancelled"
	}
	return clean(err.Error(), describeAtMost)
}

// whereOutside is the context of an error without the frames of our own functions and of the statements that these run, which
// tell its reader nothing, unless it is DDL that an index or a constraint of his has failed. The innermost frame is the first, so a
// statement stands before the function that runs it.
func whereOutside(err *pgconn.PgError) string {
	var (
		outside, statement []string // statement is of one of our functions if the next frame is
		ours               bool
	)
	waited := err.Code == "55P03" || err.Code == "57014" || err.Code == "40P01"
	for line := range strings.SplitSeq(err.Where, "\n") {
		text := strings.HasPrefix(line, `SQL statement "`) || strings.HasPrefix(line, `SQL expression "`) || strings.HasPrefix(line, `PL/pgSQL assignment "`)
		if text || strings.HasPrefix(line, `SQL function "`) || strings.HasPrefix(line, "PL/") { // else the statement goes on
			function := strings.HasPrefix(line, "PL/pgSQL function mvscheduler.")
			if !function || !waited && isDDL(statement) {
				outside = append(outside, statement...)
			}
			statement = nil
			ours = function || strings.HasPrefix(line, `SQL function "step`) || strings.HasPrefix(line, `SQL function "demand_`) || text && strings.Contains(line, "mvscheduler")
		}
		switch {
		case ours:
		case text, len(statement) > 0:
			statement = append(statement, line)
		default:
			outside = append(outside, line)
		}
	}
	return strings.Join(append(outside, statement...), "\n")
}

func isDDL(frame []string) bool {
	return len(frame) > 0 && (strings.HasPrefix(frame[0], `SQL statement "ALTER TABLE `) || strings.HasPrefix(frame[0], `SQL statement "CREATE `))
}

// clean makes text of unknown origin fit for a terminal, a page and a table.
func clean(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t':
			return ' '
		case unicode.IsControl(r), r == utf8.RuneError, unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, text)
	if len(text) <= most {
		return text
	}
	cut := text[:most-len("...")]
	for !utf8.ValidString(cut) {
		cut = cut[:len(cut)-1]
	}
	return cut + "..."
}
