package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
)

// querySource is where create and edit take a query from.
type querySource struct {
	Query *string `short:"q" column:"query" placeholder:"SQL" xor:"query" group:"query" help:"The defining SELECT."`
	File  *string `short:"f" column:"query" placeholder:"PATH" xor:"query" group:"query" help:"Read the query from a file; - is stdin."`
}

// maxQuery is more than the catalog takes, so that its error is the one that is seen.
const maxQuery = 11 << 20

// read returns the query, and false when none was given.
func (s querySource) read(a *app) (query string, given bool, err error) {
	switch {
	case s.Query != nil:
		return *s.Query, true, nil
	case s.File == nil:
		return "", false, nil
	case *s.File == "-":
		query, err = readQuery(a.stdin)
	default:
		var f *os.File
		if f, err = os.Open(*s.File); err == nil {
			query, err = readQuery(f)
			_ = f.Close()
		}
	}
	if err != nil {
		return "", true, fmt.Errorf("read the query: %w", err)
	}
	return query, true, nil
}

func readQuery(r io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxQuery))
	return string(text), err
}

type createCmd struct {
	Name string `arg:"" help:"schema.view; unqualified = the first schema of the search_path."`
	querySource
	viewColumns
}

func (createCmd) Help() string {
	return `Registers a query: inserts one row into mvscheduler.views, which creates the (empty) materialized view in the same transaction. The sidecar fills it at once. A wrong query is an error and leaves nothing behind.

The query comes from --query, from --file, or from stdin. Flags that are not given leave the column at the table's default.

Examples:

  mvscheduler create analytics.daily --interval 5min --query 'SELECT day, count(*) FROM sales GROUP BY day'
  mvscheduler create analytics.worst -f worst.sql --cron '30 6 * * 1-5' --timezone Europe/Berlin
  mvscheduler create analytics.by_day --refresh-on upstream --method concurrent < by_day.sql

The same in SQL: INSERT INTO mvscheduler.views (name, query, refresh_interval) VALUES (...)
The zone of the view can be set with MVSCHEDULER_VIEW_TIMEZONE; MVSCHEDULER_TIMEZONE is the zone in which times are shown.

` + exitCodesHelp
}

// created is what create prints for machines.
type created struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

// Run inserts the row.
func (c *createCmd) Run(ctx context.Context, a *app) error {
	a.sayVariables()
	query, given, err := c.read(a)
	if err != nil {
		return err
	}
	if !given {
		if a.inTerminal {
			return usagef("no query: give --query, --file, or pipe it in")
		}
		if query, err = readQuery(a.stdin); err != nil {
			return fmt.Errorf("read the query: %w", err)
		}
		if strings.TrimSpace(query) == "" {
			return usagef("no query: give --query, --file, or pipe it in")
		}
	}
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		var made created
		sql, args := insertView(c.Name, query, c.given())
		err := a.inPath(ctx, conn, func() error { return conn.QueryRow(ctx, sql, args...).Scan(&made.ID, &made.Name) })
		if err != nil {
			return fmt.Errorf("create view %q: %w", c.Name, &queryError{query, err})
		}
		if a.Output != "table" {
			return a.emitData(made)
		}
		a.say("created %s\n  see: mvscheduler show %s", made.Name, shellQuote(made.Name))
		return nil
	})
}
