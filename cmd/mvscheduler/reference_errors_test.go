package main

import (
	"cmp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/refresh"
)

// classes says what the sidecar does after an error of a class, in the order of the page.
var classes = []struct {
	class       refresh.Class
	means, does string
}{
	{refresh.Busy, "a lock was not had, a deadlock, a race", "Steps back and tries again after 1 second at first, a minute at most. Does not count towards `max_attempts` until it happened 60 times."},
	{refresh.Away, "the server or the connection is gone", "Tries again when it is back, within a minute. The first five do not count."},
	{refresh.Resource, "time, memory or disk ran out", "Counts; tries again after 10 seconds at first, 15 minutes at most. After `max_attempts` the run fails and the next slot tries again."},
	{refresh.Data, "the data, or what a function raised", "Counts; tries again after 1 second at first, 5 minutes at most. After `max_attempts` the run fails and the next slot tries again."},
	{refresh.Precondition, "something has to be there first", "As for data."},
	{refresh.Permanent, "only a person can mend it", "The run fails at once and the view is paused: an alert `paused`. Mend the cause, then `mvscheduler resume NAME`; any UPDATE of the row does the same."},
	{refresh.Other, "everything else", "As for data."},
}

// conditions are PostgreSQL's names of SQLSTATEs and of their classes (its manual, appendix A).
var conditions = map[string]string{
	"55P03": "lock_not_available", "40": "transaction rollback: deadlock, serialization", "57014": "query_canceled", "53100": "disk_full",
	"53200": "out_of_memory", "53400": "configuration_limit_exceeded", "53": "insufficient resources", "54": "program limit exceeded",
	"58": "system error", "21000": "cardinality_violation", "22": "data exception: division by zero, invalid text, ...", "23505": "unique_violation",
	"23": "integrity constraint violation", "25P04": "transaction_timeout", "25006": "read_only_sql_transaction", "2F": "SQL routine exception",
	"38": "external routine exception", "39": "external routine invocation exception", "44": "WITH CHECK OPTION violation",
	"P0": "PL/pgSQL error: RAISE EXCEPTION", "55000": "object_not_in_prerequisite_state", "0A000": "feature_not_supported",
	"0B": "invalid transaction initiation", "42501": "insufficient_privilege", "42P01": "undefined_table", "42703": "undefined_column", "42611": "invalid_column_definition",
	"42883": "undefined_function", "42": "syntax error or access rule violation", "3F000": "invalid_schema_name", "2BP01": "dependent_objects_still_exist",
}

func (p *page) errors(t *testing.T) {
	t.Helper()
	p.line("## Errors of refreshes")
	p.line("Whatever happens, the old contents stay. The SQLSTATE, the message and the next step are in `mvscheduler.runs` and `mvscheduler.attempts` (`mvscheduler show NAME`), and in `mvscheduler.status` while it lasts.")
	var rows [][]string
	known := map[refresh.Class]bool{}
	for _, c := range classes {
		known[c.class] = true
		rows = append(rows, []string{c.class.String(), c.means, c.does})
	}
	p.table([]string{"class", "is", "what the sidecar does"}, rows)

	p.line("The first line whose beginning fits an SQLSTATE counts. A FATAL of the server is *server away* whatever its SQLSTATE, except for 25P04; an SQLSTATE that is not here is *other*. Errors of mvscheduler's own carry the nearest SQLSTATE and say themselves what to do: 53400 for a view past `max_size_bytes`, 55000 where no unique index can be used, 42P01 and 42809 for a view that was dropped or replaced by hand.")
	rows = nil
	for _, r := range refresh.Rules() {
		require.True(t, known[r.Class], "say in reference_errors_test.go what happens after class %s", r.Class)
		name := conditions[r.Prefix]
		require.NotEmpty(t, name, "name the condition %s in reference_errors_test.go", r.Prefix)
		state := r.Prefix
		if len(state) < 5 {
			state += "..."
		}
		rows = append(rows, []string{code(state), prose(name), r.Class.String(), prose(cmp.Or(r.Advice, "See the message."))})
	}
	p.table([]string{"SQLSTATE", "condition", "class", "your next step"}, rows)
}
