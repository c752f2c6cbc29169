package layout

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// A path in ARCHITECTURE.md is where somebody goes to change something.
func TestPathsInTheArchitectureLeadSomewhere(t *testing.T) {
	t.Parallel()
	const root = "../.."
	text, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	require.NoError(t, err)
	paths := regexp.MustCompile("`([a-z]+(?:/[a-z0-9_.]+)+)`").FindAllStringSubmatch(string(text), -1)
	require.Greater(t, len(paths), 20)
	for _, path := range paths {
		if _, err := os.Stat(filepath.Join(root, path[1])); err != nil {
			t.Errorf("ARCHITECTURE.md names %s, which is not there", path[1])
		}
	}
}
