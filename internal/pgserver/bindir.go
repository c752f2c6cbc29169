package pgserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// BinDirVariable names the environment variable that chooses the binaries.
const BinDirVariable = "MVSCHEDULER_TEST_PG_BINDIR"

// Oldest is the first major version that mvscheduler works with.
const Oldest = 15

// ErrNoBinaries says that no PostgreSQL was found and how to install one here.
var ErrNoBinaries = errors.New("no PostgreSQL server binaries found")

// FindBinDir returns the directory with initdb and postgres of version [Oldest] or later: the one that the
// environment names, else that of pg_config, else the newest of the usual places.
func FindBinDir() (string, error) {
	if dir := os.Getenv(BinDirVariable); dir != "" {
		if found, err := choose([]string{dir}, versionIn); err != nil {
			return "", fmt.Errorf("%s=%s: %w there", BinDirVariable, dir, err)
		} else if found != "" {
			return found, nil
		}
		return "", fmt.Errorf("%s=%s: %w there", BinDirVariable, dir, ErrNoBinaries)
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
	switch dir, err := choose(candidates, versionIn); {
	case err != nil:
		return "", fmt.Errorf("%w: %s", err, howToInstall())
	case dir != "":
		return dir, nil
	}
	return "", fmt.Errorf("%w: %s", ErrNoBinaries, howToInstall())
}

// choose returns the first directory whose PostgreSQL is new enough; empty when there is none at all, and an
// error when those that are there are too old. version tells the major version in a directory, 0 = none.
func choose(dirs []string, version func(dir string) int) (string, error) {
	var tooOld error
	for _, dir := range dirs {
		switch v := version(dir); {
		case v >= Oldest:
			return dir, nil
		case v > 0 && tooOld == nil:
			tooOld = fmt.Errorf("%w: PostgreSQL %d in %s is too old, %d or later is needed", ErrNoBinaries, v, dir, Oldest)
		}
	}
	return "", tooOld
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// versionIn asks the server program of a directory for its major version; 0 where initdb or postgres is missing.
func versionIn(dir string) int {
	if info, err := os.Stat(filepath.Join(dir, "initdb")); err != nil || info.IsDir() {
		return 0
	}
	out, err := exec.CommandContext(context.Background(), filepath.Join(dir, "postgres"), "--version").Output() // postgres (PostgreSQL) 17.2 (Debian 17.2-1)
	if err != nil {
		return 0
	}
	if m := versionPattern.FindSubmatch(out); m != nil {
		return majorOf(string(m[1]))
	}
	return 0
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
