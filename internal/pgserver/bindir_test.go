package pgserver

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheEnvironmentChoosesTheBinaries(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(BinDirVariable, dir)
	_, err := FindBinDir()
	require.ErrorIs(t, err, ErrNoBinaries)
	require.ErrorContains(t, err, dir)
	program(t, dir, "initdb", "")
	program(t, dir, "postgres", "postgres (PostgreSQL) 14.9 (Debian 14.9-1)")
	_, err = FindBinDir()
	require.ErrorIs(t, err, ErrNoBinaries)
	require.ErrorContains(t, err, "PostgreSQL 14")
	require.ErrorContains(t, err, "15 or later")
	program(t, dir, "postgres", "postgres (PostgreSQL) 19beta1")
	found, err := FindBinDir()
	require.NoError(t, err)
	require.Equal(t, dir, found)
}

// program makes a program that prints a line.
func program(t *testing.T, dir, name, prints string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho '"+prints+"'\n"), 0o755))
}

func TestTheFirstPlaceThatIsNewEnoughIsChosen(t *testing.T) {
	t.Parallel()
	versions := map[string]int{"old": 13, "older": 9, "new": 17, "newer": 18}
	version := func(dir string) int { return versions[dir] }
	for _, c := range []struct {
		dirs []string
		want string
	}{
		{nil, ""}, {[]string{"nothing"}, ""}, {[]string{"nothing", "new", "newer"}, "new"}, {[]string{"old", "older", "newer", "new"}, "newer"},
	} {
		dir, err := choose(c.dirs, version)
		require.NoError(t, err)
		require.Equal(t, c.want, dir)
	}
	_, err := choose([]string{"nothing", "old", "older"}, version)
	require.ErrorContains(t, err, "PostgreSQL 13 in old")
}

// Of pg_config and the usual places the first that has anything comes first.
func TestWhatPgConfigSaysComesBeforeTheUsualPlaces(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(BinDirVariable, "")
	t.Setenv("PATH", dir)
	program(t, dir, "pg_config", dir)
	program(t, dir, "initdb", "")
	program(t, dir, "postgres", "postgres (PostgreSQL) 16.1")
	found, err := FindBinDir()
	require.NoError(t, err)
	require.Equal(t, dir, found)
}

func TestANewerVersionComesFirst(t *testing.T) {
	t.Parallel()
	require.Greater(t, majorOf("/usr/lib/postgresql/18/bin"), majorOf("/usr/lib/postgresql/9/bin"))
	require.Equal(t, 17, majorOf("/usr/pgsql-17/bin"))
	require.Zero(t, majorOf("/usr/local/pgsql/bin"))
}

func TestTheCommandThatInstallsPostgreSQLIsTheOneOfThisSystem(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	require.Contains(t, howToInstall(), BinDirVariable)
	for program, command := range map[string]string{"zypper": "zypper install", "pacman": "pacman -S", "apk": "apk add", "dnf": "dnf install", "apt-get": "apt-get update"} {
		path := filepath.Join(dir, program)
		require.NoError(t, os.WriteFile(path, nil, 0o755))
		require.Contains(t, howToInstall(), command)
		require.NoError(t, os.Remove(path))
	}
}
