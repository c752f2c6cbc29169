package catalog_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// The texts are whatever people send. Constants are left out of them, comments are not.
func TestTextsOfStatementsThatAreTooLongAreNotRead(t *testing.T) {
	t.Parallel()
	db := pgtest.Dedicated(t, map[string]string{"shared_preload_libraries": "pg_stat_statements"})
	conn := db.Conn(t, "")
	pgtest.Exec(t, conn, `CREATE SCHEMA ext`, `CREATE EXTENSION pg_stat_statements SCHEMA ext`,
		`SELECT 1 AS a, 'short'`, `SELECT 1 AS a, 'long', 3 /* `+strings.Repeat("x", 1000)+` */`)
	source, err := catalog.FindStatements(t.Context(), conn)
	require.NoError(t, err)
	calls, err := catalog.ReadCalls(t.Context(), conn, source)
	require.NoError(t, err)
	var ids []int64
	for call := range calls.Calls {
		ids = append(ids, call.Statement)
	}
	texts, err := catalog.ReadTexts(t.Context(), conn, source, ids, 500)
	require.NoError(t, err)
	var read []string
	for _, text := range texts {
		read = append(read, text)
	}
	require.Contains(t, read, "SELECT $1 AS a, $2")
	for _, text := range read {
		require.LessOrEqual(t, len(text), 500)
	}
}

// pg_upgrade leaves extensions as they are.
func TestAnOldPgStatStatementsIsToBeUpdated(t *testing.T) {
	t.Parallel()
	conn := pgtest.New(t).Conn(t, "")
	pgtest.Exec(t, conn, `CREATE EXTENSION pg_stat_statements VERSION '1.8'`)
	source, err := catalog.FindStatements(t.Context(), conn)
	require.NoError(t, err)
	require.Contains(t, source.Missing, "ALTER EXTENSION pg_stat_statements UPDATE")
	pgtest.Exec(t, conn, `ALTER EXTENSION pg_stat_statements UPDATE`)
	source, err = catalog.FindStatements(t.Context(), conn)
	require.NoError(t, err)
	require.Empty(t, source.Missing)
}
