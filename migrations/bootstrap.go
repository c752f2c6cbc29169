package migrations

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Roles belong to the cluster: another database's migration may create one at the same moment.
const createRoles = `
DO $$
DECLARE
    r text;
BEGIN
    FOREACH r IN ARRAY '{mvscheduler_owner,mvscheduler_user,mvscheduler_worker}'::text[] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = r) THEN
            BEGIN
                EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', r);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;
            END;
        END IF;
    END LOOP;
    IF NOT pg_catalog.pg_has_role('mvscheduler_owner', CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END) THEN
        EXECUTE pg_catalog.format('GRANT mvscheduler_owner TO %I', current_user);
    END IF;
END $$;
`

const createSchema = `
CREATE SCHEMA IF NOT EXISTS mvscheduler AUTHORIZATION mvscheduler_owner;
DO $$
DECLARE
    squatter name := (SELECT pg_catalog.pg_get_userbyid(n.nspowner) FROM pg_catalog.pg_namespace AS n WHERE n.nspname OPERATOR(pg_catalog.=) 'mvscheduler');
BEGIN
    IF squatter OPERATOR(pg_catalog.<>) 'mvscheduler_owner' THEN
        RAISE EXCEPTION 'schema mvscheduler belongs to % and not to mvscheduler_owner: it is not ours', squatter
            USING ERRCODE = 'duplicate_schema', HINT = 'Rename or drop it: what is in it would run as whoever migrates.';
    END IF;
END $$;
COMMENT ON SCHEMA mvscheduler IS 'mvscheduler keeps materialized views fresh: start at the table views and the view status.';
`

// pg_read_all_stats shows the sidecar when other roles' backends began.
const grantStats = `GRANT pg_read_all_stats TO mvscheduler_worker`

// afterRiver gives the sidecar River's tables, which it works, says whose they are, and keeps the busiest one
// vacuumed.
const afterRiver = `
DO $$
DECLARE
    c record;
BEGIN
    FOR c IN
        SELECT oid::pg_catalog.regclass AS name, relkind
          FROM pg_catalog.pg_class
         WHERE relnamespace = 'mvscheduler'::pg_catalog.regnamespace
           AND relname LIKE 'river\_%'
           AND relkind IN ('r', 'S')
    LOOP
        IF c.relkind = 'S' THEN
            EXECUTE pg_catalog.format('GRANT USAGE, SELECT ON SEQUENCE %s TO mvscheduler_worker', c.name);
        ELSE
            EXECUTE pg_catalog.format('GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE %s TO mvscheduler_worker', c.name);
            EXECUTE pg_catalog.format('COMMENT ON TABLE %s IS %L', c.name, 'Belongs to River, the job queue that mvscheduler stands on (riverqueue.com/docs).');
        END IF;
    END LOOP;
    FOR c IN
        SELECT a.attrelid::pg_catalog.regclass AS name, a.attname, d.words
          FROM pg_catalog.pg_class AS t
          JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
          LEFT JOIN (VALUES
              ('args', 'What the job is to do; of a refresh the run, see mvscheduler.run.'),
              ('attempt', 'How often it was begun. Attempts of a refresh are in mvscheduler.attempt.'),
              ('attempted_at', 'When it was begun last.'),
              ('attempted_by', 'Clients of River that began it.'),
              ('created_at', 'When the row was made.'),
              ('elected_at', 'Since when it leads.'),
              ('errors', 'What went wrong, one entry an attempt.'),
              ('expires_at', 'When the leadership ends unless it is renewed.'),
              ('finalized_at', 'When it ended for good.'),
              ('id', 'Key of the row; of a job what mvscheduler.run.job_id names.'),
              ('kind', 'Which worker takes it.'),
              ('leader_id', 'The client of River that leads.'),
              ('line', 'Which series of migrations.'),
              ('max_attempts', 'How often it may be begun.'),
              ('max_workers', 'How many jobs of the queue this client works at once.'),
              ('metadata', 'Notes of River''s own.'),
              ('name', 'Name of the row.'),
              ('num_jobs_completed', 'Jobs of the queue that this client has completed.'),
              ('num_jobs_running', 'Jobs of the queue that this client works now.'),
              ('paused_at', 'Since when it is paused; NULL = it is not.'),
              ('payload', 'What is told.'),
              ('priority', '1 (first) to 4 (last).'),
              ('queue', 'Queue from which it is taken.'),
              ('river_client_id', 'river_client.id'),
              ('scheduled_at', 'Not before this instant.'),
              ('state', 'Where it stands: available, scheduled, retryable, running, completed, cancelled, discarded or pending.'),
              ('tags', 'Labels; mvscheduler sets none.'),
              ('topic', 'To whom it is told: a channel of NOTIFY.'),
              ('unique_key', 'Digest by which no second job of its kind is made.'),
              ('unique_states', 'States in which unique_key counts, one bit each.'),
              ('updated_at', 'When the row was changed last.'),
              ('version', 'Number of a migration that ran.')) AS d(attname, words) ON d.attname = a.attname
         WHERE t.relnamespace = 'mvscheduler'::pg_catalog.regnamespace
           AND t.relname LIKE 'river\_%'
           AND t.relkind = 'r'
    LOOP
        EXECUTE pg_catalog.format('COMMENT ON COLUMN %s.%I IS %L', c.name, c.attname, c.words);
    END LOOP;
END $$;
GRANT SELECT ON mvscheduler.schema_migrations, mvscheduler.river_migration TO mvscheduler_user, mvscheduler_worker;
COMMENT ON TABLE mvscheduler.schema_migrations IS 'Belongs to golang-migrate: the version of this schema. See: mvscheduler migrate status.';
COMMENT ON COLUMN mvscheduler.schema_migrations.version IS 'The last migration that ran.';
COMMENT ON COLUMN mvscheduler.schema_migrations.dirty IS 'True when it was interrupted.';
ALTER TABLE mvscheduler.river_job SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_scale_factor = 0.05);
`

// administratorsSQL lists who may act as mvscheduler_owner, or let themselves, besides superusers and whoever migrates.
const administratorsSQL = `
SELECT coalesce(array_agg(r.rolname::text ORDER BY r.rolname), '{}')
  FROM pg_roles AS r
 WHERE NOT r.rolsuper
   AND r.rolname NOT IN ('mvscheduler_owner', current_user)
   AND pg_has_role(r.oid, 'mvscheduler_owner', 'MEMBER')`

// bootstrap makes what the migrations stand on. It is idempotent.
func bootstrap(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	var first bool
	if err := conn.QueryRow(ctx, `SELECT to_regnamespace('mvscheduler') IS NULL`).Scan(&first); err != nil {
		return nil, fmt.Errorf("look for the schema mvscheduler: %w", err)
	}
	if _, err := conn.Exec(ctx, createRoles); err != nil {
		return nil, needRight("create the roles mvscheduler_owner, mvscheduler_user and mvscheduler_worker", "CREATEROLE", err)
	}
	if _, err := conn.Exec(ctx, createSchema); err != nil {
		return nil, needRight("create the schema mvscheduler", "CREATE on the database", err)
	}
	var notes, administrators []string
	if err := conn.QueryRow(ctx, administratorsSQL).Scan(&administrators); err != nil {
		return nil, fmt.Errorf("look for the members of mvscheduler_owner: %w", err)
	}
	if first && len(administrators) > 0 { // roles belong to the cluster, and somebody may have been here before
		notes = append(notes, "mvscheduler_owner was there already, and these may act as it: "+strings.Join(administrators, ", ")+
			". They could change the functions that run in everybody's session; whom you do not trust with that: REVOKE mvscheduler_owner FROM ... CASCADE")
	}
	var has bool
	if err := conn.QueryRow(ctx, `SELECT pg_has_role('mvscheduler_worker', 'pg_read_all_stats', 'USAGE')`).Scan(&has); err != nil {
		return nil, fmt.Errorf("look for pg_read_all_stats: %w", err)
	}
	if !has {
		if _, err := conn.Exec(ctx, grantStats); err != nil {
			notes = append(notes, "the sidecar cannot see when other roles' backends began; a DBA runs: "+grantStats)
		}
	}
	return notes, nil
}

func needRight(doing, right string, err error) error {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && pgErr.Code == pgerrcode.InsufficientPrivilege {
		return fmt.Errorf("%s: %w; connect as a role with %s, or have a DBA run the output of `mvscheduler migrate up --print-sql`", doing, err, right)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
