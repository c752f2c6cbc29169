package doctor

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/internal/words"
)

// Command is a command of another scheduler that refreshes a materialized view.
type Command struct {
	Scheduler string `json:"scheduler"` // pg_cron or pg_timetable
	Job       string `json:"job"`       // its name or number there
	Schedule  string `json:"schedule"`
	Owner     string `json:"owner"` // role that it runs as
	Text      string `json:"command"`
	Active    bool   `json:"active"`
	// View that it refreshes, as it is written there; it may be unqualified.
	View string `json:"view"`
	// Concurrently says whether the command has the word.
	Concurrently bool `json:"concurrently"`
	// Stop is the statement that stops it; empty when the command does more than to refresh, which would stop too.
	Stop string `json:"stop"`
	// less is the statement that leaves less of the command, with %s for what is left as a literal, look the one that shows the command.
	less, look string
}

var refreshes = regexp.MustCompile(`(?is)\brefresh\s+materialized\s+view\s+(concurrently\s+)?((?:"(?:[^"]|"")+"|[\w$]+)(?:\s*\.\s*(?:"(?:[^"]|"")+"|[\w$]+))?)(?:\s+with\s+data\b)?`)

var (
	// comments finds what a command only says: $1 is a string or a quoted name, which stays.
	comments = regexp.MustCompile(`(?s)('(?:[^']|'')*'|"(?:[^"]|"")*")|--[^\n]*|/\*.*?\*/`)
	// dots finds the white space around the dot of a qualified name: $1 is a quoted name, $2 the dot.
	dots = regexp.MustCompile(`("(?:[^"]|"")*")|\s*(\.)\s*`)
	// ends finds the semicolons: $1 is a string or a quoted name.
	ends = regexp.MustCompile(`('(?:[^']|'')*'|"(?:[^"]|"")*")|;`)
	// odd is in texts of which the statements are not told apart here: strings between dollars or with escapes.
	odd = regexp.MustCompile(`\$\w*\$|\\`)
)

// schedulerTables are the tables of other schedulers. One is trusted when it is a plain table of a superuser's or
// our own, in a schema that nobody else can rename: who may create schemas can make one of these names, and reading it would run
// the code of its owner.
const schedulerTables = `
SELECT c.oid, n.nspname AS scheduler, format('%I.%I', n.nspname, c.relname) AS name,
       coalesce(nullif(mvscheduler.renamer(n.oid), current_user), r.rolname) AS owner,
       c.relkind = 'r' AND (r.rolsuper OR r.rolname = current_user) AND coalesce(mvscheduler.renamer(n.oid), current_user) = current_user AS trusted
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_roles AS r ON r.oid = c.relowner
 WHERE (n.nspname, c.relname) IN (('cron', 'job'), ('timetable', 'task'), ('timetable', 'chain'))`

// RefreshCommands finds the commands of pg_cron and pg_timetable that refresh materialized views of this
// database, one for each REFRESH in them.
func RefreshCommands(ctx context.Context, conn *pgx.Conn) ([]Command, error) {
	var cron, timetable bool
	err := conn.QueryRow(ctx, `
SELECT coalesce(bool_and(has_table_privilege(t.oid, 'SELECT')) FILTER (WHERE t.scheduler = 'cron'), false),
       coalesce(bool_and(has_table_privilege(t.oid, 'SELECT')) FILTER (WHERE t.scheduler = 'timetable') AND count(*) FILTER (WHERE t.scheduler = 'timetable') = 2, false)
         AND 5 = (SELECT count(*) FROM pg_attribute AS a WHERE a.attrelid = to_regclass('timetable.task') AND a.attname IN ('task_id', 'kind', 'database_connection', 'run_as', 'task_order'))
  FROM (`+schedulerTables+`) AS t
 WHERE t.trusted`).Scan(&cron, &timetable)
	if err != nil {
		return nil, fmt.Errorf("look for other schedulers: %w", err)
	}
	var found []Command
	if cron {
		jobs, err := commandsOf(ctx, conn, `
SELECT 'pg_cron', coalesce(nullif(j.jobname, ''), j.jobid::text), j.schedule, j.username::text, j.command, j.active, format('SELECT cron.unschedule(%s)', j.jobid),
       format('SELECT cron.alter_job(%s, command => %%s)', j.jobid), format('SELECT command FROM cron.job WHERE jobid = %s', j.jobid)
  FROM cron.job AS j
 WHERE j.database = current_database()
 ORDER BY j.jobid`)
		if err != nil {
			return nil, fmt.Errorf("read cron.job: %w", err)
		}
		found = append(found, jobs...)
	}
	if timetable {
		jobs, err := commandsOf(ctx, conn, `
SELECT 'pg_timetable', c.chain_name, coalesce(c.run_at::text, ''), coalesce(t.run_as, ''), t.command, c.live,
       CASE WHEN (SELECT count(*) FROM timetable.task AS o WHERE o.chain_id = c.chain_id) = 1 THEN format('UPDATE timetable.chain SET live = false WHERE chain_id = %s', c.chain_id)
            ELSE format('DELETE FROM timetable.task WHERE task_id = %s', t.task_id) END,
       format('UPDATE timetable.task SET command = %%s WHERE task_id = %s', t.task_id), format('SELECT command FROM timetable.task WHERE task_id = %s', t.task_id)
  FROM timetable.task AS t
  JOIN timetable.chain AS c ON c.chain_id = t.chain_id
 WHERE t.kind = 'SQL'
   AND t.database_connection IS NULL
 ORDER BY c.chain_id, t.task_order`)
		if err != nil {
			return nil, fmt.Errorf("read timetable.task: %w", err)
		}
		found = append(found, jobs...)
	}
	return found, nil
}

func commandsOf(ctx context.Context, conn *pgx.Conn, sql string) ([]Command, error) {
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	jobs, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Command, error) {
		var c Command
		return c, row.Scan(&c.Scheduler, &c.Job, &c.Schedule, &c.Owner, &c.Text, &c.Active, &c.Stop, &c.less, &c.look)
	})
	if err != nil {
		return nil, err
	}
	return eachRefresh(jobs), nil
}

// eachRefresh finds what jobs refresh: one command for each view.
func eachRefresh(jobs []Command) (found []Command) {
	for _, job := range jobs {
		text := comments.ReplaceAllString(job.Text, "$1 ")
		if strings.Trim(refreshes.ReplaceAllString(text, ""), "; \t\r\n") != "" {
			job.Stop = ""
		}
		for _, m := range refreshes.FindAllStringSubmatch(text, -1) {
			one := job
			one.Concurrently = m[1] != ""
			one.View = dots.ReplaceAllString(m[2], "$1$2")
			found = append(found, one)
		}
	}
	return found
}

// without leaves out of a command the statements that refresh a view of ours; false where one cannot be told from others.
func without(text string, ours func(view string) bool) (rest string, told bool) {
	var left []string
	begin := 0
	for _, m := range append(ends.FindAllStringSubmatchIndex(text, -1), []int{len(text), len(text), -1, -1}) {
		if m[2] >= 0 {
			continue
		}
		statement := strings.TrimSpace(text[begin:m[0]])
		begin = m[1]
		refresh := refreshes.FindStringSubmatch(statement)
		switch {
		case statement == "":
		case refresh == nil || !ours(dots.ReplaceAllString(refresh[2], "$1$2")):
			left = append(left, statement)
		case refresh[0] != statement:
			return "", false
		}
	}
	return strings.Join(left, "; "), true
}

// fix stops what a command does to views of ours, whatever else it does goes on; and says what it could not.
func (c Command) fix(ours func(view string) bool) (sql, why string) {
	text := comments.ReplaceAllString(c.Text, "$1 ")
	rest, told := without(text, ours)
	switch {
	case !told, c.Stop == "" && odd.MatchString(text):
		return c.look, "; the command is more than statements one after another, so only its author can take the REFRESH out, and the fix shows it"
	case rest == "":
		return c.Stop, ""
	}
	return fmt.Sprintf(c.less, "'"+strings.ReplaceAll(rest, "'", "''")+"'"), ""
}

// refreshedBy says whether an active command refreshes a view; an unqualified name may be any schema's.
func refreshedBy(commands []Command, qualified string) bool {
	for _, c := range commands {
		if c.Active && sameView(c.View, qualified) {
			return true
		}
	}
	return false
}

// sameView compares a name as somebody wrote it with one that format('%I.%I') made.
func sameView(written, qualified string) bool {
	fold := func(name string) string {
		var b strings.Builder
		quoted := false
		for _, r := range name {
			if r == '"' {
				quoted = !quoted
				continue
			}
			if !quoted {
				r = []rune(strings.ToLower(string(r)))[0]
			}
			b.WriteRune(r)
		}
		return b.String()
	}
	w, q := fold(written), fold(qualified)
	return w == q || !strings.Contains(w, ".") && strings.HasSuffix(q, "."+w)
}

// hiddenSchedulers finds other catalogs of mvscheduler, and says where the jobs of a pg_cron are that cannot be
// seen from here.
func hiddenSchedulers(ctx context.Context, conn *pgx.Conn) ([]Finding, error) {
	found, err := rowsOf(ctx, conn, `
SELECT 'warning', n.nspname::text, format('there is a second catalog of mvscheduler in schema %1$I: a sidecar of it would refresh the same views. SELECT name FROM %1$I.view_state; an administrator drops it when nobody needs it', n.nspname),
       format('DROP SCHEMA %I CASCADE', n.nspname)
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.relname = 'view_state' AND c.relkind = 'r' AND n.nspname <> 'mvscheduler' AND pg_get_userbyid(c.relowner) = 'mvscheduler_owner'
   AND EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'query_relation')
 ORDER BY 2`)
	if err != nil {
		return nil, err
	}
	strange, err := rowsOf(ctx, conn, `
SELECT 'note', t.name, format('it belongs to %s, whose code would run in your session: it was not looked at', t.owner), t.owner
  FROM (`+schedulerTables+`) AS t
 WHERE NOT t.trusted
 ORDER BY 2`)
	if err != nil {
		return nil, err
	}
	for i, f := range strange {
		strange[i].Fix = "PGUSER=" + words.ShellQuote(f.Fix) + " mvscheduler doctor"
	}
	// Without the right to see the setting there is no row; current_setting would be an error.
	elsewhere, err := rowsOf(ctx, conn, `
SELECT 'note', 'pg_cron', format('it keeps its jobs in database %s, which cannot be seen from here', home.setting), home.setting
  FROM pg_settings AS home
 WHERE home.name = 'cron.database_name'
   AND home.setting <> current_database()`)
	if err != nil {
		return nil, err
	}
	for i, f := range elsewhere {
		elsewhere[i].Fix = "psql -d " + words.ShellQuote(f.Fix) + " -c 'SELECT jobid, database, schedule, command FROM cron.job'"
	}
	return slices.Concat(found, strange, elsewhere), nil
}

// otherSchedulers finds commands elsewhere that refresh what mvscheduler refreshes.
func otherSchedulers(ctx context.Context, conn *pgx.Conn, _ server) ([]Finding, error) {
	found, err := hiddenSchedulers(ctx, conn)
	if err != nil {
		return nil, err
	}
	commands, err := RefreshCommands(ctx, conn)
	if err != nil || len(commands) == 0 {
		return found, err
	}
	rows, err := conn.Query(ctx, `SELECT name FROM mvscheduler.visible_views ORDER BY name`)
	if err != nil {
		return nil, err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	ours := func(view string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return sameView(view, name) })
	}
	for _, name := range names {
		for _, c := range commands {
			if c.Active && sameView(c.View, name) {
				fix, why := c.fix(ours) // the same for each view of one command
				found = append(found, Finding{
					Severity: Warning, Subject: name,
					What: fmt.Sprintf("%s refreshes it too (job %s, %s, as %s): the two wait for each other's locks%s", c.Scheduler, c.Job, c.Schedule, c.Owner, why),
					Fix:  fix,
				})
			}
		}
	}
	return found, nil
}

var seconds = regexp.MustCompile(`(?i)^\s*([0-9]+)\s+seconds?\s*$`)

// Interval is the schedule of a pg_cron job that says "N seconds".
func (c Command) Interval() (string, bool) {
	m := seconds.FindStringSubmatch(c.Schedule)
	if m == nil {
		return "", false
	}
	return m[1] + " seconds", true
}

// Cron is the schedule of a pg_cron job as five fields: its names for common schedules are spelt out, and
// its "$", the last day of a month, has no equal in a crontab and is left as it is.
func (c Command) Cron() string {
	switch strings.ToLower(strings.TrimSpace(c.Schedule)) {
	case "@yearly", "@annually":
		return "0 0 1 1 *"
	case "@monthly":
		return "0 0 1 * *"
	case "@weekly":
		return "0 0 * * 0"
	case "@daily", "@midnight":
		return "0 0 * * *"
	case "@hourly":
		return "0 * * * *"
	}
	return c.Schedule
}
