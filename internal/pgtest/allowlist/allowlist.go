package allowlist

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	pgquery "github.com/sqlc-dev/oliphant"
)

// onUsersRelations are the only statements that a sidecar runs on users' relations.
var onUsersRelations = regexp.MustCompile(`^(REFRESH MATERIALIZED VIEW( CONCURRENTLY)?|ANALYZE \(SKIP_LOCKED\)) "([^"]|"")+"\."([^"]|"")+"( WITH NO DATA)?$`)

// scrub is what a session for runs forgets by, the only text of several statements.
const scrub = `SET SESSION AUTHORIZATION DEFAULT; RESET ALL; CLOSE ALL; UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES`

// control are the kinds of statements that touch no relation.
var control = map[string]bool{"TransactionStmt": true, "ClosePortalStmt": true, "DiscardStmt": true, "ListenStmt": true, "UnlistenStmt": true}

// books are the kinds of statements with which a sidecar keeps its books, on schemas mvscheduler and
// pg_catalog only.
var books = map[string]bool{"SelectStmt": true, "InsertStmt": true, "UpdateStmt": true, "DeleteStmt": true, "VariableSetStmt": true}

// Unexpected returns why a statement of a sidecar is not on the allow-list; empty when it is.
func Unexpected(statement string) string {
	if held.MatchString(statement) || onUsersRelations.MatchString(statement) || statement == scrub {
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
			schema, name := qualified(node["funcname"])
			if schema != "" && !ours(schema) && !statistics[name] {
				return "calls a function of schema " + schema
			}
			if runsText.MatchString(name) {
				return "calls " + name + ", which runs a text or leaves the database"
			}
			if name == "set_config" && !harmless[firstConstant(node["args"])] {
				return "sets " + firstConstant(node["args"])
			}
		case "typeName": // the input of a domain runs its checks
			if schema, name := qualified(node["names"]); schema != "" && !ours(schema) {
				return "uses type " + schema + "." + name
			}
		case "A_Expr", "SubLink":
			if schema, name := qualified(node["name"]); schema != "" && !ours(schema) {
				return "uses operator " + schema + "." + name
			}
		}
		return ""
	})
}

// held is the lock that keeps an extension from being dropped while its functions are called; it reads nothing.
var held = regexp.MustCompile(`^LOCK TABLE "([^"]|"")+"\."(pg_stat_statements|pg_qualstats)" IN ACCESS SHARE MODE$`)

// statistics are functions of extensions that only a superuser makes; the sidecar looks that they are its own.
var statistics = map[string]bool{"pg_stat_statements": true, "pg_stat_statements_info": true, "pg_qualstats": true, "pg_qualstats_example_queries": true}

// runsText are functions of pg_catalog that run a text which they are given, read a relation which they
// are given, or reach outside.
var runsText = regexp.MustCompile(`^(query|table|cursor|schema|database)_to_xml|^ts_(stat|rewrite)$|^dblink|^pg_(read|write|ls|file|stat_file|logical|create|drop|execute)|^lo_|^currtid2?$|^row_security_|^pg_get_expr$`)

// harmless are the settings that a sidecar sets by function, as transactions need them.
var harmless = map[string]bool{"statement_timeout": true, "lock_timeout": true, "TimeZone": true, "work_mem": true, "idle_session_timeout": true, "jit": true, "mvscheduler.detached": true, "mvscheduler.planned": true, "enable_seqscan": true, "plan_cache_mode": true}

// qualified splits a list of names as it stands in a parse tree.
func qualified(list any) (schema, name string) {
	names, _ := list.([]any)
	for i, n := range names {
		walk(n, func(_ string, n map[string]any) string {
			switch text, _ := n["sval"].(string); {
			case i == len(names)-1:
				name = text
			default:
				schema = text
			}
			return ""
		})
	}
	return schema, name
}

// firstConstant is the first argument of a call where it is a constant text.
func firstConstant(arguments any) string {
	list, _ := arguments.([]any)
	if len(list) == 0 {
		return ""
	}
	return walk(list[0], func(_ string, n map[string]any) string {
		text, _ := n["sval"].(string)
		return text
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
