package migrations

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/rivermigrate"
)

// UpScript is the SQL that Up runs on a database at version from, for a DBA who runs it by hand. The zero
// Version is a database without the schema. It returns a [VersionError] where Up would not know what to do.
func UpScript(from Version) (string, error) {
	want, err := Latest()
	if err != nil {
		return "", err
	}
	if from.Dirty || from.Catalog > want.Catalog || from.River > want.River {
		return "", &VersionError{Have: from, Want: want}
	}
	river, err := riverMigrations()
	if err != nil {
		return "", err
	}
	return upScript(river, from, want)
}

// DownScript is the SQL that Down runs on a database at the version of this program.
func DownScript() (string, error) {
	from, err := Latest()
	if err != nil {
		return "", err
	}
	body, err := downBody(from)
	if err != nil {
		return "", err
	}
	var s script
	s.WriteString("-- mvscheduler: removes the schema. Users' views stay, and so do the roles, which belong to the whole\n" +
		"-- cluster: DROP ROLE mvscheduler_worker, mvscheduler_user, mvscheduler_owner when no database needs them.\n" +
		"--   psql -v ON_ERROR_STOP=1 -f THIS_FILE\n")
	s.part("as its owner, all or nothing", "BEGIN; SET ROLE mvscheduler_owner; SET search_path = pg_catalog, pg_temp; SET lock_timeout = '"+lockTimeout+"'")
	s.WriteString(body)
	s.part("done", "RESET ROLE; RESET search_path; RESET lock_timeout; COMMIT")
	return s.String(), nil
}

func riverMigrations() ([]rivermigrate.Migration, error) {
	migrator, err := rivermigrate.New(riverdatabasesql.New(nil), &rivermigrate.Config{Schema: Schema})
	if err != nil {
		return nil, fmt.Errorf("read River's migrations: %w", err)
	}
	return migrator.AllVersions(), nil
}

// riverSchema is where River's files want the name of the schema.
const riverSchema = "/* TEMPLATE: schema */"

type script struct{ strings.Builder }

func (s *script) part(title, sql string) {
	fmt.Fprintf(s, "\n-- %s\n%s\n", title, strings.TrimSpace(sql))
	if !strings.HasSuffix(strings.TrimSpace(sql), ";") {
		s.WriteString(";\n")
	}
}

func upScript(river []rivermigrate.Migration, from, want Version) (string, error) {
	var s script
	before := "without the schema"
	if from != (Version{}) {
		before = "at version " + from.String()
	}
	s.WriteString("-- mvscheduler: schema, roles and River's tables. Run once on a database " + before + ", with\n" +
		"--   psql -v ON_ERROR_STOP=1 -f THIS_FILE\n" +
		"-- as a role with CREATEROLE and CREATE on the database. It is several transactions: River's sixth\n" +
		"-- migration uses an enum value that its own transaction could not add.\n")
	s.part("roles, which belong to the whole cluster", createRoles)
	s.part("the right to see when other roles' backends began (needs ADMIN on pg_read_all_stats or a superuser)", grantStats)
	s.part("schema", createSchema)
	s.part("from here on as its owner", "SET ROLE mvscheduler_owner; SET search_path = pg_catalog, pg_temp; SET lock_timeout = '"+lockTimeout+"'")
	names, err := fs.Glob(files, "*.up.sql")
	if err != nil {
		return "", fmt.Errorf("list migrations: %w", err)
	}
	for _, name := range names {
		if number, err := numberOf(name); err != nil {
			return "", err
		} else if number <= from.Catalog {
			continue
		}
		body, err := files.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("read migration %s: %w", name, err)
		}
		s.part(name, "BEGIN;\n"+strings.TrimSpace(string(body))+"\nCOMMIT;")
	}
	s.part("version", fmt.Sprintf(`CREATE TABLE IF NOT EXISTS mvscheduler.%[1]s (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL);
TRUNCATE mvscheduler.%[1]s;
INSERT INTO mvscheduler.%[1]s VALUES (%[2]d, false);`, versionTable, want.Catalog))
	for _, m := range river {
		if m.Version <= from.River {
			continue
		}
		s.part(fmt.Sprintf("River %d: %s", m.Version, m.Name), strings.ReplaceAll(m.SQLUp, riverSchema, Schema+"."))
	}
	s.part("version of River's tables", fmt.Sprintf(`INSERT INTO mvscheduler.river_migration (line, version)
SELECT 'main', v FROM generate_series(1, %d) AS v ON CONFLICT DO NOTHING;`, want.River))
	s.part("rights on River's tables", afterRiver)
	s.part("done", "RESET ROLE; RESET search_path; RESET lock_timeout")
	return s.String(), nil
}

// downBody removes what version from has.
func downBody(from Version) (string, error) {
	river, err := riverMigrations()
	if err != nil {
		return "", err
	}
	var s script
	for _, m := range slices.Backward(river) {
		if m.Version <= from.River {
			s.part(fmt.Sprintf("River %d: %s", m.Version, m.Name), strings.ReplaceAll(m.SQLDown, riverSchema, Schema+"."))
		}
	}
	names, err := fs.Glob(files, "*.down.sql")
	if err != nil {
		return "", fmt.Errorf("list migrations: %w", err)
	}
	for _, name := range slices.Backward(names) {
		number, err := numberOf(name)
		if err != nil {
			return "", err
		}
		if number > from.Catalog || number == from.Catalog && from.Dirty { // one that failed left nothing behind
			continue
		}
		body, err := files.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("read migration %s: %w", name, err)
		}
		s.part(name, string(body))
	}
	s.part("what is left", "DROP TABLE IF EXISTS mvscheduler."+versionTable+"; DROP SCHEMA mvscheduler")
	return s.String(), nil
}
