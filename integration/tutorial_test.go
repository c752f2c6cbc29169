package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// block is a piece of code in a page, with its language.
type block struct{ language, code string }

// blocksOf reads the pieces of code of a page, in order.
func blocksOf(t testing.TB, page string) (blocks []block) {
	t.Helper()
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	for _, m := range regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, block{m[1], m[2]})
	}
	return blocks
}

// The demonstration runs as its reader runs it; every block is executed as it stands, and what the text between them says
// is looked at.
func TestEveryCommandOfTheTutorialWorks(t *testing.T) {
	t.Parallel()
	blocks := blocksOf(t, "../docs/tutorial.md")
	require.Equal(t, block{"sh", "mvscheduler demo\n"}, blocks[0])
	var said lockedBuffer
	demo := exec.Command(program, "demo")
	demo.Env = append(os.Environ(), "NO_COLOR=1", "MVSCHEDULER_LISTEN=127.0.0.1:0")
	demo.Stdout, demo.Stderr = &said, &said
	require.NoError(t, demo.Start())
	ended := make(chan struct{})
	go func() {
		_ = demo.Wait()
		close(ended)
	}()
	t.Cleanup(func() { // it removes its server
		_ = demo.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(patience):
			_ = demo.Process.Kill()
		}
	})
	line := regexp.MustCompile(`(?m)^  export DATABASE_URL='([^']+)'$`)
	require.Eventually(t, func() bool {
		return strings.Contains(said.String(), "Ctrl-C ends it.") && line.MatchString(said.String())
	}, 2*time.Minute, 100*time.Millisecond, "%s", &said)
	url := line.FindStringSubmatch(said.String())[1]
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(t.Context()) })

	flights := `SELECT coalesce(sum(flights), 0)::bigint FROM analytics.departures_by_hour`
	var loaded int64
	after := map[string]func(out string){
		"SELECT * FROM analytics.departures_by_month": func(string) {
			loaded = ask[int64](t, conn, `SELECT count(*) FROM analytics.departures`)
			require.Greater(t, loaded, int64(10_000))
			for _, view := range []string{"hour", "day", "month"} {
				require.Equal(t, loaded, ask[int64](t, conn, `SELECT sum(flights)::bigint FROM analytics.departures_by_`+view), view)
			}
		},
		"mvscheduler runs": func(string) {
			require.Equal(t, loaded+1, ask[int64](t, conn, flights))
			require.Equal(t, "1", ask[string](t, conn, `SELECT string_agg(buckets::text, ' ') FROM mvscheduler.runs WHERE view_name = 'analytics.departures_by_hour' AND cause <> 'initial' AND buckets > 0`))
			until(t, conn, `SELECT sum(flights) = $1 FROM analytics.departures_by_month`, loaded+1)
		},
		"mvscheduler prune analytics.departures --dry-run": func(out string) { require.Contains(t, out, "there is a legal hold on") },
		"UPDATE mvscheduler.source_retention": func(string) {
			until(t, conn, `SELECT count(*) >= 20 FROM mvscheduler.prunings WHERE action = 'detach'`)
			until(t, conn, `SELECT NOT EXISTS (SELECT FROM mvscheduler.runs WHERE kind = 'prune' AND state IN ('queued', 'running'))`)
			require.True(t, ask[bool](t, conn, `SELECT min(departed_at) BETWEEN now() - interval '10 days' AND now() - interval '7 days' FROM analytics.departures`))
			require.Equal(t, loaded+1, ask[int64](t, conn, flights))
		},
		"mvscheduler restore": func(string) {
			require.Equal(t, loaded+1, ask[int64](t, conn, `SELECT count(*) FROM analytics.departures`))
		},
		"mvscheduler verify": func(out string) { require.NotContains(t, out, "wrong") },
	}
	shell := append(os.Environ(), "NO_COLOR=1", "DATABASE_URL="+url, "PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"))
	for _, b := range blocks[1:] {
		t.Log(b.code)
		var out string
		switch b.language {
		case "sql":
			_, err := conn.Exec(t.Context(), b.code, pgx.QueryExecModeSimpleProtocol)
			require.NoError(t, err, b.code)
		case "sh":
			cmd := exec.CommandContext(t.Context(), "bash", "-e", "-c", b.code)
			cmd.Env, cmd.Dir = shell, t.TempDir()
			text, err := cmd.CombinedOutput()
			out = string(text)
			t.Log(out)
			require.NoError(t, err, "%s\n%s", b.code, out)
		default:
			t.Fatalf("a block of the tutorial is neither sql nor sh: %q", b.language)
		}
		for start, check := range after {
			if strings.Contains(b.code, start) && (start != "mvscheduler prune analytics.departures --dry-run" || strings.HasPrefix(b.code, start)) {
				check(out)
				delete(after, start)
			}
		}
	}
	require.Empty(t, after, "what these are followed by was not looked at")
	require.Equal(t, int64(0), ask[int64](t, conn, `SELECT count(*) FROM pg_class WHERE relname LIKE 'departures%'`)-ask[int64](t, conn, `SELECT count(*) FROM pg_class WHERE relname LIKE 'departures%\_\_kept%'`))
}
