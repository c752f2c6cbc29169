package integration

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
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
	require.Equal(t, int64(5), ask[int64](t, conn, `SELECT count(*) FROM mvscheduler.status`))
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

// The demonstration as people see it: it tells where to look, and flights keep arriving until it is interrupted.
func TestTheDemonstrationKeepsFeedingUntilItIsInterrupted(t *testing.T) {
	heavy(t)
	t.Parallel()
	var said lockedBuffer
	cmd := exec.Command(program, "demo", "--listen", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "NO_COLOR=1")
	cmd.Stdout, cmd.Stderr = &said, &said
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	url := regexp.MustCompile(`(?m)^  export DATABASE_URL='([^']+)'$`)
	require.Eventually(t, func() bool { return strings.Contains(said.String(), "Ctrl-C ends it.") }, 2*time.Minute, 100*time.Millisecond, "%s", &said)
	require.Regexp(t, `(?m)^  psql -h \S+`, said.String())
	require.Regexp(t, `http://127\.0\.0\.1:\d+/metrics`, said.String())
	config, err := pgx.ParseConfig(url.FindStringSubmatch(said.String())[1])
	require.NoError(t, err)
	conn, err := pgx.ConnectConfig(t.Context(), config)
	require.NoError(t, err)
	before := ask[int64](t, conn, `SELECT count(*) FROM public.flights`)
	until(t, conn, `SELECT count(*) > $1 FROM public.flights`, before)
	until(t, conn, `SELECT EXISTS (SELECT FROM mvscheduler.status WHERE name = 'analytics.hourly_delays' AND last_refresh_at IS NOT NULL)`)
	newest := ask[int64](t, conn, `SELECT sum(flights)::bigint FROM analytics.hourly_delays`)
	until(t, conn, `SELECT sum(flights) > $1 FROM analytics.hourly_delays`, newest)
	require.NoError(t, conn.Close(t.Context()))
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	select {
	case err := <-ended:
		require.NoError(t, err, "%s", &said)
	case <-time.After(patience):
		t.Fatalf("it did not end:\n%s", &said)
	}
	require.NoDirExists(t, config.Host, "its server and data are gone")
}
