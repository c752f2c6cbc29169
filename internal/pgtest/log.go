package pgtest

import (
	"bufio"
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

// Log returns what the server logged about this database so far.
func (d *DB) Log(t testing.TB) []LogLine {
	t.Helper()
	file, err := os.Open(d.server.LogFile())
	if err != nil {
		t.Fatalf("open the server's log: %v", err)
	}
	defer file.Close()
	var all []LogLine
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, 64<<20)
	mine := false
	for scanner.Scan() {
		line := scanner.Text()
		if m := logPrefix.FindStringSubmatch(line); m != nil {
			if mine = m[4] == d.Name; !mine {
				continue
			}
			at, err := time.Parse("2006-01-02 15:04:05.000 MST", m[1])
			if err != nil {
				t.Fatalf("read the time of %q: %v", line, err)
			}
			pid, err := strconv.Atoi(m[2])
			if err != nil {
				t.Fatalf("read the pid of %q: %v", line, err)
			}
			all = append(all, LogLine{Time: at, PID: pid, User: m[3], Database: m[4], Application: m[5], Message: m[6]})
		} else if mine && strings.HasPrefix(line, "\t") {
			all[len(all)-1].Message += "\n" + line[1:]
		}
	}
	if err := scanner.Err(); err != nil {
		t.Fatalf("read the server's log: %v", err)
	}
	return all
}
