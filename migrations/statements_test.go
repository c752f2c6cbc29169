package migrations_test

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

var beginsLikeSQL = regexp.MustCompile(`^\s*(SELECT|INSERT INTO \w|UPDATE mvscheduler\.|DELETE FROM \w|WITH (RECURSIVE )?\w+(\(.*\))? AS )[^%]*$`)

// statements returns the SQL in the Go sources of the packages below dir, with its place: literals, and
// literals and constants joined with +. What is joined with anything else is not static.
func statements(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := token.NewFileSet()
	packages := map[string][]*ast.File{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(files, path, nil, 0)
		packages[filepath.Dir(path)] = append(packages[filepath.Dir(path)], file)
		return err
	})
	require.NoError(t, err)
	found := map[string]string{}
	for _, sources := range packages {
		values := map[string]ast.Expr{} // constants of the package
		for _, file := range sources {
			ast.Inspect(file, func(node ast.Node) bool {
				if spec, ok := node.(*ast.ValueSpec); ok && len(spec.Names) == len(spec.Values) {
					for i, name := range spec.Names {
						values[name.Name] = spec.Values[i]
					}
				}
				return true
			})
		}
		parts := map[string]bool{} // texts that are joined to others
		var whole func(ast.Expr) (string, bool)
		whole = func(e ast.Expr) (string, bool) {
			switch e := e.(type) {
			case *ast.BasicLit:
				text, err := strconv.Unquote(e.Value)
				return text, err == nil && e.Kind == token.STRING
			case *ast.Ident:
				if value, ok := values[e.Name]; ok {
					return whole(value)
				}
			case *ast.BinaryExpr:
				left, ok := whole(e.X)
				right, also := whole(e.Y)
				parts[left], parts[right] = true, true
				return left + right, ok && also && e.Op == token.ADD
			}
			return "", false
		}
		texts := map[string]string{}
		for _, file := range sources {
			ast.Inspect(file, func(node ast.Node) bool {
				e, ok := node.(ast.Expr)
				if !ok {
					return true
				}
				if text, ok := whole(e); ok && beginsLikeSQL.MatchString(text) {
					texts[text] = files.Position(e.Pos()).String()
				}
				_, joined := node.(*ast.BinaryExpr)
				return !joined
			})
		}
		for text, place := range texts {
			if !parts[text] {
				found[text] = place
			}
		}
	}
	return found
}

func TestEveryStaticStatementFitsTheSchema(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := db.Conn(t, "")
	prepared := 0
	for _, dir := range []string{"../catalog", "../jobs", "../refresh", "../internal/pgexec", "../internal/web", "../cmd"} {
		for statement, place := range statements(t, dir) {
			_, err := conn.Prepare(context.WithoutCancel(t.Context()), "", statement)
			var failed *pgconn.PgError
			if errors.As(err, &failed) {
				t.Errorf("%s: %s: %s\n%s", place, failed.Code, failed.Message, statement)
			} else if err != nil {
				t.Fatal(err)
			}
			prepared++
		}
	}
	require.Greater(t, prepared, 40)
}
