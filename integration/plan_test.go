package integration

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// folder writes files, which come as name, text, name, text; ALICE stands for the schema.
func (s *scene) folder(t testing.TB, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, files[i]), []byte(strings.ReplaceAll(files[i+1], "ALICE", s.owner)), 0o600))
	}
	return dir
}

func (s *scene) cli(t testing.TB, code int, args ...string) result {
	t.Helper()
	r := mvscheduler(t, s.db, s.owner, "", args...)
	require.Equal(t, code, r.code, "%s\n%s", r.stdout, r.stderr)
	return r
}

func TestAPlanIsTheDiffThatApplyMakesTrue(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.manage(t, s.owner+".daily", "SELECT id,\n       amount\n  FROM sales\n WHERE id > 1", "cron", "30 2 * * *", "refresh_interval", nil, "priority", 1)
	s.manage(t, s.owner+".same", "SELECT 1 AS a")
	s.manage(t, s.owner+".elsewhere", "SELECT 1 AS a")
	pgtest.Exec(t, s.alice, `CREATE MATERIALIZED VIEW old AS SELECT 1 AS a`)
	s.readings(t, 3)
	dir := s.folder(t,
		"20-daily.yml", "name: ALICE.daily\nrefresh_interval: 10 minutes\nquery: |-\n  SELECT id,\n         amount\n    FROM sales\n   WHERE id > 2\n",
		"10-new.yaml", "name: ALICE.top\npriority: 3\nquery: |-\n  SELECT sum(n) AS s\n    FROM ALICE.base\n---\nname: ALICE.base\nquery: SELECT count(*) AS n FROM ALICE.daily\n",
		"30.yaml", "- {name: ALICE.same, query: SELECT 1 AS a}\n- {name: ALICE.old, adopted: true}\n- {table: ALICE.readings, retention_period: 7 days}\n",
		"README.md", "not: [YAML", ".hidden.yaml", "not: [YAML")

	plan := s.cli(t, 4, "plan", "-f", dir)
	want := strings.NewReplacer("ALICE", s.owner, "ZONE", ask[string](t, s.alice, `SELECT reset_val FROM pg_settings WHERE name = 'TimeZone'`)).Replace(`+ view ALICE.top
    + owner        ALICE
    + timezone     ZONE
    + priority     3
    + search_path  'ALICE, public'
    + query
      + SELECT sum(n) AS s
      +   FROM ALICE.base
+ view ALICE.base
    + owner        ALICE
    + timezone     ZONE
    + search_path  'ALICE, public'
    + query
      + SELECT count(*) AS n FROM ALICE.daily
~ view ALICE.daily
    ~ refresh_interval  none -> 10 minutes
    ~ cron              '30 2 * * *' -> none
    ~ priority          1 -> 2
    ~ query
        SELECT id,
               amount
          FROM sales
      -  WHERE id > 1
      +  WHERE id > 2
+ view ALICE.old, which exists and is adopted
    + owner        ALICE
    + timezone     ZONE
    + search_path  'ALICE, public'
    + query
      +  SELECT 1 AS a
+ table ALICE.readings
    + owner             ALICE
    + time_column       ts
    + retention_period  '7 days'
    + timezone          ZONE
`)
	require.Equal(t, want, plan.stdout)
	require.Contains(t, plan.stderr, "3 would be inserted, 1 would be adopted, 1 would be changed, 1 as it is")
	require.Contains(t, plan.stderr, "in no file, and stays as it is: "+s.owner+".elsewhere")
	rows := `SELECT coalesce(string_agg(v::text, ' ' ORDER BY name), '') || (SELECT count(*) FROM mvscheduler.source_retention) FROM mvscheduler.views AS v`
	before := ask[string](t, s.alice, rows)
	require.NotContains(t, before, ".base")

	var planned []struct {
		Name, Kind, Action, File string
		Changes                  []struct {
			Column   string
			Was, Now *string
		}
	}
	asJSON := s.cli(t, 4, "plan", "-f", dir, "-o", "json")
	require.NoError(t, json.Unmarshal([]byte(asJSON.stdout), &planned))
	require.Len(t, planned, 6)
	require.Equal(t, "insert", planned[0].Action)
	require.Equal(t, filepath.Join(dir, "10-new.yaml")+":7", planned[1].File)
	require.Equal(t, "none", planned[3].Action)
	require.Equal(t, "table", planned[5].Kind)
	for _, c := range planned[2].Changes {
		if c.Column == "cron" {
			require.Equal(t, "30 2 * * *", *c.Was)
			require.Nil(t, c.Now)
		}
	}
	records, err := csv.NewReader(strings.NewReader(s.cli(t, 4, "plan", "-f", dir, "-o", "csv").stdout)).ReadAll()
	require.NoError(t, err)
	require.Len(t, records, 7)

	asked := s.cli(t, 2, "apply", "-f", dir)
	require.Equal(t, want, asked.stdout)
	require.Contains(t, asked.stderr, "repeat the command with -y")
	require.Equal(t, before, ask[string](t, s.alice, rows), "neither plan nor the question does anything")

	applied := s.cli(t, 0, "apply", "-y", "-f", dir)
	require.Equal(t, want, applied.stdout)
	require.Contains(t, applied.stderr, "3 inserted, 1 adopted, 1 changed, 1 as it is")
	require.Equal(t, "00:10:00 2", ask[string](t, s.alice, `SELECT concat_ws(' ', refresh_interval, cron, priority) FROM mvscheduler.views WHERE name LIKE '%.daily'`))
	require.Equal(t, int64(6), ask[int64](t, s.alice, `SELECT count(*) FROM mvscheduler.views`))

	again := s.cli(t, 0, "plan", "-f", dir)
	require.Empty(t, again.stdout)
	require.Contains(t, again.stderr, "nothing would change")
	require.Contains(t, s.cli(t, 0, "apply", "-f", dir).stderr, "nothing was to be done", "and nothing to ask")
}

func TestAPlanOfWhatIsGoneSaysThatItComesBack(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, s.owner+".v", "SELECT id FROM sales", "priority", 1)
	exported := s.cli(t, 0, "export").stdout
	pgtest.Exec(t, s.alice, `DROP MATERIALIZED VIEW v`)
	plan := mvscheduler(t, s.db, s.owner, exported, "plan", "-f", "-")
	require.Equal(t, 4, plan.code, plan.stderr)
	require.Contains(t, plan.stdout, "+ view "+s.owner+".v, which is gone and is created anew\n")
	require.Contains(t, plan.stdout, "    + priority     1\n")
	applied := mvscheduler(t, s.db, s.owner, exported, "apply", "-y", "-f", "-")
	require.Zero(t, applied.code, applied.stderr)
	require.True(t, ask[bool](t, s.alice, `SELECT to_regclass('v') IS NOT NULL`))
}

func TestPlanAndApplyNameFileAndLineAndDoNothingByHalves(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	const good = "name: ALICE.good\nquery: SELECT 1 AS a\n"
	for _, c := range []struct {
		bad  string
		code int
		says []string
	}{
		{"\n---\n# a comment\nname: ALICE.v\nquery: SELECT nix FROM sales\n", 1, []string{"b.yaml:4", `"nix"`, "SELECT nix"}},
		{"- {name: ALICE.w, query: SELECT 1 AS a}\n- name: ALICE.v\n  cron: nonsense\n  query: SELECT 1 AS a\n", 1, []string{"b.yaml:2", "nonsense", "then COMMAND again"}},
		{"name: ALICE.v\nquery: |-\n  SELECT 1 AS a\nretension: 1\n", 2, []string{"b.yaml:4", `"retension"`, "retention_period"}},
		{"name: ALICE.v\n\nindexes: [[[a]]]\nquery: SELECT 1 AS a\n", 2, []string{"b.yaml:3", "indexes is neither"}},
		{"\nname: v\nquery: SELECT 1 AS a\n", 2, []string{"b.yaml:2", "write schema.v"}},
		{"\n\nquery: SELECT 1 AS a\n", 2, []string{"b.yaml:3", `"name"`}},
		{"\n- 1\n", 2, []string{"b.yaml:2", "is not a list of columns"}},
		{"name: ALICE.v\nquery: [\n", 2, []string{"b.yaml:2", "is not YAML"}},
		{good, 2, []string{"a.yaml:1", "b.yaml:1", "twice"}},
		{"\ntable: ALICE.nowhere\nretention_period: 7 days\n", 1, []string{"b.yaml:2", "does not exist"}},
	} {
		dir := s.folder(t, "a.yaml", good, "b.yaml", c.bad)
		for _, command := range [][]string{{"plan"}, {"apply", "-y"}} {
			r := s.cli(t, c.code, append(command, "-f", dir)...)
			for _, words := range c.says {
				require.Contains(t, r.stderr, strings.ReplaceAll(words, "COMMAND", command[0]), c.bad)
			}
			require.Empty(t, r.stdout)
			require.Zero(t, ask[int64](t, s.alice, `SELECT count(*) FROM mvscheduler.views`), c.bad)
		}
	}
	require.Contains(t, s.cli(t, 2, "plan", "-f", s.folder(t, "views.json", "[]")).stderr, "no *.yaml and no *.yml")
	require.Equal(t, 1, s.cli(t, 1, "plan", "-f", filepath.Join(t.TempDir(), "none")).code)
	require.Contains(t, s.cli(t, 2, "plan").stderr, "--file")
	dir := s.folder(t, "a.yaml", good)
	require.Contains(t, s.cli(t, 2, "plan", "-f", dir, "-f", filepath.Join(dir, "a.yaml")).stderr, "twice", "each of them is read")
}

func TestWhatAnotherRoleMayNotChangeIsNoPlanOfIts(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, s.owner+".v", "SELECT 1 AS a")
	bob := s.db.User(t, "bob")
	dir := s.folder(t, "v.yaml", "name: ALICE.v\npriority: 1\nquery: SELECT 1 AS a\n")
	r := mvscheduler(t, s.db, bob, "", "plan", "-f", dir)
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, "v.yaml:1")
	empty := s.folder(t, "none.yaml", "")
	require.NotContains(t, mvscheduler(t, s.db, bob, "", "plan", "-f", empty).stderr, s.owner)
	require.Contains(t, mvscheduler(t, s.db, s.owner, "", "plan", "-f", empty).stderr, "in no file, and stays as it is: "+s.owner+".v")
}
