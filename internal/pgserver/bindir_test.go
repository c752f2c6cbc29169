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
	for _, name := range []string{"initdb", "postgres"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o755))
	}
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

func TestWhereThereIsNoPostgreSQLTheCommandThatInstallsItIsNamed(t *testing.T) {
	t.Parallel()
	require.NotEmpty(t, howToInstall())
}
