package main

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// viewColumns are the flags of create and edit: each is a column of mvscheduler.views, and only those
// that were given are written, so that the defaults are the table's own. The tag column names the
// column, cast the type of the parameter; nullable columns take "none" for NULL. What a value may be is
// decided by the table, whose errors name the choices.
type viewColumns struct {
	Interval  *string  `column:"refresh_interval" cast:"interval" null:"none" placeholder:"INTERVAL" group:"clock" help:"Target staleness, for example 5min; none = no interval: to stop the clock of a view with a cron or a calendar give --cron none or --calendar none. The table's default is 1 hour."`
	Cron      *string  `column:"cron" null:"none" placeholder:"CRON" group:"clock" help:"Five cron fields, instead of --interval and --calendar."`
	Calendar  *string  `column:"calendar" cast:"jsonb" null:"none" placeholder:"JSON" group:"clock" help:"A list of rules, instead of --interval and --cron, for example '[{\"days\": \"mon-fri\", \"from\": \"07:00\", \"to\": \"19:00\", \"every\": \"30 minutes\"}, {\"days\": \"sat,sun\", \"at\": \"06:45\"}]'."`
	Timezone  *string  `column:"timezone" env:"MVSCHEDULER_VIEW_TIMEZONE" placeholder:"ZONE" group:"clock" help:"Zone of --cron, --calendar and of the query's session. Default: TimeZone of this connection. Its variable has another name, since MVSCHEDULER_TIMEZONE is the zone in which times are shown."`
	RefreshOn *string  `column:"refresh_on" placeholder:"WHEN" choices:"schedule,upstream,manual" group:"clock" help:"schedule, upstream (after a managed view that it reads) or manual."`
	Catchup   *string  `column:"catchup" placeholder:"POLICY" choices:"latest,skip,all" group:"clock" help:"Slots missed while no sidecar ran: latest, skip or all."`
	Enabled   *bool    `column:"enabled" negatable:"" group:"clock" help:"Whether the clock runs."`
	Method    *string  `column:"method" placeholder:"METHOD" choices:"auto,full,concurrent,incremental" group:"refresh" help:"auto, full, concurrent or incremental."`
	UniqueKey []string `column:"unique_key" null:"none" placeholder:"COLUMN,..." group:"refresh" help:"Columns of the unique index that concurrent refreshes need; none = derive them from the query."`
	Index     []string `column:"indexes" null:"none" sep:"none" placeholder:"'(COLUMNS)'" group:"refresh" help:"A further index, for example '(origin, hour DESC)'. Can be repeated."`
	Owner     *string  `column:"owner" cast:"regrole" placeholder:"ROLE" group:"refresh" help:"Role that owns the view and with whose rights the query runs. Default: yours."`
	Priority  *int     `column:"priority" cast:"smallint" placeholder:"N" group:"refresh" help:"1 first ... 4 last."`
	Group     *string  `hidden:"" column:"refresh_group" null:"none" placeholder:"NAME" group:"refresh" help:"Not in this version: the server says so when it is set."`

	StatementTimeout *string `column:"statement_timeout" cast:"interval" placeholder:"INTERVAL" group:"limits" help:"Longest refresh."`
	LockTimeout      *string `column:"lock_timeout" cast:"interval" placeholder:"INTERVAL" group:"limits" help:"Longest wait for a lock at one go."`
	WorkMem          *string `column:"work_mem" null:"none" placeholder:"SIZE" group:"limits" help:"work_mem of the refresh, for example 64MB."`
	MaxAttempts      *int    `column:"max_attempts" cast:"smallint" placeholder:"N" group:"limits" help:"Tries for one slot."`
	MaxSize          *string `column:"max_size_bytes" cast:"size" null:"none" placeholder:"SIZE" group:"limits" help:"A refresh that grows the view past this fails, for example 10GB."`
	Analyze          *bool   `column:"analyze" negatable:"" group:"refresh" help:"ANALYZE after a refresh that changed much."`

	Retention      *string `column:"retention_period" cast:"interval" null:"none" placeholder:"INTERVAL" group:"retention" help:"Older data leaves the view."`
	TimeColumn     *string `column:"time_column" null:"none" placeholder:"COLUMN" group:"retention" help:"Output column that holds the time."`
	BucketWidth    *string `column:"bucket_width" cast:"interval" null:"none" placeholder:"INTERVAL" group:"retention" help:"Width of one time bucket of an incremental view."`
	ChangeTracking *string `column:"change_tracking" placeholder:"HOW" choices:"auto,trigger,counters,none" group:"retention" help:"How changes are found."`
	Lateness       *string `column:"lateness" cast:"interval" placeholder:"INTERVAL" group:"retention" help:"How far back an incremental view without tracking looks for late rows."`
	RealTime       *bool   `hidden:"" column:"real_time" negatable:"" group:"retention" help:"Not in this version: the server says so when it is set."`

	Optimize     *string `column:"optimize" placeholder:"MODE" choices:"off,advise,auto" group:"optimizer" help:"off, advise (see recommend) or auto: the sidecar refreshes at the interval that it recommends, within --min-interval and --max-interval; the clock of a view with --cron or a calendar stays as it is."`
	MinInterval  *string `column:"min_interval" cast:"interval" null:"none" placeholder:"INTERVAL" group:"optimizer" help:"Shortest interval that the optimizer may choose; none = 1 minute."`
	MaxInterval  *string `column:"max_interval" cast:"interval" null:"none" placeholder:"INTERVAL" group:"optimizer" help:"Longest interval that the optimizer may choose; none = 1 day."`
	MinRetention *string `column:"min_retention" cast:"interval" null:"none" placeholder:"INTERVAL" group:"optimizer" help:"Shortest retention that the optimizer may recommend, also of what the tables below cannot give again; none = 30 days, and nothing that is lost for good."`
	MaxRetention *string `column:"max_retention" cast:"interval" null:"none" placeholder:"INTERVAL" group:"optimizer" help:"Longest retention that the optimizer may recommend; none = any."`
}

// assignment is a column and the value that it gets.
type assignment struct {
	column string
	expr   string // of the parameter, with %s for its placeholder
	value  any
}

// given lists the columns whose flags were set.
func (c *viewColumns) given() []assignment {
	var out []assignment
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		tag, f := v.Type().Field(i).Tag, v.Field(i)
		if f.IsNil() {
			continue
		}
		a := assignment{column: tag.Get("column"), expr: "%s"}
		switch cast := tag.Get("cast"); cast {
		case "":
		case "regrole": // as text: the driver would send a number
			a.expr = "%s::text::regrole"
		case "size":
			a.expr = "pg_catalog.pg_size_bytes(%s)"
		default:
			a.expr = "%s::text::" + cast
		}
		none := tag.Get("null") == "none"
		switch value := f.Interface().(type) {
		case *string:
			if !none || *value != "none" {
				a.value = *value
			}
		case *int:
			a.value = strconv.Itoa(*value)
		case *bool:
			a.value = *value
		case []string:
			if !none || len(value) != 1 || value[0] != "none" && value[0] != "" {
				a.value = value
			}
		}
		out = append(out, a)
	}
	return out
}

// insertView is the INSERT for a new view with the given columns and nothing else.
func insertView(name, query string, columns []assignment) (sql string, args []any) {
	names := []string{"name", "query"}
	values := []string{"$1", "$2"}
	args = []any{name, query}
	for _, c := range columns {
		args = append(args, c.value)
		names = append(names, pgx.Identifier{c.column}.Sanitize())
		values = append(values, fmt.Sprintf(c.expr, fmt.Sprintf("$%d", len(args))))
	}
	return fmt.Sprintf("INSERT INTO mvscheduler.views (%s)\nVALUES (%s)\nRETURNING id, name",
		strings.Join(names, ", "), strings.Join(values, ", ")), args
}

// updateView is the UPDATE of the given columns of one view.
func updateView(id int64, columns []assignment) (sql string, args []any) {
	args = []any{id}
	var sets []string
	for _, c := range columns {
		args = append(args, c.value)
		sets = append(sets, fmt.Sprintf("%s = "+c.expr, pgx.Identifier{c.column}.Sanitize(), fmt.Sprintf("$%d", len(args))))
	}
	return fmt.Sprintf("UPDATE mvscheduler.views\n   SET %s\n WHERE id = $1\nRETURNING name",
		strings.Join(sets, ",\n       ")), args
}
