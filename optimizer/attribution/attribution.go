// Package attribution finds the relations that a statement reads, by its text alone. The text comes from
// pg_stat_statements: it was written by anybody, its constants are taken out, and nothing of it is ever sent to a
// server, since planning or even parsing it there could run its author's functions.
package attribution

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Name is a relation as a statement names it.
type Name struct {
	Schema   string // empty = it is looked up in the search_path of a session that nobody knows
	Relation string
}

// mostNames bounds what has to be remembered of a statement.
const mostNames = 64

// Longest bounds the text that is looked at, in bytes: parsing takes time and stack.
const Longest = 16 << 10

// ErrLong says that a text is too long to be looked at.
var ErrLong = errors.New("the statement is too long to be attributed")

// reads are the kinds of statements that read what they name. REFRESH, ANALYZE and the like do not count.
var reads = map[string]bool{"SelectStmt": true, "InsertStmt": true, "UpdateStmt": true, "DeleteStmt": true, "MergeStmt": true, "PrepareStmt": true, "DeclareCursorStmt": true, "CopyStmt": true}

// Relations are those that the statements of a text read, once each. Names of common table expressions are left
// out, wherever they stand: a relation of the same name in the same statement is missed.
func Relations(text string) (names []Name, err error) {
	if len(text) > Longest {
		return nil, ErrLong
	}
	defer func() { // it was written by anybody
		if p := recover(); p != nil {
			err = fmt.Errorf("parse a statement: %v", p)
		}
	}()
	tree, err := parse(text)
	if err != nil {
		return nil, err
	}
	var parsed struct {
		Stmts []struct {
			Stmt map[string]any `json:"stmt"`
		} `json:"stmts"`
	}
	if err := json.Unmarshal([]byte(tree), &parsed); err != nil {
		return nil, fmt.Errorf("read the tree of a statement: %w", err)
	}
	seen := make(map[Name]bool)
	for _, s := range parsed.Stmts {
		for kind, body := range s.Stmt {
			if !reads[kind] {
				continue
			}
			expressions := make(map[string]bool)
			walk(body, "", func(kind string, node map[string]any) {
				if kind == "CommonTableExpr" {
					expressions[str(node["ctename"])] = true
				}
			})
			walk(body, "", func(_ string, node map[string]any) {
				n := Name{str(node["schemaname"]), str(node["relname"])}
				if n.Relation == "" || n.Schema == "" && expressions[n.Relation] || seen[n] {
					return
				}
				seen[n] = true
				names = append(names, n)
			})
		}
	}
	if len(names) > mostNames {
		return nil, ErrEffort
	}
	return names, nil
}

func str(v any) string {
	s, _ := v.(string)
	return s
}

// walk calls visit for each node, with the name under which it stands.
func walk(v any, kind string, visit func(kind string, node map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		visit(kind, v)
		for k, child := range v {
			walk(child, k, visit)
		}
	case []any:
		for _, child := range v {
			walk(child, kind, visit)
		}
	}
}
