package pgserver_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgserver"
)

func ask(t *testing.T, s *pgserver.Server, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL("postgres"))
	require.NoError(t, err)
	defer conn.Close(t.Context())
	var answer string
	require.NoError(t, conn.QueryRow(t.Context(), sql).Scan(&answer))
	return answer
}

func TestAPrivateServerLivesInItsDirectoryAloneAndGoesOnThere(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "kept") // t.TempDir cannot be reached by the server's account
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	require.NoError(t, os.Chmod(dir, 0o755))
	config := pgserver.Config{Dir: filepath.Join(dir, "pg"), Settings: map[string]string{"work_mem": "5MB"}}
	first, err := pgserver.Start(t.Context(), config)
	require.NoError(t, err)
	require.Equal(t, "5MB", ask(t, first, `SHOW work_mem`))
	require.Empty(t, ask(t, first, `SHOW listen_addresses`), "only its socket")
	require.GreaterOrEqual(t, first.Version(), 150000)
	ask(t, first, `SELECT set_config('app.x', '', false)`)
	require.NoError(t, first.Restart(t.Context(), pgserver.Immediate), "as after a crash")
	require.Equal(t, "postgres", ask(t, first, `SELECT current_user::text`))
	require.NoError(t, first.Close())
	require.DirExists(t, first.DataDir(), "a directory that was named is kept")

	second, err := pgserver.Start(t.Context(), config)
	require.NoError(t, err)
	require.NoError(t, second.Close())
}

func TestATemporaryServerLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	s, err := pgserver.Start(t.Context(), pgserver.Config{})
	require.NoError(t, err)
	require.DirExists(t, s.SocketDir())
	require.NoError(t, s.Close())
	require.NoDirExists(t, s.SocketDir())
}

func TestWhatKeepsAServerFromStartingIsSaid(t *testing.T) {
	t.Parallel()
	_, err := pgserver.Start(t.Context(), pgserver.Config{Dir: "/tmp/" + strings.Repeat("x", 100)})
	require.ErrorContains(t, err, "too long for a unix socket")
	_, err = pgserver.Start(t.Context(), pgserver.Config{Settings: map[string]string{"work_mem": "lots"}})
	require.ErrorContains(t, err, "work_mem", "the server's own words")
}
