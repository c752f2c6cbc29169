package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// reading is an answer that is thought over: meanwhile happens before it comes.
type reading struct {
	meanwhile func()
	answer    io.Reader
}

func (r reading) Read(p []byte) (int, error) {
	r.meanwhile()
	return r.answer.Read(p)
}

// Not in parallel: the user is granted to mvscheduler_worker, and the reference tells what that role may.
func TestApplyAsksAndDoesWhatWasShownOrNothing(t *testing.T) {
	db := pgtest.New(t)
	alice := db.User(t, "alice")
	conn := db.Conn(t, alice)
	pgtest.Exec(t, conn, `INSERT INTO mvscheduler.views (name, query, priority) VALUES ('v', 'SELECT 1 AS a', 4)`)
	file := filepath.Join(t.TempDir(), "v.yaml")
	require.NoError(t, os.WriteFile(file, []byte("name: "+alice+".v\npriority: 1\nquery: SELECT 1 AS a\n"), 0o600))
	priority := func() (n int) {
		require.NoError(t, conn.QueryRow(t.Context(), `SELECT priority FROM mvscheduler.views`).Scan(&n))
		return n
	}
	apply := func(answer string, meanwhile func()) (said string, code int) {
		var stdout, stderr bytes.Buffer
		a := &app{
			globals: &globals{DatabaseURL: db.URLAs(alice), Output: "table"}, stdin: reading{meanwhile, strings.NewReader(answer)},
			stdout: &stdout, stderr: &stderr, inTerminal: true, zone: time.UTC,
		}
		if err := (&applyCmd{declared{File: []string{file}}}).Run(t.Context(), a); err != nil {
			code = a.report(t.Context(), err)
		}
		require.Contains(t, stdout.String(), "~ view "+alice+".v\n    ~ priority  ")
		require.Contains(t, stderr.String(), "1 would be changed\nGo on? [y/N]")
		return stderr.String(), code
	}
	said, code := apply("n\n", func() {
		require.Equal(t, 4, priority(), "nothing is done before the answer")
		pgtest.Exec(t, conn, `SET lock_timeout = '1s'`, `BEGIN`, `LOCK TABLE mvscheduler.views`, `ROLLBACK`, `RESET lock_timeout`)
	})
	require.Equal(t, exitFailure, code)
	require.Contains(t, said, "nothing was changed")

	said, code = apply("y\n", func() { pgtest.Exec(t, conn, `UPDATE mvscheduler.views SET priority = 3`) })
	require.Equal(t, exitConflict, code)
	require.Contains(t, said, "nothing was applied")
	require.Equal(t, 3, priority())

	said, code = apply("y\n", func() {})
	require.Zero(t, code)
	require.Contains(t, said, "1 changed")
	require.Equal(t, 1, priority())
}

func TestADiffShowsTheLinesOfAQueryThatChangeAndThoseAround(t *testing.T) {
	t.Parallel()
	var lines []string
	for _, r := range "abcdefghijklmnop" {
		lines = append(lines, string(r))
	}
	was := strings.Join(lines, "\n")
	now := strings.Replace(strings.Replace(was, "b", "B", 1), "\np", "", 1)
	var b strings.Builder
	planned{Name: "a.v", Kind: "view", Action: "update", Changes: []columnChange{{"query", &was, &now}, {"cron", nil, new("esc\x1b[31m")}}}.diff(&b, &app{})
	require.Equal(t, `~ view a.v
    ~ query
        a
      - b
      + B
        c
        d
        e
        ...
        m
        n
        o
      - p
    ~ cron  none -> 'esc\x1b[31m'
`, b.String())
	b.Reset()
	ended := now + "\n"
	planned{Name: "a.v", Kind: "view", Action: "update", Changes: []columnChange{{"query", &now, &ended}}}.diff(&b, &app{})
	require.Equal(t, "~ view a.v\n    ~ query\n        (but for the end of its last line)\n", b.String())
	b.Reset()
	planned{Name: "a.v", Kind: "view", Action: "insert", Changes: []columnChange{{"query", nil, &now}}}.diff(&b, &app{colour: true})
	require.Contains(t, b.String(), "\x1b[32m+ view a.v\x1b[0m\n    \x1b[32m+ query\x1b[0m\n      \x1b[32m+ a\x1b[0m\n")
}
