package integration

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// smallDisk is a file system of a few megabytes, on which tablespace small is.
type smallDisk struct{ dir string }

// newSmallDisk is a scene on a server of its own that has one, mounted until that server is stopped.
func newSmallDisk(t testing.TB) (*scene, smallDisk) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root may mount a small file system")
	}
	dir, err := os.MkdirTemp("", "mvsmall")
	require.NoError(t, err)
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", "-l", dir).Run(); _ = os.Remove(dir) })
	s := sceneOn(t, pgtest.Dedicated(t, nil))
	require.NoError(t, exec.Command("chown", "--reference="+ask[string](t, s.root, `SHOW data_directory`), dir).Run())
	require.NoError(t, os.Chmod(dir, 0o700))
	pgtest.Exec(t, s.root, `CREATE TABLESPACE small LOCATION '`+dir+`'`, `GRANT CREATE ON TABLESPACE small TO PUBLIC`)
	return s, smallDisk{dir}
}

func (d smallDisk) ballast() string { return filepath.Join(d.dir, "ballast") }

// leave fills the disk but for so many bytes.
func (d smallDisk) leave(t testing.TB, bytes uint64) {
	t.Helper()
	f, err := os.Create(d.ballast())
	require.NoError(t, err)
	defer f.Close()
	var fs syscall.Statfs_t
	require.NoError(t, syscall.Statfs(d.dir, &fs))
	_, err = io.CopyN(f, zeros{}, int64(fs.Bavail*uint64(fs.Bsize)-bytes))
	if bytes == 0 {
		for page := make([]byte, 4<<10); err == nil; { // what has become free meanwhile
			_, err = f.Write(page)
		}
		require.True(t, errors.Is(err, syscall.ENOSPC), err)
		return
	}
	require.NoError(t, err)
}

func (d smallDisk) free(t testing.TB) {
	t.Helper()
	require.NoError(t, os.Remove(d.ballast()))
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// The disk of the contents is full in the middle of a fill, and in the middle of an increment.
func TestAnIncrementalViewWhoseDiskIsFullKeepsWhatItHasAndGoesOn(t *testing.T) {
	heavy(t)
	t.Parallel()
	s, disk := newSmallDisk(t)
	db := s.db
	disk.leave(t, 2<<20)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE metrics (ts timestamptz NOT NULL, device int NOT NULL, value numeric)`, `CREATE INDEX ON metrics (ts)`,
		`INSERT INTO metrics SELECT t, d, d FROM generate_series('2025-09-01 00:00+00'::timestamptz, '2026-03-04 23:50+00', '1 hour') AS t, generate_series(1, 10) AS d`)
	pgtest.Exec(t, s.root, `ALTER DATABASE `+db.Name+` SET default_tablespace = small`)
	s.incremental(t, "v", hourly, "max_attempts", 100)
	startSidecar(t, db)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
	full := `SELECT EXISTS (SELECT FROM mvscheduler.attempt WHERE sqlstate = '53100')`
	until(t, s.root, full)
	t.Log(ask[string](t, s.alice, `SELECT concat_ws(' | ', freshness, activity, reason) FROM mvscheduler.status`))
	some := ask[int64](t, s.alice, `SELECT count(*) FROM v`)
	disk.free(t)
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE state = 'succeeded')`)
	t.Log("rows while the disk was full", some)
	same(t, s.alice, "v")
	disk.leave(t, 0)
	before := ask[int64](t, s.alice, `SELECT count(*) FROM v`)
	pgtest.Exec(t, s.root, `DELETE FROM mvscheduler.attempt WHERE outcome <> 'running'`)
	pgtest.Exec(t, s.alice, `INSERT INTO metrics SELECT '2026-03-05 10:00+00', g, 1 FROM generate_series(1, 20000) AS g`, `SELECT mvscheduler.refresh_view('v')`)
	until(t, s.root, full)
	require.Equal(t, before, ask[int64](t, s.alice, `SELECT count(*) FROM v`))
	disk.free(t)
	until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.run WHERE state IN ('queued', 'running'))`)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	s.whole(t, "v")
}

// A refresh does not fail for a partition that it does not need yet.
func TestARefreshWithoutRoomForThePartitionOfTheTimeToComeGoesOn(t *testing.T) {
	t.Parallel()
	s, disk := newSmallDisk(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE metrics (ts timestamptz NOT NULL, device int NOT NULL, value numeric)`, `INSERT INTO metrics VALUES (now(), 1, 1)`)
	pgtest.Exec(t, s.root, `ALTER DATABASE `+s.db.Name+` SET default_tablespace = small`)
	s.incremental(t, "v", hourly)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	const partitions = `SELECT count(*) FROM pg_inherits WHERE inhparent = 'v__data'::regclass`
	before := ask[int64](t, s.alice, partitions)
	disk.leave(t, 0)
	pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES (now(), 1, 1)`)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	require.Equal(t, before, ask[int64](t, s.alice, partitions))
	require.NotZero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.runs WHERE state = 'succeeded'`))
	disk.free(t)
	pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES (now(), 1, 1)`)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	require.Equal(t, before+1, ask[int64](t, s.alice, partitions))
}
