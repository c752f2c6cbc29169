package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Roles of the demonstration. On its private server nobody needs a password.
const (
	Analyst = "analyst"             // the application: owns tables and views
	Sidecar = "mvscheduler_sidecar" // login of the sidecar
)

// roles is run once by a superuser. Before PostgreSQL 17 the sidecar's group has to be a member of each
// owner of views.
const roles = `
DO $$
BEGIN
    IF to_regrole('analyst') IS NULL THEN
        CREATE ROLE analyst LOGIN IN ROLE mvscheduler_user;
    END IF;
    IF to_regrole('mvscheduler_sidecar') IS NULL THEN
        CREATE ROLE mvscheduler_sidecar LOGIN IN ROLE mvscheduler_worker;
    END IF;
    GRANT pg_read_all_stats TO mvscheduler_worker;
    IF current_setting('server_version_num')::int >= 170000 THEN
        NULL;
    ELSIF current_setting('server_version_num')::int >= 160000 THEN
        EXECUTE 'GRANT analyst TO mvscheduler_worker WITH INHERIT TRUE, SET FALSE';
    ELSE
        GRANT analyst TO mvscheduler_worker;
    END IF;
END $$;
GRANT CREATE ON SCHEMA public TO analyst;
CREATE SCHEMA IF NOT EXISTS analytics AUTHORIZATION analyst`

const tables = `
CREATE TABLE public.airports (
    iata      text PRIMARY KEY,
    name      text NOT NULL,
    city      text NOT NULL,
    state     text NOT NULL,
    country   text NOT NULL,
    latitude  double precision NOT NULL,
    longitude double precision NOT NULL
);
COMMENT ON TABLE public.airports IS 'The airports of the sample flights.';
CREATE TABLE public.flights (
    scheduled_departure timestamp NOT NULL,
    delay_minutes       integer NOT NULL,
    distance_miles      integer NOT NULL,
    origin              text NOT NULL REFERENCES public.airports,
    destination         text NOT NULL REFERENCES public.airports
);
COMMENT ON TABLE public.flights IS 'Real US flights of 2001 (US Bureau of Transportation Statistics, public data). New ones keep arriving.';
CREATE INDEX ON public.flights (scheduled_departure)`

// SetUpRoles creates the roles and the schema of the demonstration; admin is a superuser's connection.
// Repeating it changes nothing.
func SetUpRoles(ctx context.Context, admin *pgx.Conn) error {
	if _, err := admin.Exec(ctx, roles); err != nil {
		return fmt.Errorf("create the roles of the demonstration: %w", err)
	}
	return nil
}

// Load creates the tables, and schema analytics for the views, and copies the older flights into the
// tables, as the analyst. It does nothing when the tables exist, and refuses tables of the same name that
// are not the sample. It returns how many flights there are.
func Load(ctx context.Context, analyst *pgx.Conn) (int64, error) {
	var exists, ours, schema bool
	err := analyst.QueryRow(ctx, `
SELECT to_regclass('public.flights') IS NOT NULL,
       coalesce(obj_description(to_regclass('public.flights'), 'pg_class') LIKE 'Real US flights of 2001 %', false),
       to_regnamespace('analytics') IS NOT NULL`).Scan(&exists, &ours, &schema)
	switch {
	case err != nil:
		return 0, fmt.Errorf("look for the sample: %w", err)
	case exists && !ours:
		return 0, errors.New("this database has a table public.flights that is not the sample: load the sample into another database")
	case exists:
		return Count(ctx, analyst)
	}
	flights, err := OpenFlights()
	if err != nil {
		return 0, err
	}
	history, count, err := flights.TakeBefore(historyEnd)
	if err != nil {
		return 0, err
	}
	err = pgx.BeginFunc(ctx, analyst, func(tx pgx.Tx) error {
		if !schema {
			if _, err := tx.Exec(ctx, `CREATE SCHEMA analytics`); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, tables); err != nil {
			return err
		}
		if _, err := tx.Conn().PgConn().CopyFrom(ctx, bytes.NewReader(airportsCSV), `COPY public.airports FROM STDIN WITH (FORMAT csv, HEADER)`); err != nil {
			return err
		}
		return copyFlights(ctx, tx.Conn(), history)
	})
	if err != nil {
		return 0, fmt.Errorf("load the sample: %w", err)
	}
	if _, err := analyst.Exec(ctx, `ANALYZE public.airports, public.flights`); err != nil {
		return 0, fmt.Errorf("analyze the sample: %w", err)
	}
	return int64(count), nil
}

func copyFlights(ctx context.Context, conn *pgx.Conn, lines []byte) error {
	_, err := conn.PgConn().CopyFrom(ctx, bytes.NewReader(lines), `COPY public.flights FROM STDIN WITH (FORMAT csv)`)
	return err
}

// Count is the number of flights that have arrived.
func Count(ctx context.Context, conn *pgx.Conn) (int64, error) {
	var n int64
	if err := conn.QueryRow(ctx, `SELECT count(*) FROM public.flights`).Scan(&n); err != nil {
		return 0, fmt.Errorf("count the flights: %w", err)
	}
	return n, nil
}

// Feed brings the flights that have not arrived yet, over one connection. Not safe for concurrent use.
type Feed struct {
	conn    *pgx.Conn
	flights *Flights
}

// NewFeed goes on after the flights that are there already.
func NewFeed(ctx context.Context, analyst *pgx.Conn) (*Feed, error) {
	arrived, err := Count(ctx, analyst)
	if err != nil {
		return nil, err
	}
	flights, err := OpenFlights()
	if err != nil {
		return nil, err
	}
	if _, _, err := flights.Take(int(arrived)); err != nil {
		return nil, err
	}
	return &Feed{conn: analyst, flights: flights}, nil
}

// Send inserts the next n flights in one transaction and returns how many it were: 0 = all have arrived.
func (f *Feed) Send(ctx context.Context, n int) (int, error) {
	lines, count, err := f.flights.Take(n)
	if err != nil || count == 0 {
		return 0, err
	}
	if err := copyFlights(ctx, f.conn, lines); err != nil {
		return 0, fmt.Errorf("feed flights: %w", err)
	}
	return count, nil
}

// BatchSize is how many flights Run sends at once: at five times a second, a day of traffic in ten seconds.
const BatchSize = 50

// Run sends a batch at each interval until all flights have arrived, then it returns nil; or until ctx
// ends, then its error.
func (f *Feed) Run(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		n, err := f.Send(ctx, BatchSize)
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
	}
}
