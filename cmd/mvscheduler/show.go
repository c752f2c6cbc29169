package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/refresh"
)

type showCmd struct {
	zoned
	Name string `arg:"" complete:"view" help:"The view."`
	Runs int    `short:"n" default:"10" help:"So many of its last runs."`
}

func (showCmd) Help() string {
	return `Everything about one view: state and the next step, schedule in words, settings, query, its last runs, and the tries of those that had trouble.

Examples:

  mvscheduler show analytics.hourly_delays
  mvscheduler show analytics.hourly_delays -o yaml

` + exitCodesHelp
}

// viewReport is all that show knows.
type viewReport struct {
	Status   catalog.ViewStatus      `json:"status"`
	View     *catalog.View           `json:"view"` // nil when the caller may not read the catalog row
	Runs     []catalog.RunRecord     `json:"runs"`
	Attempts []catalog.AttemptRecord `json:"attempts"`
	Method   *methodReport           `json:"method"` // nil before the first refresh
}

// methodReport is why the method in force is in force, and what the choice of the next one goes by.
type methodReport struct {
	Method        string           `json:"method"`
	Reason        string           `json:"reason"` // of the last refresh
	Full          methodCost       `json:"full"`
	Concurrent    methodCost       `json:"concurrent"`
	ChangeRatio   *float64         `json:"change_ratio"`   // of the last concurrent refresh; nil = unknown
	ReadersWaited int              `json:"readers_waited"` // full refreshes, of the last 20, for which readers waited
	Storage       *catalog.Storage `json:"storage"`        // nil when the view is gone
	Dead          *float64         `json:"dead_ratio"`     // dead rows to live ones; nil = unknown
}

// methodCost is the median of the last refreshes by a method.
type methodCost struct {
	Runs     int              `json:"runs"`
	Took     *catalog.Seconds `json:"took_seconds"` // nil = unknown
	WALBytes *int64           `json:"wal_bytes"`
}

func readMethod(ctx context.Context, conn *pgx.Conn, s catalog.ViewStatus) (*methodReport, error) {
	if s.Method == refresh.Incremental {
		return nil, nil // what it cost before it was
	}
	past, err := catalog.MeasuredRuns(ctx, conn, s.ID)
	if err != nil || len(past) == 0 {
		return nil, err
	}
	cost := func(c refresh.Cost) methodCost {
		if c.Runs == 0 {
			return methodCost{}
		}
		return methodCost{Runs: c.Runs, Took: new(catalog.Seconds(c.Took.Seconds())), WALBytes: &c.WALBytes}
	}
	e := refresh.Weigh(past)
	m := &methodReport{
		Method: past[0].Method, Reason: past[0].Reason, Full: cost(e.Full), Concurrent: cost(e.Concurrent),
		ChangeRatio: e.ChangeRatio, ReadersWaited: e.ReadersWaited,
	}
	if m.Storage, err = catalog.StorageOf(ctx, conn, s.Name); err != nil {
		return nil, err
	}
	if m.Storage != nil && m.Storage.LiveRows > 0 {
		m.Dead = new(float64(m.Storage.DeadRows) / float64(m.Storage.LiveRows))
	}
	return m, nil
}

// words are the evidence in one line.
func (m methodReport) words() string {
	var words []string
	for _, c := range []struct {
		method string
		cost   methodCost
	}{{refresh.Full, m.Full}, {refresh.Concurrent, m.Concurrent}} {
		if c.cost.Runs > 0 {
			words = append(words, fmt.Sprintf("%s %s and %s of WAL", c.method, c.cost.Took.Duration().Round(100*time.Microsecond), bytesOf(c.cost.WALBytes)))
		}
	}
	if m.ChangeRatio != nil {
		words = append(words, fmt.Sprintf("%.0f %% of the rows changed", 100**m.ChangeRatio))
	}
	if m.ReadersWaited > 0 {
		words = append(words, fmt.Sprintf("readers waited for %d of the full ones", m.ReadersWaited))
	}
	if m.Storage != nil {
		words = append(words, fmt.Sprintf("%d dead rows beside %d live ones", m.Storage.DeadRows, m.Storage.LiveRows))
	}
	return strings.Join(words, ", ")
}

// Run prints the report.
func (c *showCmd) Run(ctx context.Context, a *app) error {
	if err := c.apply(a); err != nil {
		return err
	}
	if c.Runs < 1 {
		return usagef("--runs must be at least 1")
	}
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		id, err := a.find(ctx, conn, c.Name)
		if err != nil {
			return err
		}
		var r viewReport
		if r.Status, err = catalog.StatusByID(ctx, conn, id); err != nil {
			return err
		}
		if r.View, err = catalog.ViewByID(ctx, conn, id); err != nil {
			return err
		}
		if r.Runs, err = catalog.Runs(ctx, conn, catalog.RunFilter{ViewID: id, Limit: c.Runs}); err != nil {
			return err
		}
		ids := make([]int64, 0, len(r.Runs))
		for _, run := range r.Runs {
			ids = append(ids, run.ID)
		}
		if r.Attempts, err = catalog.Attempts(ctx, conn, ids); err != nil {
			return err
		}
		if r.Method, err = readMethod(ctx, conn, r.Status); err != nil {
			return err
		}
		if a.Output != "table" {
			return a.emitData(r)
		}
		_, err = fmt.Fprint(a.stdout, a.showText(r))
		return err
	})
}

func (a *app) showText(r viewReport) string {
	s, now := r.Status, r.Status.AsOf
	var b strings.Builder
	line := func(key, value string) {
		if value != "" && value != nothing {
			fmt.Fprintf(&b, "  %-14s %s\n", key, sanitize(value))
		}
	}
	coloured := func(state string) string {
		if c := stateColours(state); a.colour && c != nil {
			return c.Sprint(mark(state))
		}
		return mark(state)
	}

	fmt.Fprintf(&b, "%s   %s   %s\n", sanitize(s.Name), coloured(s.Freshness), coloured(s.Activity))
	line("reason", s.Reason)
	line("next step", nextStep(s))
	line("waits for", textOf(s.WaitingFor))
	line("owner", s.Owner)
	line("refreshed", enabledSchedule(s))
	line("lag / target", spanOf(s.Lag)+" / "+spanOf(s.Target))
	line("data as of", a.full(s.DataAsOf, now))
	line("last refresh", a.full(s.LastRefreshAt, now))
	line("it took", spanOf(s.LastDuration))
	line("next refresh", a.full(s.NextRefreshAt, now))
	line("or earlier", earlier(s))
	line("method", s.Method)
	if m := r.Method; m != nil {
		line("why", m.Reason)
		line("measured", m.words())
	}
	line("rows", countOf(s.RowsEstimate))
	line("size", bytesOf(s.SizeBytes))
	if s.KeptPartitions > 0 {
		line("kept aside", fmt.Sprintf("%s, restorable by: mvscheduler restore %s", plural(s.KeptPartitions, "partition"), shellQuote(s.Name)))
	}
	line("reads", strings.Join(s.Upstream, ", "))
	if s.ConsecutiveFailures > 0 {
		line("failures", fmt.Sprintf("%s in a row", plural(int64(s.ConsecutiveFailures), "failed attempt")))
		line("last error", strings.TrimSpace("["+textOf(s.LastSQLState)+"] "+textOf(s.LastError)))
	}

	if v := r.View; v != nil {
		b.WriteString("\nSettings\n")
		line("method", v.Method)
		line("time column", textOf(v.TimeColumn))
		line("bucket width", textOf(v.BucketWidth))
		line("time zone", cutZone(v))
		line("lateness", latenessOf(v))
		line("tracking", catalog.TrackingWords(v.ChangeTracking, v.Tracking, v.TrackingReason))
		kept := textOf(v.RetentionPeriod)
		if s.TunedRetention != nil {
			kept = *s.TunedRetention + " (tuned from " + kept + ")"
		}
		line("kept for", kept)
		line("unique key", strings.Join(v.UniqueKey, ", "))
		line("indexes", strings.Join(v.Indexes, "; "))
		line("catch-up", v.Catchup)
		line("priority", fmt.Sprintf("%d (1 first, 4 last)", v.Priority))
		line("limits", limitsWords(v))
		line("optimize", optimizeWords(v))
		line("paused", pauseWords(a, v, now))
		line("created", a.full(&v.CreatedAt, now))
		changed := a.full(&v.UpdatedAt, now)
		if v.UpdatedBy != nil {
			changed += " by " + *v.UpdatedBy
		}
		line("changed", changed)
		fmt.Fprintf(&b, "\nQuery (search_path %s)\n%s\n", sanitize(v.SearchPath), indent(sanitizeLines(strings.TrimSpace(v.Query)), "  "))
	} else {
		b.WriteString("\nSettings and query: only its owner may read them.\n")
	}

	if len(r.Runs) == 0 {
		b.WriteString("\nIt has not run yet.\n")
		return b.String()
	}
	columns := a.runColumns(r.Runs)
	columns = append(columns[:1], columns[2:]...) // the view is the title
	fmt.Fprintf(&b, "\nLast runs\n%s\n", indent(renderTable(a, r.Runs, columns), "  "))
	if troubled := troubledAttempts(r.Attempts); len(troubled) > 0 {
		fmt.Fprintf(&b, "\nTries that had trouble\n%s\n", indent(renderTable(a, troubled, a.attemptColumns(now)), "  "))
	}
	return b.String()
}

func (a *app) attemptColumns(now time.Time) []column[catalog.AttemptRecord] {
	return []column[catalog.AttemptRecord]{
		{title: "run", cell: func(t catalog.AttemptRecord) string { return strconv.FormatInt(t.RunID, 10) }, right: true},
		{title: "try", cell: func(t catalog.AttemptRecord) string { return strconv.Itoa(t.Attempt) }, right: true},
		{title: "outcome", cell: func(t catalog.AttemptRecord) string { return mark(t.Outcome) }, state: func(t catalog.AttemptRecord) text.Colors { return stateColours(t.Outcome) }},
		{title: "started", zone: "(" + a.zoneName(now) + ")", cell: func(t catalog.AttemptRecord) string { return a.moment(&t.StartedAt, now) }},
		{title: "pid", cell: func(t catalog.AttemptRecord) string { return strconv.FormatInt(int64(t.BackendPID), 10) }, right: true},
		{title: "worker", cell: func(t catalog.AttemptRecord) string { return t.Worker }},
		{title: "error", cell: func(t catalog.AttemptRecord) string {
			if t.SQLState != nil {
				return "[" + *t.SQLState + "] " + textOf(t.Error)
			}
			return textOf(t.Error)
		}, wrap: true},
	}
}

func troubledAttempts(all []catalog.AttemptRecord) []catalog.AttemptRecord {
	var troubled []catalog.AttemptRecord
	for _, t := range all {
		if t.Outcome != "succeeded" && t.Outcome != "running" {
			troubled = append(troubled, t)
		}
	}
	return troubled
}

// cutZone is the zone in which an incremental view is cut; those of clocks are told with them.
func cutZone(v *catalog.View) string {
	if v.Method != "incremental" {
		return ""
	}
	return v.Timezone
}

// latenessOf is how far back late rows are looked for, where that is asked.
func latenessOf(v *catalog.View) string {
	if v.Method != "incremental" || v.ChangeTracking != "none" {
		return ""
	}
	return v.Lateness
}

func limitsWords(v *catalog.View) string {
	words := []string{"statement " + v.StatementTimeout, "lock " + v.LockTimeout, plural(int64(v.MaxAttempts), "attempt")}
	if v.WorkMem != nil {
		words = append(words, "work_mem "+*v.WorkMem)
	}
	if v.MaxSizeBytes != nil {
		words = append(words, "size "+bytesOf(v.MaxSizeBytes))
	}
	return strings.Join(words, ", ")
}

// optimizeWords says what the optimizer may do, and within which bounds.
func optimizeWords(v *catalog.View) string {
	words := []string{v.Optimize}
	for _, bound := range []struct {
		name  string
		value *string
	}{{"min_interval", v.MinInterval}, {"max_interval", v.MaxInterval}, {"min_retention", v.MinRetention}, {"max_retention", v.MaxRetention}} {
		if bound.value != nil {
			words = append(words, bound.name+" "+*bound.value)
		}
	}
	return strings.Join(words, ", ")
}

func pauseWords(a *app, v *catalog.View, now time.Time) string {
	if v.PausedAt == nil || v.PausedUntil != nil && v.PausedUntil.Before(now) {
		return ""
	}
	words := "since " + a.full(v.PausedAt, now)
	if v.PausedUntil != nil {
		words += ", until " + a.full(v.PausedUntil, now)
	}
	if v.PauseReason != nil {
		words += ": " + *v.PauseReason
	}
	return words
}
