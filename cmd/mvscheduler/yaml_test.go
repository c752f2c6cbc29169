package main

import (
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
)

func TestYAMLHoldsNoControlCharactersAndReadsBackAsItWas(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"plain", "two\nlines\n", "tab\there", "esc\x1b[31mred", "c1\u0085\u009b", "bidi\u202eleft", "both\x1b\nlines", `"quoted" \ back`, "# no comment", "", "\x00nul", " a\n   b\n  c", "a\n  ", " a\n b\n", "\ufeffbom", "\n    a\n  b\n", "\n  a\n    b", "a  \n", "\n", "\n\n"} {
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

func TestAQueryReadsBackAsItWas(t *testing.T) {
	t.Parallel()
	for text, block := range map[string]bool{
		" SELECT a,\n    b\n   FROM t": true, " SELECT 1\n ,2 ": false, "\tSELECT 1\n": false, "SELECT a\n  FROM t": true,
		"  a\n\n b\n": false, "a\n  ": false, " a\x01\nb": false,
		"\n    SELECT 1\n  FROM t\n": false, "\n  SELECT 1\n    FROM t": false, "\nSELECT 1\n  FROM t\n": true, "SELECT 1  \n": false, "\n": false,
	} {
		out, err := marshalYAML(yaml.MapSlice{{Key: "query", Value: topYAML(text)}, {Key: "after", Value: 1}})
		require.NoError(t, err)
		require.Equal(t, block, strings.HasPrefix(string(out), "query: |"), "%s", out)
		var back struct {
			Query string
			After int
		}
		require.NoError(t, yaml.Unmarshal(out, &back), "%s", out)
		require.Equal(t, text, back.Query, "%s", out)
		require.Equal(t, 1, back.After)
	}
}
