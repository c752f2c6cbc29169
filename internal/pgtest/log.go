package pgtest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// LogLine is one entry of the server's log; a statement over several lines is one entry.
type LogLine struct {
	Time        time.Time
	PID         int
	User        string
	Database    string
	Application string
	Message     string // from the severity on: "LOG:  execute ...: REFRESH ..."
}

var logPrefix = regexp.MustCompile(`^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \S+) \[(\d+)\] (.*?)@(\S*) (.*?) ?([A-Z]+\d*:  .*)$`)

var executed = regexp.MustCompile(`(?s)^LOG:  (?:statement|execute [^:]+|fastpath function call): (.*)$`)

// Executed is the text of a statement that the server ran; empty in every other entry.
func (l LogLine) Executed() string {
	if m := executed.FindStringSubmatch(l.Message); m != nil {
		return strings.TrimSpace(m[1])
	}
	return ""
}

// Log returns what the server logged about this database so far, without the duration of statements.
func (d *DB) Log(t testing.TB) []LogLine {
	t.Helper()
	file, err := os.Open(d.server.LogFile())
	if err != nil {
		t.Fatalf("open the server's log: %v", err)
	}
	defer file.Close()
	all, err := ReadLog(file, func(l LogLine) bool { return l.Database == d.Name && !strings.HasPrefix(l.Message, "LOG:  duration: ") })
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// LogFile is the log of the server that the database lives on.
func (d *DB) LogFile() string { return d.server.LogFile() }

// SharedLogFile is the log of the server that the tests of this process share; empty when none was started.
func SharedLogFile() string {
	if shared.server == nil {
		return ""
	}
	return shared.server.LogFile()
}

// ReadLog reads the entries that keep wants of a log that was written with the settings of this package. keep
// sees the first line of the message only.
func ReadLog(log io.Reader, keep func(LogLine) bool) ([]LogLine, error) {
	var all []LogLine
	scanner := bufio.NewScanner(log)
	scanner.Buffer(nil, 64<<20)
	known := false
	for scanner.Scan() {
		line := scanner.Text()
		m := logPrefix.FindStringSubmatch(line)
		switch {
		case m != nil:
			at, err := time.Parse("2006-01-02 15:04:05.000 MST", m[1])
			if err != nil {
				return nil, fmt.Errorf("read the time of %q: %w", line, err)
			}
			pid, err := strconv.Atoi(m[2])
			if err != nil {
				return nil, fmt.Errorf("read the pid of %q: %w", line, err)
			}
			entry := LogLine{Time: at, PID: pid, User: m[3], Database: m[4], Application: m[5], Message: m[6]}
			if known = keep(entry); known {
				all = append(all, entry)
			}
		case known && strings.HasPrefix(line, "\t"):
			all[len(all)-1].Message += "\n" + line[1:]
		default:
			known = false
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("read the server's log: %w", err)
	}
	return all, nil
}
