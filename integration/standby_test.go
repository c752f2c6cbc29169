package integration

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgserver"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// standby makes a hot standby of a server, until the test ends.
func standby(t testing.TB, primary *pgserver.Server) *pgserver.Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "mvs-standby")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if _, err := os.Stat(filepath.Join(primary.BinDir(), "pg_basebackup")); err != nil {
		t.Skip("these binaries of PostgreSQL come without pg_basebackup")
	}
	data := filepath.Join(dir, "data")
	out, err := primary.Command(t.Context(), nil, "pg_basebackup", "-D", data, "-R", "-X", "stream", "-c", "fast")
	require.NoError(t, err, out)
	of, err := os.Stat(primary.DataDir())
	require.NoError(t, err)
	owner := of.Sys().(*syscall.Stat_t)
	require.NoError(t, filepath.WalkDir(data, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(owner.Uid), int(owner.Gid))
	}))
	server, err := pgserver.Start(t.Context(), pgserver.Config{BinDir: primary.BinDir(), Dir: dir, Settings: map[string]string{"primary_conninfo": "host=" + primary.SocketDir() + " user=postgres"}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Stop(pgserver.Immediate) })
	return server
}

func TestReadsOnAStandbyAreAddedOrSaidToBeMissing(t *testing.T) {
	t.Parallel()
	s := sceneOn(t, pgtest.Dedicated(t, nil))
	s.manage(t, "v", "SELECT id, amount FROM sales", "enabled", false)
	worker := s.db.Worker(t)
	server := standby(t, s.db.Server(t))
	first := startSidecarAs(t, s.db, worker, often...)
	collecting(t, s.root)
	refreshed(t, s.alice, "v")
	require.Zero(t, first.stop())
	require.Contains(t, ask[string](t, s.root, `SELECT standbys || ' ' || sources FROM mvscheduler.collector`), "reads on standbys are not counted")
	require.Equal(t, 1, ask[int](t, s.root, `SELECT standbys FROM mvscheduler.collector`))

	side := startSidecarAs(t, s.db, worker, append([]string{"--standby-url", strings.Replace(server.URLAs(worker, s.db.Name), "postgres@", worker+"@", 1)}, often...)...)
	collecting(t, s.root)
	reader, err := pgx.Connect(t.Context(), server.URLAs("postgres", s.db.Name))
	require.NoError(t, err)
	until(t, reader, `SELECT relispopulated FROM pg_class WHERE relname = 'v' AND relkind = 'm'`)
	sampledTwice(t, s.root)
	sampledTwice(t, s.root)
	before := ask[int64](t, s.root, usage, "v")
	for range 10 {
		pgtest.Exec(t, reader, `SELECT * FROM `+s.owner+`.v`)
		pgtest.Exec(t, s.alice, `SELECT * FROM v`)
	}
	reported(t, s.alice)
	reported(t, reader)
	require.NoError(t, reader.Close(t.Context()))
	sampledTwice(t, s.root)
	sampledTwice(t, s.root)
	require.Zero(t, side.stop())
	require.InDelta(t, 20, ask[int64](t, s.root, usage, "v")-before, 2)
	require.Equal(t, "0", ask[string](t, s.root, `SELECT standbys::text FROM mvscheduler.collector`))
}

func TestAStandbyThatIsAwayAtTheMomentIsNotForgotten(t *testing.T) {
	t.Parallel()
	s := sceneOn(t, pgtest.Dedicated(t, nil))
	s.manage(t, "v", "SELECT id, amount FROM sales", "enabled", false)
	worker := s.db.Worker(t)
	server := standby(t, s.db.Server(t))
	sampled := func() string { // as it is written down in the end
		t.Helper()
		side := startSidecarAs(t, s.db, worker, often...)
		collecting(t, s.root)
		sampledTwice(t, s.root)
		require.Zero(t, side.stop())
		return ask[string](t, s.root, `SELECT standbys || ' ' || sources FROM mvscheduler.collector`)
	}
	require.Regexp(t, "^1 .*reads on standbys are not counted, and there are some$", sampled())
	require.NoError(t, server.Stop(pgserver.Immediate))
	until(t, s.root, `SELECT NOT EXISTS (SELECT FROM pg_stat_replication)`)
	require.Regexp(t, "^0 .*reads on standbys are not counted, and there was one at 20", sampled())
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.collector SET standby_seen_at = now() - interval '8 days'`)
	require.NotContains(t, sampled(), "standbys", "one that is remembered was not seen again")
}
