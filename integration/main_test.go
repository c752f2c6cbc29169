package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// program is the path of the binary under test.
var program string

func TestMain(m *testing.M) {
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
	pgtest.Main(m, searchServerLog, remove)
}
