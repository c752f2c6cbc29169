package integration

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
	"github.com/mvscheduler/mvscheduler/internal/pgtest/allowlist"
)

// program is the path of the binary under test.
var program string

func TestMain(m *testing.M) {
	// These tests mostly wait: for a clock, a lock, a signal.
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		_ = flag.Set(parallel.Name, strconv.Itoa(4*runtime.GOMAXPROCS(0)))
	}
	// Each check is a history that sidecars and writers play in real time.
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		number := "6" // of three all may have been refused one kind of statement
		if long {
			number = "300" // thousands in all
		}
		_ = flag.Set(checks.Name, number)
	}
	dir, err := os.MkdirTemp("", "mvscheduler-bin")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program = filepath.Join(dir, "mvscheduler")
	build := exec.Command("go", "build", "-o", program, "../cmd/mvscheduler")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the program: %v\n%s", err, out)
		os.Exit(1)
	}
	remove := func() error { return os.RemoveAll(dir) }
	pgtest.Main(m, allowlist.SearchShared(500), remove)
}
