package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestTheSampleIsLoadedOnceIntoADatabaseThatIsThere(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.User(t, "alice")
	db.Exec(t, "GRANT CREATE ON SCHEMA public TO "+alice)
	db.Exec(t, "CREATE SCHEMA analytics AUTHORIZATION "+alice)
	for range 2 {
		r := mvscheduler(t, db, alice, "", "demo", "--load", "--once")
		require.Zero(t, r.code, r.stderr)
		require.Contains(t, r.stderr, "registered analytics.hourly_delays")
	}
	conn := db.Conn(t, alice)
	require.Equal(t, int64(4), ask[int64](t, conn, `SELECT count(*) FROM mvscheduler.status`))
	before := ask[int64](t, conn, `SELECT count(*) FROM public.flights`)
	require.Greater(t, before, int64(50_000))
}

func TestTheSampleDoesNotTouchATableOfTheSameName(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.User(t, "alice")
	db.Exec(t, "CREATE TABLE public.flights (id int)")
	r := mvscheduler(t, db, alice, "", "demo", "--load")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, "public.flights that is not the sample")
	require.Equal(t, 2, mvscheduler(t, db, alice, "", "demo", "--load", "--every", "0s").code)
}
