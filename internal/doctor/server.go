package doctor

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/internal/words"
)

// server is what every check knows.
type server struct {
	Version   int // server_version_num
	Shown     string
	Standby   bool
	Installed bool
	PID       int32
	Admin     string        // a role that sees everything
	Skew      time.Duration // of the server's clock against ours; positive = the server's is ahead
}

func readServer(ctx context.Context, conn *pgx.Conn) (server, error) {
	var (
		s   server
		now time.Time
	)
	before := time.Now()
	err := conn.QueryRow(ctx, `
SELECT current_setting('server_version_num')::int, current_setting('server_version'), pg_is_in_recovery(),
       to_regclass('mvscheduler.status') IS NOT NULL, pg_backend_pid(), clock_timestamp(),
       (SELECT r.rolname FROM pg_roles AS r
         WHERE r.rolsuper OR r.rolcanlogin AND pg_has_role(r.oid, to_regrole('mvscheduler_owner')::oid, 'MEMBER')
         ORDER BY r.rolcanlogin DESC, r.rolsuper, r.oid LIMIT 1)`).
		Scan(&s.Version, &s.Shown, &s.Standby, &s.Installed, &s.PID, &now, &s.Admin)
	if err != nil {
		return s, fmt.Errorf("look at the server: %w", err)
	}
	s.Skew = now.Sub(before.Add(time.Since(before) / 2)).Round(time.Millisecond)
	return s, nil
}

// holes are mistakes of PostgreSQL that let the owner of a view act as somebody else, with the first
// minor release of each major one that has them mended (the project's security page).
var holes = []struct {
	cve, what string
	mended    map[int]int
}{
	{"CVE-2024-0985", "REFRESH CONCURRENTLY could run functions of the view's owner as the refresher", map[int]int{15: 6, 16: 2, 17: 0, 18: 0}},
	{"CVE-2024-7348", "a relation could be replaced by a view between check and use", map[int]int{15: 8, 16: 4, 17: 0, 18: 0}},
	{"CVE-2024-10976", "row security could be applied for another role when a plan was reused", map[int]int{15: 9, 16: 5, 17: 1, 18: 0}},
	{"CVE-2024-10978", "SET ROLE could be reset to another user", map[int]int{15: 9, 16: 5, 17: 1, 18: 0}},
}

// takenOver is the first minor release of each major one in which a user of the database can no longer run code as the
// operating system user of the server (CVE-2026-14680, the newest hole of that kind that is known here). It has nothing
// to do with views, so it is a note: a distribution may not have that release yet.
var takenOver = map[int]int{15: 19, 16: 15, 17: 11, 18: 6}

func knownHoles(_ context.Context, _ *pgx.Conn, s server) ([]Finding, error) {
	return holesOf(s.Version, s.Shown), nil
}

// holesOf is pure: which holes a server of this version has.
func holesOf(version int, shown string) []Finding {
	major, minor := version/10000, version%10000
	if major < 15 {
		return []Finding{{Severity: Error, What: "PostgreSQL " + shown + " is too old: mvscheduler needs 15 or later", Fix: "apt-get install postgresql-18  # Debian, Ubuntu; then pg_upgrade"}}
	}
	var found []Finding
	for _, h := range holes {
		if mended, known := h.mended[major]; known && minor < mended {
			found = append(found, Finding{Severity: Error, Subject: h.cve, What: fmt.Sprintf("PostgreSQL %s: %s; %d.%d is the first without", shown, h.what, major, mended), Fix: upgrade(major)})
		}
	}
	if mended, known := takenOver[major]; known && minor < mended {
		found = append(found, Finding{
			Severity: Note, Subject: "CVE-2026-14680",
			What: fmt.Sprintf("PostgreSQL %s: whoever may write SQL can run code as the operating system user of the server; %d.%d is the first without", shown, major, mended),
			Fix:  upgrade(major),
		})
	}
	return found
}

// upgrade is how the packages of PostgreSQL's most common home are brought up to date.
func upgrade(major int) string {
	return fmt.Sprintf("apt-get update && apt-get install --only-upgrade postgresql-%d  # Debian, Ubuntu", major)
}

func standby(_ context.Context, _ *pgx.Conn, s server) ([]Finding, error) {
	if !s.Standby {
		return nil, nil
	}
	return []Finding{{Severity: Error, What: "this server is a standby, where nothing can be refreshed; the fix finds the primary where the URL names it too, as HOST,HOST", Fix: "export PGTARGETSESSIONATTRS=read-write"}}, nil
}

// pooler compares the process id of the protocol, which a pooler makes up, with that of the backend.
func pooler(ctx context.Context, conn *pgx.Conn, s server) ([]Finding, error) {
	if conn.PgConn().PID() == uint32(s.PID) {
		return nil, nil
	}
	const what = "this connection goes through a pooler, which shares sessions between clients"
	// Behind it PostgreSQL itself can be asked where it is; a directory of sockets is told to few.
	var host string
	var port int
	err := conn.QueryRow(ctx, `
SELECT coalesce(host(inet_server_addr()), (SELECT trim(split_part(setting, ',', 1)) FROM pg_settings WHERE name = 'unix_socket_directories'), ''),
       coalesce(inet_server_port(), current_setting('port')::int)`).Scan(&host, &port)
	if err != nil {
		return nil, err
	}
	config := conn.Config()
	direct := url.URL{Scheme: "postgres", User: url.User(config.User), Path: "/" + config.Database}
	if strings.HasPrefix(host, "/") {
		direct.RawQuery = url.Values{"host": {host}, "port": {strconv.Itoa(port)}}.Encode()
	} else {
		direct.Host = net.JoinHostPort(cmp.Or(host, "localhost"), strconv.Itoa(port))
	}
	return []Finding{{Severity: Error, What: what + "; the fix goes to PostgreSQL itself, as far as it knows its address", Fix: "mvscheduler serve --database-url " + words.ShellQuote(direct.String())}}, nil
}

const skewAtMost = 5 * time.Second

func clockSkew(_ context.Context, _ *pgx.Conn, s server) ([]Finding, error) {
	if s.Skew.Abs() < skewAtMost {
		return nil, nil
	}
	return []Finding{{
		Severity: Warning,
		What:     fmt.Sprintf("the server's clock and the one of this machine are %s apart; schedules follow the server's", s.Skew.Abs()),
		Fix:      "timedatectl set-ntp true",
	}}, nil
}

func statistics(ctx context.Context, conn *pgx.Conn, _ server) ([]Finding, error) {
	return rowsOf(ctx, conn, `
SELECT 'warning', name, name || ' is off: ' || why, 'ALTER SYSTEM SET ' || name || ' = on; SELECT pg_reload_conf()'
  FROM (VALUES ('track_counts', 'no run can be skipped, and autovacuum does not work'),
               ('track_activities', 'who holds a lock cannot be told, and no run can be skipped')) AS s(name, why)
 WHERE NOT current_setting(name)::boolean
UNION ALL
SELECT 'warning', 'mvscheduler_worker', 'the sidecar may not see when other roles'' backends began: lost attempts are found late, and no run can be skipped',
       'GRANT pg_read_all_stats TO mvscheduler_worker'
 WHERE to_regrole('mvscheduler_worker') IS NOT NULL
   AND NOT pg_has_role(to_regrole('mvscheduler_worker')::oid, 'pg_read_all_stats', 'USAGE')`)
}
