package refresh

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Activity watches when the sessions of the database were last idle, since what a session has committed
// reaches the counters late. Safe for concurrent use; the zero value is ready, and knows more the longer
// it watches.
//
// A session reports its counters when it is idle outside a transaction (pgstat_report_stat in
// src/backend/utils/activity/pgstat.c): at once when it has not for a second, unless another session
// holds the entry at that very moment; by force when something has waited for 60 s
// (PGSTAT_MAX_INTERVAL); and by force after 10 s of being idle (PGSTAT_IDLE_INTERVAL). It does not while
// a transaction is open, so COMMIT AND CHAIN hides what it commits for as long as it goes on, and
// neither xact_start nor query_start tells since when. A session that ends reports first and vanishes
// then.
//
// An idle session does neither while it is in a transaction that no statement has opened (a Describe does), nor
// while it cannot send its answer, since nobody reads it.
//
// A WAL sender that streams to a subscriber is active for ever and writes nothing any more, but what it wrote
// before may stay hidden for as long: see [Horizon.Streams]. Timescale's scheduler writes nothing; its jobs run in
// workers of their own. A session that applies a subscription reports by force when nothing has come from the publisher
// for a second, or wal_writer_delay, which is ten at most (LogicalRepApplyLoop). The launcher of pg_cron, which never
// reports, writes the history of its jobs alone, which matters where a view reads it or a trigger or a rule does
// something with it.
type Activity struct {
	mu       sync.Mutex
	sessions map[backend]memory
	last     Horizon
	lastRead time.Time // by the clock of this process
}

// memory is what is known of a session.
type memory struct {
	reported time.Time   // what it committed before this is in the counters; zero = nothing is known
	idle     []time.Time // instants at which it was seen to have become idle, in order
}

const (
	// reportedWithin is PGSTAT_MAX_INTERVAL.
	reportedWithin = time.Minute
	// idleForGood is PGSTAT_IDLE_INTERVAL and some room for a slow machine.
	idleForGood = 15 * time.Second
	// idleApart thins out what is remembered of a session.
	idleApart = 5 * time.Second
)

type backend struct {
	PID   int32
	Start time.Time
}

// session is one backend of the database, as pg_stat_activity shows it.
type session struct {
	backend
	State       string    // idle, active, ...; empty when it is not shown
	StateChange time.Time // start of the state
	XactStart   *time.Time
	Reading     bool // waits for its client, or its publisher, to say something
	Streams     bool // a WAL sender that streams
	Ours        bool // a session of a sidecar for runs, which reports as soon as it is idle
}

// Horizon is an instant of which the counters are known to tell everything: what was committed before it
// is in them.
type Horizon struct {
	Now     time.Time // the database's clock
	At      time.Time // zero when Unknown says why there is none
	Unknown string
	// Streams is when the last of the WAL senders began that stream now; zero = none does. What such a session
	// committed before is not sure to be in the counters, but in every snapshot since.
	Streams time.Time
}

// Horizon looks at the sessions of the database now. The counters have to be read afterwards.
func (a *Activity) Horizon(ctx context.Context, q querier) (Horizon, error) {
	read := time.Now()
	rows, err := q.Query(ctx, `SELECT clock_timestamp(), pg_has_role('pg_read_all_stats', 'USAGE')`)
	if err != nil {
		return Horizon{}, fmt.Errorf("look at the sessions of the database: %w", err)
	}
	seen, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[struct {
		Now     time.Time
		Allowed bool
	}])
	if err != nil {
		return Horizon{}, fmt.Errorf("look at the sessions of the database: %w", err)
	}
	if !seen.Allowed {
		return Horizon{Now: seen.Now, Unknown: "what other sessions do cannot be seen; a DBA runs: GRANT pg_read_all_stats TO mvscheduler_worker"}, nil
	}
	rows, err = q.Query(ctx, `
SELECT a.pid, a.backend_start, coalesce(a.state, ''), coalesce(a.state_change, a.backend_start), a.xact_start,
       a.wait_event IS NOT DISTINCT FROM 'ClientRead'
         OR a.backend_type IN ('logical replication worker', 'logical replication apply worker')
            AND EXISTS (SELECT FROM pg_stat_subscription AS s WHERE s.pid = a.pid AND s.relid IS NULL AND s.last_msg_receipt_time < clock_timestamp() - interval '11 seconds'),
       EXISTS (SELECT FROM pg_stat_replication AS w WHERE w.pid = a.pid AND w.state IN ('catchup', 'streaming')),
       coalesce(a.application_name = 'mvscheduler run' AND NOT r.rolsuper AND pg_has_role(a.usesysid, 'mvscheduler_worker', 'MEMBER'), false)
  FROM pg_stat_activity AS a
  LEFT JOIN pg_roles AS r ON r.oid = a.usesysid
 WHERE a.datname = current_database()
   AND a.pid <> pg_backend_pid()
   AND a.backend_type NOT IN ('autovacuum worker', 'parallel worker', 'TimescaleDB Background Worker Scheduler')
   AND NOT (a.backend_type = 'pg_cron launcher'
            AND NOT EXISTS (SELECT
                              FROM pg_class AS c
                              JOIN pg_namespace AS n ON n.oid = c.relnamespace
                              JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.classid IN ('pg_rewrite'::regclass, 'pg_trigger'::regclass)
                             WHERE n.nspname = 'cron' AND c.relname = 'job_run_details'))
   AND NOT (a.application_name = 'mvscheduler control' AND NOT coalesce(r.rolsuper, true) AND pg_has_role(a.usesysid, 'mvscheduler_worker', 'MEMBER'))`)
	if err != nil {
		return Horizon{}, fmt.Errorf("look at the sessions of the database: %w", err)
	}
	sessions, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (session, error) {
		var s session
		return s, row.Scan(&s.PID, &s.Start, &s.State, &s.StateChange, &s.XactStart, &s.Reading, &s.Streams, &s.Ours)
	})
	if err != nil {
		return Horizon{}, fmt.Errorf("look at the sessions of the database: %w", err)
	}
	h := Horizon{Now: seen.Now}
	for _, s := range sessions {
		if s.Streams && s.StateChange.After(h.Streams) {
			h.Streams = s.StateChange
		}
	}
	h.At = a.look(seen.Now, slices.DeleteFunc(sessions, func(s session) bool { return s.Streams }))
	a.keep(h, read)
	return h, nil
}

// keep makes a horizon the last, unless an older one proves more. While a session is busy the horizon stands still.
func (a *Activity) keep(h Horizon, read time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !h.At.Before(a.last.At) {
		a.last, a.lastRead = h, read
	}
}

// Recent is the last horizon when it is no older than age, and a new one otherwise: what was in the
// counters stays there.
func (a *Activity) Recent(ctx context.Context, q querier, age time.Duration) (Horizon, error) {
	a.mu.Lock()
	last, lastRead := a.last, a.lastRead
	a.mu.Unlock()
	if past := time.Since(lastRead); !lastRead.IsZero() && past < age {
		last.Now = last.Now.Add(past)
		return last, nil
	}
	return a.Horizon(ctx, q)
}

// look takes note of the sessions, which were read after the instant now, and returns the horizon.
func (a *Activity) look(now time.Time, sessions []session) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	horizon := now
	known := make(map[backend]memory, len(sessions))
	for _, s := range sessions {
		m := a.sessions[s.backend].after(s, now)
		known[s.backend] = m
		if m.reported.Before(horizon) {
			horizon = m.reported
		}
	}
	a.sessions = known
	return horizon
}

// after is what is known once the session was seen.
func (m memory) after(s session, now time.Time) memory {
	at := s.Start // before its start it has committed nothing
	switch {
	case s.Ours && s.State == "idle":
		at = now
	case s.Ours && s.XactStart != nil:
		at = *s.XactStart
	case s.Ours:
		at = s.StateChange
	case s.State == "idle" && s.Reading && s.XactStart == nil && now.Sub(s.StateChange) >= idleForGood:
		at, m.idle = now, nil
	case s.State == "idle":
		// What had waited when it became idle a minute before was reported by force when it became idle now.
		m.idle = remember(m.idle, s.StateChange)
		if s.StateChange.Sub(m.idle[0]) >= reportedWithin {
			at = m.idle[0]
		}
	}
	if at.After(m.reported) {
		m.reported = at
	}
	return m
}

// remember adds an instant, and forgets all but the newest of those that are a minute older.
func remember(idle []time.Time, at time.Time) []time.Time {
	if len(idle) > 0 && at.Sub(idle[len(idle)-1]) < idleApart {
		return idle
	}
	idle = append(slices.Clip(idle), at)
	for len(idle) > 2 && at.Sub(idle[1]) >= reportedWithin {
		idle = idle[1:]
	}
	return idle
}
