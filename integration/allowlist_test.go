package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"

	pgquery "github.com/sqlc-dev/oliphant"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// onUsersRelations are the only statements that a sidecar runs on users' relations.
var onUsersRelations = regexp.MustCompile(`^(REFRESH MATERIALIZED VIEW( CONCURRENTLY)?|ANALYZE \(SKIP_LOCKED\)) "([^"]|"")+"\."([^"]|"")+"$`)

// control are the kinds of statements that touch no relation.
var control = map[string]bool{"TransactionStmt": true, "ClosePortalStmt": true, "DiscardStmt": true, "ListenStmt": true, "UnlistenStmt": true}

// books are the kinds of statements with which a sidecar keeps its books, on schemas mvscheduler and
// pg_catalog only.
var books = map[string]bool{"SelectStmt": true, "InsertStmt": true, "UpdateStmt": true, "DeleteStmt": true, "VariableSetStmt": true}

// unexpected returns why a statement of a sidecar is not on the allow-list; empty when it is.
func unexpected(statement string) string {
	if onUsersRelations.MatchString(statement) {
		return ""
	}
	text, err := pgquery.ParseToJSON(statement)
	if err != nil {
		return "cannot be parsed: " + err.Error()
	}
	var tree struct {
		Stmts []struct {
			Stmt map[string]any `json:"stmt"`
		} `json:"stmts"`
	}
	if err := json.Unmarshal([]byte(text), &tree); err != nil {
		return "cannot be read: " + err.Error()
	}
	if len(tree.Stmts) > 1 {
		return "is several statements"
	}
	for _, s := range tree.Stmts {
		for kind, body := range s.Stmt {
			if control[kind] {
				continue
			}
			if !books[kind] {
				return "is a " + kind
			}
			if kind == "VariableSetStmt" {
				if name := fmt.Sprint(body.(map[string]any)["name"]); name == "role" || name == "session_authorization" {
					return "sets " + name
				}
			}
			if why := foreign(body); why != "" {
				return why
			}
		}
	}
	return ""
}

// foreign looks for a relation or a function outside schemas mvscheduler and pg_catalog. Names without a
// schema are looked up in pg_catalog alone, as the sidecar's search_path says.
func foreign(statement any) string {
	expressions := map[string]bool{}
	walk(statement, func(kind string, node map[string]any) string {
		if kind == "CommonTableExpr" {
			expressions[fmt.Sprint(node["ctename"])] = true
		}
		return ""
	})
	ours := func(schema string) bool { return schema == "mvscheduler" || schema == "pg_catalog" }
	return walk(statement, func(kind string, node map[string]any) string {
		switch kind {
		case "RangeVar", "relation":
			schema, _ := node["schemaname"].(string)
			name, _ := node["relname"].(string)
			if name == "" || ours(schema) || schema == "" && (expressions[name] || strings.HasPrefix(name, "pg_")) {
				return ""
			}
			return fmt.Sprintf("touches relation %s.%s", schema, name)
		case "FuncCall":
			names, _ := node["funcname"].([]any)
			if len(names) < 2 {
				return ""
			}
			schema := ""
			walk(names[0], func(_ string, n map[string]any) string {
				schema, _ = n["sval"].(string)
				return ""
			})
			if !ours(schema) {
				return "calls a function of schema " + schema
			}
		}
		return ""
	})
}

// walk calls visit for each node of a parse tree, with the name under which it stands, until one
// returns something.
func walk(node any, visit func(kind string, node map[string]any) string) string {
	switch node := node.(type) {
	case map[string]any:
		for kind, child := range node {
			if kind == "lockedRels" { // FOR UPDATE OF alias: not a relation
				continue
			}
			if inner, ok := child.(map[string]any); ok {
				if why := visit(kind, inner); why != "" {
					return why
				}
			}
			if why := walk(child, visit); why != "" {
				return why
			}
		}
	case []any:
		for _, child := range node {
			if why := walk(child, visit); why != "" {
				return why
			}
		}
	}
	return ""
}

var statementIn = regexp.MustCompile(`(?s)^LOG:  (?:statement|execute [^:]+): (.*)$`)

// searchServerLog looks at every statement that a sidecar ran on the shared server.
func searchServerLog() error {
	path := pgtest.SharedLogFile()
	if path == "" {
		return nil
	}
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open the server's log: %w", err)
	}
	defer file.Close()
	lines, err := pgtest.ReadLog(file)
	if err != nil {
		return err
	}
	verdicts := map[string]string{}
	var wrong []string
	statements, refreshes := 0, 0
	for _, line := range lines {
		m := statementIn.FindStringSubmatch(line.Message)
		if m == nil || !strings.HasPrefix(line.Application, "mvscheduler run") && !strings.HasPrefix(line.Application, "mvscheduler control") {
			continue
		}
		statements++
		statement := strings.TrimSpace(m[1])
		why, known := verdicts[statement]
		if !known {
			why = unexpected(statement)
			verdicts[statement] = why
			if why != "" {
				wrong = append(wrong, fmt.Sprintf("%s %s\n    %s", line.Application, why, statement))
			}
		}
		if onUsersRelations.MatchString(statement) {
			refreshes++
			if strings.HasPrefix(line.Message, "LOG:  statement:") {
				return fmt.Errorf("%s ran this by the simple protocol, which takes several statements at once: %s", line.Application, statement)
			}
		}
	}
	fmt.Printf("the server's log has %d statements of sidecars, %d of them on users' relations\n", statements, refreshes)
	if len(wrong) > 0 {
		return fmt.Errorf("these are not on the allow-list:\n%s", strings.Join(wrong, "\n"))
	}
	return nil
}
