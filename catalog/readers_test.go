package catalog_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Mallory names alice's view in a query without any right to read it, and reads her own view, which has contents from before, all day.
func TestReadsOfAViewCountForNoViewThatItsOwnerMayNotRead(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	owner, stranger := db.User(t, "alice"), db.User(t, "mallory")
	alice, mallory := db.Conn(t, owner), db.Conn(t, stranger)
	pgtest.Exec(t, alice, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT 1 AS k')`, `GRANT USAGE ON SCHEMA `+owner+` TO PUBLIC`)
	pgtest.Exec(t, mallory, `INSERT INTO mvscheduler.views (name, query) VALUES ('w', 'SELECT k FROM `+owner+`.v')`)
	root := db.Conn(t, "")
	upstream := func() map[int64][]int64 {
		read, err := catalog.ReadUpstream(t.Context(), root)
		require.NoError(t, err)
		return read
	}
	require.Empty(t, upstream())
	pgtest.Exec(t, alice, `GRANT SELECT (k) ON v TO `+stranger)
	require.Len(t, upstream(), 1)
}
