package pgserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// BinDirVariable names the environment variable that chooses the binaries.
const BinDirVariable = "MVSCHEDULER_TEST_PG_BINDIR"

// ErrNoBinaries says that no PostgreSQL was found and how to install one here.
var ErrNoBinaries = errors.New("no PostgreSQL server binaries found")

// FindBinDir returns the directory with initdb and postgres: the one that the environment names, else
// that of pg_config, else the newest of the usual places.
func FindBinDir() (string, error) {
	if dir := os.Getenv(BinDirVariable); dir != "" {
		if !complete(dir) {
			return "", fmt.Errorf("%s=%s: %w there", BinDirVariable, dir, ErrNoBinaries)
		}
		return dir, nil
	}
	var candidates []string
	if out, err := exec.CommandContext(context.Background(), "pg_config", "--bindir").Output(); err == nil {
		candidates = append(candidates, strings.TrimSpace(string(out)))
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin",
		"/usr/local/opt/postgresql@*/bin", "/Applications/Postgres.app/Contents/Versions/*/bin",
		"/usr/local/pgsql/bin",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return "", fmt.Errorf("look for PostgreSQL in %s: %w", pattern, err)
		}
		slices.SortFunc(found, func(a, b string) int { return cmp.Compare(majorOf(b), majorOf(a)) })
		candidates = append(candidates, found...)
	}
	for _, dir := range candidates {
		if complete(dir) {
			return dir, nil
		}
	}
	return "", fmt.Errorf("%w: %s", ErrNoBinaries, howToInstall())
}

func complete(dir string) bool {
	for _, program := range []string{"initdb", "postgres"} {
		if info, err := os.Stat(filepath.Join(dir, program)); err != nil || info.IsDir() {
			return false
		}
	}
	return true
}

func majorOf(dir string) int {
	digits := strings.FieldsFunc(dir, func(r rune) bool { return r < '0' || r > '9' })
	if len(digits) == 0 {
		return 0
	}
	n, err := strconv.Atoi(digits[len(digits)-1])
	if err != nil {
		return 0
	}
	return n
}

func howToInstall() string {
	if runtime.GOOS == "darwin" {
		return "run: brew install postgresql@17"
	}
	for _, known := range []struct{ program, command string }{
		{"apt-get", "apt-get update && apt-get install -y postgresql"},
		{"dnf", "dnf install -y postgresql-server postgresql-contrib"},
		{"apk", "apk add postgresql postgresql-contrib"},
		{"pacman", "pacman -S postgresql"},
		{"zypper", "zypper install -y postgresql-server"},
	} {
		if _, err := exec.LookPath(known.program); err == nil {
			return "run: " + known.command
		}
	}
	return "install PostgreSQL 15 or later, or name its bin directory in " + BinDirVariable
}
