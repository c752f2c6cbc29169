package refresh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/mvscheduler/mvscheduler/internal/pgexec"
)

func raised(code string) error {
	return &pgconn.PgError{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: code, Message: "boom"}
}

func ended(code string) error {
	return &pgconn.PgError{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code, Message: "terminating connection"}
}

func TestClassify(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		err    error
		class  Class
		state  string
		advice string // a part of it
	}{
		{"lock_not_available", raised("55P03"), Busy, "55P03", "status.reason"},
		{"deadlock_detected", raised("40P01"), Busy, "40P01", "Nothing to do"},
		{"serialization_failure", raised("40001"), Busy, "40001", "Nothing to do"},
		{"a table that was rewritten meanwhile", ErrMoved, Busy, "40001", "Nothing to do"},

		{"admin_shutdown ends the session", ended("57P01"), Away, "57P01", "when it is back"},
		{"crash_shutdown ends the session", ended("57P02"), Away, "57P02", "when it is back"},
		{"cannot_connect_now", ended("57P03"), Away, "57P03", "when it is back"},
		{"too_many_connections", ended("53300"), Away, "53300", "when it is back"},
		{"idle_in_transaction_session_timeout", ended("25P03"), Away, "25P03", "when it is back"},
		{"the connection was reset", &net.OpError{Op: "read", Err: syscall.ECONNRESET}, Away, "08006", "when it is back"},
		{"the connection was closed", io.ErrUnexpectedEOF, Away, "08006", "when it is back"},
		{"a closed connection", errors.New("conn closed"), Away, "08006", "when it is back"},
		{"a function raises admin_shutdown", raised("57P01"), Other, "57P01", ""},
		{"a function raises too_many_connections", raised("53300"), Resource, "53300", "short of something"},
		{"a function raises connection_failure", raised("08006"), Other, "08006", ""},

		{"query_canceled", raised("57014"), Resource, "57014", "statement_timeout"},
		{"disk_full", raised("53100"), Resource, "53100", "free space"},
		{"out_of_memory", raised("53200"), Resource, "53200", "work_mem"},
		{"configuration_limit_exceeded", raised("53400"), Resource, "53400", "temp_file_limit"},
		{"statement_too_complex", raised("54001"), Resource, "54001", "limit of PostgreSQL"},
		{"io_error", raised("58030"), Resource, "58030", "its log"},
		{"max_size_bytes", &SizeError{Size: 2, Limit: 1}, Resource, "53400", "max_size_bytes"},

		{"division_by_zero", raised("22012"), Data, "22012", "Mend the data"},
		{"invalid_text_representation", raised("22P02"), Data, "22P02", "Mend the data"},
		{"unique_violation", raised("23505"), Data, "23505", "unique_key"},
		{"cardinality_violation", raised("21000"), Data, "21000", "several"},
		{"check_violation", raised("23514"), Data, "23514", "constraint"},
		{"raise_exception", raised("P0001"), Data, "P0001", "function"},
		{"no_data_found", raised("P0002"), Data, "P0002", "function"},
		{"external_routine_exception", raised("38000"), Data, "38000", "function"},
		{"a message that is too long", &pgproto3.ExceededMaxBodyLenErr{MaxExpectedBodyLen: 1, ActualBodyLen: 2}, Data, "", "1 MB"},

		{"object_not_in_prerequisite_state", raised("55000"), Precondition, "55000", "refresh the view below first"},
		{"feature_not_supported", raised("0A000"), Precondition, "0A000", "see the message"},

		{"undefined_table", raised("42P01"), Permanent, "42P01", "restore it"},
		{"undefined_column", raised("42703"), Permanent, "42703", "restore it"},
		{"invalid_column_definition", raised("42611"), Permanent, "42611", "Set bucket_width"},
		{"undefined_function", raised("42883"), Permanent, "42883", "restore it"},
		{"insufficient_privilege", raised("42501"), Permanent, "42501", "Grant the owner"},
		{"datatype_mismatch", raised("42804"), Permanent, "42804", "change the query"},
		{"invalid_schema_name", raised("3F000"), Permanent, "3F000", "schema is missing"},
		{"the view is gone", pgexec.ErrMissing, Permanent, "42P01", "DELETE"},
		{"the view is another's", &pgexec.NotItError{Reason: "given away"}, Permanent, "42809", "UPDATE"},
		{"no unique index for method concurrent", &PreconditionError{Reason: "no index", Advice: "Set unique_key."}, Permanent, "55000", "unique_key"},

		{"read_only_sql_transaction", raised("25006"), Other, "25006", "standby"},
		{"an SQLSTATE that nobody knows", raised("ZZ999"), Other, "ZZ999", ""},
		{"an error without SQLSTATE", errors.New("?"), Other, "", ""},
		{"nothing", nil, Other, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := tt.err
			if err != nil {
				err = fmt.Errorf("refresh view %q: %w", "app.v", err)
			}
			require.Equal(t, tt.class, Classify(err), Classify(err).String())
			require.Equal(t, tt.state, SQLState(err))
			require.Contains(t, Advice(tt.class, tt.state, err), tt.advice)
		})
	}
}

func TestEveryRuleIsReachableAndGivesAdvice(t *testing.T) {
	t.Parallel()
	for i, r := range rules {
		require.Equal(t, r, ruleOf(r.prefix), "rule %d is hidden by an earlier one", i)
		if r.class != Other {
			require.NotEmpty(t, r.advice, r.prefix)
		}
	}
}

func TestNoErrorThatAFunctionCanRaiseSpeaksForTheServer(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		code := rapid.StringMatching(`[0-9A-Z]{5}`).Draw(t, "SQLSTATE")
		require.NotEqual(t, Away, Classify(raised(code)))
	})
}

func TestDescriptionsAreFitToBeShown(t *testing.T) {
	t.Parallel()
	require.Equal(t, "boom CONTEXT: PL/pgSQL function app.f() line 2 at RAISE", Describe(&pgconn.PgError{Message: "boom",
		Where: "PL/pgSQL function app.f() line 2 at RAISE\nPL/pgSQL function mvscheduler.step_swap(bigint) line 9 at EXECUTE\nPL/pgSQL function mvscheduler.step(bigint) line 7 at RETURN"}))
	require.Equal(t, "boom", Describe(&pgconn.PgError{Message: "boom", Where: "PL/pgSQL function mvscheduler.step(bigint) line 7 at RETURN"}))
	require.Equal(t, "boom CONTEXT: PL/pgSQL function app.f() line 2 at RAISE", Describe(&pgconn.PgError{Message: "boom",
		Where: "PL/pgSQL function app.f() line 2 at RAISE\nSQL statement \"WITH fresh AS MATERIALIZED (SELECT a FROM app.\"mvscheduler 6edbf06c\" AS q)\nSELECT 1\"\nPL/pgSQL function mvscheduler.replace_buckets(oid,oid) line 56 at EXECUTE\n" +
			"SQL statement \"SELECT *            FROM mvscheduler.replace_buckets(query, data)\"\nSQL statement \"SELECT mvscheduler.name_partition(data, part),\n            mvscheduler.equip_partition(data, part)\"\nPL/pgSQL function mvscheduler.step_increment(bigint) line 51 at SQL statement\nSQL function \"step\" statement 1"}))
	require.Equal(t, "boom", Describe(&pgconn.PgError{Message: "boom",
		Where: "PL/pgSQL function mvscheduler.demand_labels(oid,text) line 6 at PERFORM\nSQL function \"demand_near_labels\" statement 1\nSQL statement \"SELECT mvscheduler.demand_near_labels(handle)\"\nPL/pgSQL function mvscheduler.step_build(bigint) line 51 at PERFORM"}))
	require.Equal(t, "permission denied for table orders", Describe(&pgconn.PgError{Message: "permission denied for table orders",
		Where: "SQL statement \"SELECT array_agg(l.start) FROM app.v__query\nSQL is not a frame\"\nPL/pgSQL function mvscheduler.next_labels(oid,text) line 25 at EXECUTE\nPL/pgSQL function mvscheduler.step_increment(bigint) line 51 at SQL statement\nSQL function \"step\" statement 1"}))
	require.Equal(t, "boom CONTEXT: SQL statement \"SELECT 1\" PL/pgSQL function app.f() line 2 at EXECUTE", Describe(&pgconn.PgError{Message: "boom",
		Where: "SQL statement \"SELECT 1\"\nPL/pgSQL function app.f() line 2 at EXECUTE\nSQL statement \"INSERT INTO app.v__data\"\nPL/pgSQL function mvscheduler.step(bigint) line 7 at EXECUTE"}))
	const attach = "SQL statement \"ALTER TABLE app.v__data ATTACH PARTITION app.p\"\nPL/pgSQL function mvscheduler.step_attach(bigint) line 7 at EXECUTE"
	require.Equal(t, `boom CONTEXT: SQL statement "ALTER TABLE app.v__data ATTACH PARTITION app.p"`, Describe(&pgconn.PgError{Code: "22012", Message: "boom", Where: attach}), "by an index, say")
	require.Equal(t, "boom", Describe(&pgconn.PgError{Code: "55P03", Message: "boom", Where: attach}))
	require.Equal(t, "boom CONTEXT: SQL statement \"SELECT a \"", Describe(&pgconn.PgError{Message: "boom", Where: "SQL statement \"SELECT a\n\""}))
	require.Equal(t, "boom DETAIL: d HINT: h CONTEXT: w", Describe(&pgconn.PgError{Message: "boom", Detail: "d", Hint: "h", Where: "w"}))
	require.Equal(t, "cancelled", Describe(fmt.Errorf("refresh: %w", context.Canceled)))
	rapid.Check(t, func(t *rapid.T) {
		text := Describe(&pgconn.PgError{Message: rapid.StringN(0, 20_000, 40_000).Draw(t, "message")})
		require.LessOrEqual(t, len(text), describeAtMost)
		require.True(t, utf8.ValidString(text))
		require.False(t, strings.ContainsFunc(text, unicode.IsControl))
	})
}

func TestChooseMethod(t *testing.T) {
	t.Parallel()
	tests := []struct {
		facts  Facts
		method string
		reason string // a part of it
		fails  bool
	}{
		{Facts{Wanted: "auto", Populated: true, UniqueKey: true}, Concurrent, "how long a full refresh takes is not known", false},
		{Facts{Wanted: "auto", Populated: true}, Full, "no unique index", false},
		{Facts{Wanted: "auto", UniqueKey: true}, Full, "first refresh", false},
		{Facts{Wanted: "auto"}, Full, "first refresh", false},
		{Facts{Wanted: "full", Populated: true, UniqueKey: true}, Full, "", false},
		{Facts{Wanted: "full"}, Full, "", false},
		{Facts{Wanted: "concurrent", Populated: true, UniqueKey: true}, Concurrent, "", false},
		{Facts{Wanted: "concurrent", UniqueKey: true}, Full, "first refresh", false},
		{Facts{Wanted: "concurrent", Populated: true}, "", "", true},
	}
	for _, tt := range tests {
		method, reason, err := ChooseMethod(tt.facts)
		require.Equal(t, tt.method, method, "%+v", tt.facts)
		require.Equal(t, tt.fails, err != nil, "%+v", tt.facts)
		require.Contains(t, reason, tt.reason)
		require.Equal(t, tt.reason == "", reason == "")
	}
}

func TestChangedMuch(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name          string
		analyzed      *int64
		rows, changed int64
		want          bool
	}{
		{"never analyzed", nil, 0, 0, true},
		{"nothing changed", new(int64(1000)), 1000, 0, false},
		{"fifty rows of a small view", new(int64(0)), 0, 50, false},
		{"a tenth and fifty", new(int64(1000)), 1000, 150, false},
		{"more than that", new(int64(1000)), 1000, 151, true},
		{"little by little it grew", new(int64(1000)), 1200, 1, true},
		{"it shrank", new(int64(1000)), 800, 1, true},
	}
	for _, tt := range tests {
		require.Equal(t, tt.want, ChangedMuch(tt.analyzed, tt.rows, tt.changed), tt.name)
	}
}

func TestLeavesHaveMovedWhenAFileIsNewOrOneCameOrWent(t *testing.T) {
	t.Parallel()
	before := Files{1: 10, 2: 20}
	require.False(t, before.moved(Files{2: 20, 1: 10}))
	require.True(t, before.moved(Files{1: 10, 2: 21}))
	require.True(t, before.moved(Files{1: 10}))
	require.True(t, before.moved(Files{1: 10, 2: 20, 3: 30}))
	require.False(t, Files{}.moved(nil))
}
