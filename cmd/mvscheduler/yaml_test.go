package main

import (
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
)

func TestYAMLHoldsNoControlCharactersAndReadsBackAsItWas(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"plain", "two\nlines\n", "tab\there", "esc\x1b[31mred", "c1\u0085\u009b", "bidi\u202eleft", "both\x1b\nlines", `"quoted" \ back`, "# no comment", "", "\x00nul", "\ufeffbom"} {
		out, err := yamlOf([]struct {
			Name string            `json:"name"`
			In   map[string]string `json:"in"`
		}{{text, map[string]string{"deep": text}}})
		require.NoError(t, err)
		for _, r := range string(out) {
			require.True(t, plain(r) || r == '\n' || r == '\t', "%q in %q", r, out)
		}
		var back []struct {
			Name string
			In   map[string]string
		}
		require.NoError(t, yaml.Unmarshal(out, &back), "%s", out)
		require.Equal(t, text, back[0].Name, "%s", out)
		require.Equal(t, map[string]string{"deep": text}, back[0].In, "%s", out)
	}
}
