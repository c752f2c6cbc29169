package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDocumentsAreReadWithTheirLines(t *testing.T) {
	t.Parallel()
	type doc struct {
		line  int
		value any
	}
	m := func(name any) map[string]any { return map[string]any{"name": name} }
	for text, want := range map[string][]doc{
		"":                                nil,
		"# only a comment\n":              nil,
		"---\n---\n":                      nil,
		"---\n# a\n---\nname: a\n---\n\n": {{4, m("a")}},
		"%YAML 1.2\n---\nname: a\n":       {{3, m("a")}},
		"\ufeffname: a\n":                 {{1, m("a")}},
		"name: a\r\n---\r\nname: b\r\n":   {{1, m("a")}, {3, m("b")}},
		"\"name\": a\n":                   {{1, m("a")}},
		"[{\"name\": \"a\"},\n {\"name\":\n \"b\"}]":                        {{1, m("a")}, {2, m("b")}},
		"- &a {name: a}\n-\n- *a\n":                                         {{1, m("a")}, {2, nil}, {3, m("a")}},
		"- # c\n  name: a\n-\n\n  name: b\n":                                {{2, m("a")}, {5, m("b")}},
		"name: a\n---\n---\n# c\n---\n---\n# d\nname: b\n...\n---\nname: c": {{1, m("a")}, {8, m("b")}, {11, m("c")}},
		"--- # c\nname: a\n":                                                {{2, m("a")}},
		"one: &o {name: a}\n":                                               {{1, map[string]any{"one": m("a")}}},
		"name: a\nquery: |\n  x\n---\n1\n":                                  {{1, map[string]any{"name": "a", "query": "x\n"}}, {5, uint64(1)}},
		"- {<<: &a {name: a}}\n- <<: *a\n":                                  {{1, m("a")}, {2, m("a")}},
		"&a\nname: a\n":                                                     {{1, m("a")}},
	} {
		docs, err := parseDocuments([]byte(text))
		require.NoError(t, err, "%q", text)
		var got []doc
		for _, d := range docs {
			got = append(got, doc{d.node.GetToken().Position.Line, d.value})
		}
		require.Equal(t, want, got, "%q", text)
	}
	for _, text := range []string{"a: b: c", "name: a\nname: b", "name: *nix", "a: [", "\tname: a"} {
		_, err := parseDocuments([]byte(text))
		require.Error(t, err, text)
	}
}
