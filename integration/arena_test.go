package integration

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// arena is a database in which mallory tries everything to become somebody else, and alice owns what
// mallory is after. What mallory's code achieves it writes to the server's log, which no rollback undoes.
type arena struct {
	t              testing.TB
	db             *pgtest.DB
	root           *pgx.Conn
	alice, mallory string // roles, and their schemas
	m              *pgx.Conn
}

func newArena(t testing.TB) *arena {
	t.Helper()
	return arm(t, pgtest.New(t))
}

func arm(t testing.TB, db *pgtest.DB) *arena {
	t.Helper()
	db.LogParsing(t)
	a := &arena{t: t, db: db, root: db.Conn(t, ""), alice: db.User(t, "alice"), mallory: db.User(t, "mallory")}
	a.m = db.Conn(t, a.mallory)
	pgtest.Exec(t, a.root, a.sql(`CREATE TABLE public.super_secret AS SELECT 1 AS v`), a.sql(`CREATE TABLE alice.secret AS SELECT 1 AS v`),
		a.sql(`ALTER TABLE alice.secret OWNER TO alice`), a.sql(`GRANT USAGE ON SCHEMA alice TO PUBLIC`), a.sql(`GRANT USAGE ON SCHEMA mallory TO PUBLIC`))
	pgtest.Exec(t, a.m, a.sql(steal))
	return a
}

// sql puts the names of the roles in place of alice and mallory.
func (a *arena) sql(text string) string {
	return strings.NewReplacer("alice", a.alice, "mallory", a.mallory).Replace(text)
}

// as runs statements in mallory's session.
func (a *arena) as(statements ...string) {
	a.t.Helper()
	for _, s := range statements {
		pgtest.Exec(a.t, a.m, a.sql(s))
	}
}

// refused runs a statement and wants this SQLSTATE.
func (a *arena) refused(conn *pgx.Conn, sqlstate, statement string) {
	a.t.Helper()
	requireSQLState(a.t, conn, sqlstate, a.sql(statement))
}

// steal tries to become somebody else and to read what is not mallory's. It says what it achieved in the
// server's log and gives the role back, so that what comes after it is not disturbed.
const steal = `
CREATE FUNCTION mallory.steal(tag text) RETURNS int LANGUAGE plpgsql AS $steal$
DECLARE
    c text;
    role_was text := current_setting('role');
BEGIN
    RAISE LOG 'RAN|%|%|%', tag, session_user, current_user;
    FOREACH c IN ARRAY ARRAY[
        'RESET ROLE', 'SET ROLE NONE', format('SELECT set_config(''role'', %L, false)', session_user), 'SELECT set_config(''role'', ''none'', true)',
        'RESET SESSION AUTHORIZATION', 'SET SESSION AUTHORIZATION DEFAULT', 'SET SESSION AUTHORIZATION alice', 'SET ROLE alice',
        'SET ROLE mvscheduler_owner', 'SET LOCAL ROLE mvscheduler_worker', 'SET LOCAL SESSION AUTHORIZATION postgres']
    LOOP
        BEGIN
            EXECUTE c;
            IF current_user <> 'mallory' THEN
                RAISE LOG 'LOOT|%|%|%|%', tag, session_user, current_user, c;
            END IF;
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    FOREACH c IN ARRAY ARRAY[
        'SELECT v FROM alice.secret', 'SELECT v FROM public.super_secret', 'COPY (SELECT 1) TO PROGRAM ''true''', 'SELECT pg_read_file(''PG_VERSION'')',
        'CREATE TABLE alice.pwned (a int)', 'ALTER ROLE mallory SUPERUSER', 'SELECT name FROM mvscheduler.view_state', 'SELECT count(*) FROM mvscheduler.run',
        'UPDATE mvscheduler.view_health SET refreshes = 0', 'DELETE FROM mvscheduler.audit_entry', 'UPDATE mvscheduler.river_job SET state = ''cancelled''',
        'UPDATE mvscheduler.settings SET max_runs_per_owner = 1000', 'DECLARE held CURSOR WITH HOLD FOR SELECT 1 FROM alice.secret',
        'WITH others AS MATERIALIZED (SELECT pid FROM pg_stat_activity WHERE usename <> ''mallory'' AND datname = current_database() AND pid <> pg_backend_pid()) SELECT 1 / count(*) FROM others WHERE pg_terminate_backend(pid)']
    LOOP
        BEGIN
            EXECUTE c;
            RAISE LOG 'LOOT|%|%|%|%', tag, session_user, current_user, c;
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    BEGIN
        PERFORM set_config('role', role_was, false);
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
    RETURN 1;
END $steal$`

// loot reads from the server's log what mallory's code achieved and where it ran.
func (a *arena) loot() (achieved []string, ran map[string][]string) {
	a.t.Helper()
	ran = map[string][]string{}
	for _, line := range a.db.Log(a.t) {
		if text, ok := strings.CutPrefix(line.Message, "LOG:  LOOT|"); ok {
			achieved = append(achieved, text)
		}
		if text, ok := strings.CutPrefix(line.Message, "LOG:  RAN|"); ok {
			parts := strings.Split(position.ReplaceAllString(text, ""), "|")
			where := fmt.Sprintf("%s as %s", parts[1], parts[2])
			if parts[2] != a.mallory {
				achieved = append(achieved, parts[0]+" ran in the session of "+where)
			}
			if !slices.Contains(ran[parts[0]], parts[1]) {
				ran[parts[0]] = append(ran[parts[0]], parts[1])
			}
		}
	}
	return achieved, ran
}

var position = regexp.MustCompile(`(?s)( at character \d+)?(\n.*)?$`)

// nothingStolen wants no loot, and that each of these payloads did run in a session of the role.
func (a *arena) nothingStolen(session string, tags ...string) {
	a.t.Helper()
	achieved, ran := a.loot()
	require.Empty(a.t, achieved, "mallory's code achieved something")
	for _, tag := range tags {
		require.Contains(a.t, ran[tag], session, "payload %q never ran there, so it shows nothing", tag)
	}
}

// requireSQLState runs a statement that has to fail with this SQLSTATE.
func requireSQLState(t testing.TB, conn *pgx.Conn, sqlstate, statement string) {
	t.Helper()
	_, err := conn.Exec(t.Context(), statement)
	var pgErr *pgconn.PgError
	require.ErrorAs(t, err, &pgErr, statement)
	require.Equal(t, sqlstate, pgErr.Code, "%s: %v", statement, err)
}

func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

func cut(pair string) (left, right string, found bool) {
	return strings.Cut(strings.ReplaceAll(pair, ", ", ","), ",")
}
