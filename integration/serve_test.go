package integration

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// shell runs a script with bash and returns what it printed.
func shell(t testing.TB, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-s")
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

func TestServeRefusesWhatCannotWorkAndNamesTheCommandThatHelps(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	refused := func(t *testing.T, db *pgtest.DB, role string, args ...string) string {
		t.Helper()
		r := mvscheduler(t, db, role, "", append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
		require.Equal(t, 1, r.code, r.stderr)
		return r.stderr
	}
	t.Run("no schema", func(t *testing.T) {
		t.Parallel()
		empty := pgtest.NewEmpty(t)
		require.Contains(t, refused(t, empty, ""), "mvscheduler migrate up")
	})
	t.Run("an older and a newer schema", func(t *testing.T) {
		t.Parallel()
		db := pgtest.New(t)
		worker := db.Worker(t)
		db.Exec(t, `UPDATE mvscheduler.schema_migrations SET version = version - 1`)
		require.Contains(t, refused(t, db, worker), "mvscheduler migrate up")
		db.Exec(t, `UPDATE mvscheduler.schema_migrations SET version = version + 2`)
		require.Contains(t, refused(t, db, worker), "upgrade the program")
	})
	t.Run("a superuser", func(t *testing.T) {
		t.Parallel()
		require.Contains(t, refused(t, db, ""), "--allow-superuser")
	})
	t.Run("a login without membership", func(t *testing.T) {
		t.Parallel()
		require.Contains(t, refused(t, db, db.Role(t, "stranger")), "GRANT mvscheduler_worker TO")
	})
	t.Run("an address that others can reach", func(t *testing.T) {
		t.Parallel()
		require.Contains(t, refused(t, db, db.Worker(t), "--listen", "0.0.0.0:0"), "127.0.0.1")
	})
	t.Run("an address that is taken, before any refresh begins", func(t *testing.T) {
		t.Parallel()
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer taken.Close()
		said := refused(t, db, db.Worker(t), "--listen", taken.Addr().String())
		require.Contains(t, said, "address already in use")
		require.NotContains(t, said, "worker started")
	})
}

func TestServeMigratesWhenTold(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmpty(t)
	s := startSidecarAs(t, db, "postgres", "--migrate", "--allow-superuser")
	code, _ := s.get("/healthz")
	require.Equal(t, 200, code)
	require.Zero(t, mvscheduler(t, db, "", "", "migrate", "status").code)
	require.Zero(t, s.stop())
}

func TestReadinessFollowsTheSchemaAndPagesAreReadOnly(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := startSidecar(t, db)
	code, body := s.get("/readyz")
	require.Equal(t, 200, code, body)
	db.Exec(t, `UPDATE mvscheduler.schema_migrations SET version = version + 1`)
	code, body = s.get("/readyz")
	require.Equal(t, 503, code)
	require.Contains(t, body, "upgrade the program")
	code, _ = s.get("/healthz")
	require.Equal(t, 200, code, "the process lives")
	code, _ = s.get("/nix")
	require.Equal(t, 404, code)
}

func TestTheDemonstrationRunsOneCycleAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tmp, err := os.MkdirTemp("", "demo") // reachable for the account of the server
	require.NoError(t, err)
	defer os.RemoveAll(tmp)
	require.NoError(t, os.Chmod(tmp, 0o777))
	cmd := exec.CommandContext(ctx, program, "demo", "--once", "-o", "json")
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	require.NoError(t, err, "%s", &said)
	require.Regexp(t, `January left analytics\.route_hours: [0-9,]+ rows are kept aside`, said.String())
	for _, view := range []string{"hourly_delays", "daily_traffic", "route_reliability", "worst_airports", "route_hours"} {
		require.Contains(t, string(out), "analytics."+view)
	}
	require.Equal(t, 5, strings.Count(string(out), `"freshness": "fresh"`))
	left, err := os.ReadDir(tmp)
	require.NoError(t, err)
	require.Empty(t, left)
}
