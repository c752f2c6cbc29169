package allowlist

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A statement that is executed is logged by log_statement; one that is only parsed or bound, which runs code too,
// by log_min_duration_statement, see [pgtest.DB.LogParsing]; one that fails with its error.
var (
	parsed = regexp.MustCompile(`(?s)^LOG:  duration: [0-9.]+ ms  (?:parse|bind|execute|statement)[^:]*: (.*)$`)
	failed = regexp.MustCompile(`(?s)^STATEMENT:  (.*)$`)
)

// roles are the logins of sidecars that this process has started: what they run is looked at whatever name
// their connections have.
var roles sync.Map

// Watch adds the login of a sidecar.
func Watch(role string) { roles.Store(role, true) }

// Forger names a role that takes a sidecar's application_name in a test.
func Forger(role string) { forgers.Store(role, true) }

var forgers sync.Map

// SearchShared looks at every statement that sidecars, and what connects as they do, ran on the server which
// the tests of this process share. Where all tests of a package ran, there must be so many at least.
func SearchShared(least int) func() error {
	return func() error {
		path := pgtest.SharedLogFile()
		if path == "" {
			return nil
		}
		found, err := Search(path)
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stdout, "the server's log has %d statements of sidecars, %d of them on users' relations\n", found.Statements, found.OnUsersRelations)
		if all := flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == ""; all && found.OnUsersRelations < least {
			return fmt.Errorf("the server's log has %d statements of sidecars on users' relations, and %d at least were to be found: the search is blind", found.OnUsersRelations, least)
		}
		return nil
	}
}

// Found counts what a search has looked at.
type Found struct{ Statements, OnUsersRelations int }

// Search looks at a server's log, and returns an error that names what is not on the list.
func Search(path string) (Found, error) {
	var found Found
	file, err := os.Open(path)
	if err != nil {
		return found, fmt.Errorf("open the server's log: %w", err)
	}
	defer file.Close()
	lines, err := pgtest.ReadLog(file, func(l pgtest.LogLine) bool {
		_, watched := roles.Load(l.User)
		if _, forged := forgers.Load(l.User); forged {
			return false
		}
		return watched && l.Application != "mvscheduler cli" ||
			strings.HasPrefix(l.Application, "mvscheduler run") || strings.HasPrefix(l.Application, "mvscheduler control")
	})
	if err != nil {
		return found, err
	}
	verdicts := map[string]string{}
	var wrong []string
	for _, line := range lines {
		text := line.Executed()
		ran := text != ""
		for _, other := range []*regexp.Regexp{parsed, failed} {
			if m := other.FindStringSubmatch(line.Message); m != nil {
				text = strings.TrimSpace(m[1])
			}
		}
		if text == "" {
			continue
		}
		if _, known := verdicts[text]; !known {
			why := Unexpected(text)
			verdicts[text] = why
			if why != "" {
				wrong = append(wrong, fmt.Sprintf("%s %s\n    %s", line.Application, why, text))
			}
		}
		if !ran {
			continue
		}
		found.Statements++
		if onUsersRelations.MatchString(text) {
			found.OnUsersRelations++
			if strings.HasPrefix(line.Message, "LOG:  statement:") {
				return found, fmt.Errorf("%s ran this by the simple protocol, which takes several statements at once: %s", line.Application, text)
			}
		}
	}
	if len(wrong) > 0 {
		return found, fmt.Errorf("these are not on the allow-list:\n%s", strings.Join(wrong, "\n"))
	}
	return found, nil
}
