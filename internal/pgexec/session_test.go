package pgexec

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestAStatementIsOneStatement(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := db.Conn(t, "")
	pgtest.Exec(t, conn, `CREATE TABLE kept (a int)`)
	err := run(t.Context(), conn, `SELECT 1; DROP TABLE kept`)
	require.ErrorContains(t, err, "cannot insert multiple commands into a prepared statement")
	require.NoError(t, run(t.Context(), conn, `SELECT a FROM kept`))
}
