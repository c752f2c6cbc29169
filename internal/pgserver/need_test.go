package pgserver_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// The script that make demo and make test begin with, on machines that are not this one.
func TestNeedPostgresInstallsOrSaysWhatToRun(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../scripts/need-postgres")
	require.NoError(t, err)
	for _, machine := range []struct {
		name, uid, system string
		tools             []string
		brings            string // version that apt-get installs
		ok                bool
		says              string
	}{
		{"Debian, root", "0", "Linux", []string{"apt-get"}, "17.2", true, "installing it with apt-get"},
		{"an old Debian, root", "0", "Linux", []string{"apt-get"}, "13.9", false, "PostgreSQL 13"},
		{"Debian, not root", "1000", "Linux", []string{"apt-get"}, "", false, "run: sudo apt-get install -y postgresql"},
		{"Fedora", "0", "Linux", []string{"dnf"}, "", false, "run: sudo dnf install -y postgresql-server"},
		{"macOS", "501", "Darwin", nil, "", false, "run: brew install postgresql@17"},
		{"something else", "1000", "Linux", nil, "", false, "MVSCHEDULER_TEST_PG_BINDIR"},
	} {
		t.Run(machine.name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			write := func(path, text string) {
				syscall.ForkLock.RLock() // a child of another test that has this file open makes it busy
				defer syscall.ForkLock.RUnlock()
				require.NoError(t, os.WriteFile(path, []byte(text), 0o755))
			}
			tool := func(path, body string) {
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				write(path, "#!/bin/sh\n"+body+"\n")
			}
			tool(root+"/tools/pg_config", "exit 1")
			tool(root+"/tools/id", "echo "+machine.uid)
			tool(root+"/tools/uname", "echo "+machine.system)
			tool(root+"/brought/initdb", "")
			tool(root+"/brought/postgres", "echo 'postgres (PostgreSQL) "+machine.brings+"'")
			for _, name := range machine.tools {
				tool(root+"/tools/"+name, `case "$*" in *install*) mkdir -p `+root+`/lib/x && cp -r `+root+`/brought `+root+`/lib/x/bin;; esac`)
			}
			for _, name := range []string{"bash", "sed", "mkdir", "cp", "sh", "dirname"} {
				path, err := exec.LookPath(name)
				require.NoError(t, err)
				require.NoError(t, os.Symlink(path, root+"/tools/"+name))
			}
			script := root + "/need-postgres"
			elsewhere := strings.NewReplacer("/usr/lib/postgresql/", root+"/lib/", "/usr/pgsql-", root+"/none-", "/opt/homebrew", root+"/none", "/usr/local", root+"/none", "/Applications", root+"/none",
				"/etc/postgresql-common", root+"/etc", "/usr/bin/env bash", root+"/tools/bash")
			write(script, elsewhere.Replace(string(text)))
			run := exec.CommandContext(t.Context(), script)
			run.Env = []string{"PATH=" + root + "/tools"}
			out, err := run.CombinedOutput()
			require.Equal(t, machine.ok, err == nil, "%v: %s", err, out)
			require.Contains(t, string(out), machine.says)
			if machine.ok {
				require.FileExists(t, root+"/lib/x/bin/initdb")
				require.FileExists(t, root+"/etc/createcluster.conf", "no cluster is started")
			}
		})
	}
}
