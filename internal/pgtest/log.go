package pgtest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
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

// Executed is the text of a statement that the server ran; empty in every other entry.
func (l LogLine) Executed() string {
	how, text, _ := strings.Cut(strings.TrimPrefix(l.Message, "LOG:  "), ": ")
	if how == "statement" || how == "fastpath function call" || strings.HasPrefix(how, "execute ") {
		return strings.TrimSpace(text)
	}
	return ""
}

// Log returns what the server logged about this database so far, without the duration of statements. It goes on
// where the last call ended.
func (d *DB) Log(t testing.TB) []LogLine {
	t.Helper()
	file, err := os.Open(d.server.LogFile())
	if err != nil {
		t.Fatalf("open the server's log: %v", err)
	}
	defer file.Close()
	d.log.reading.Lock()
	defer d.log.reading.Unlock()
	about := "@" + d.Name + " "
	d.log.keep = func(l LogLine) bool { return l.Database == d.Name && !strings.HasPrefix(l.Message, "LOG:  duration: ") }
	d.log.likely = func(line []byte) bool { return bytes.Contains(line, []byte(about)) }
	if err := d.log.read(file); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(d.log.lines)
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
func ReadLog(log io.ReaderAt, keep func(LogLine) bool) ([]LogLine, error) {
	reader := logReader{keep: keep, likely: func([]byte) bool { return true }}
	err := reader.read(log)
	return reader.lines, err
}

// logReader reads a log that grows.
type logReader struct {
	reading sync.Mutex
	keep    func(LogLine) bool
	likely  func(line []byte) bool // is false for lines that begin no entry which keep wants, and cheap

	offset int64 // of the first line that was not there to its end
	lines  []LogLine
	open   bool // the last of lines may go on
}

func (r *logReader) read(log io.ReaderAt) error {
	buffered := bufio.NewReaderSize(io.NewSectionReader(log, r.offset, math.MaxInt64-r.offset), 1<<20)
	var long []byte
	for {
		piece, err := buffered.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			long = append(long, piece...)
			continue
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the server's log: %w", err)
		}
		line := piece
		if len(long) > 0 {
			long = append(long, piece...)
			line, long = long, nil
		}
		r.offset += int64(len(line))
		r.take(bytes.TrimSuffix(line, []byte("\n")))
	}
}

func (r *logReader) take(line []byte) {
	if bytes.HasPrefix(line, []byte("\t")) { // goes on with the entry before
		if r.open {
			r.lines[len(r.lines)-1].Message += "\n" + string(line[1:])
		}
		return
	}
	r.open = false
	if !r.likely(line) {
		return
	}
	entry, ok := parse(string(line))
	if !ok {
		return
	}
	if r.open = r.keep(entry); r.open {
		r.lines = append(r.lines, entry)
	}
}

// parse reads "2006-01-02 15:04:05.000 UTC [pid] user@database application LOG:  message", in one pass and without an
// expression: a log has millions of lines.
func parse(line string) (l LogLine, ok bool) {
	at, rest, _ := strings.Cut(line, " [")
	pid, rest, _ := strings.Cut(rest, "] ")
	l.User, rest, _ = strings.Cut(rest, "@")
	l.Database, rest, _ = strings.Cut(rest, " ")
	var errTime, errPID error
	l.Time, errTime = time.Parse("2006-01-02 15:04:05.000 MST", at)
	l.PID, errPID = strconv.Atoi(pid)
	if errTime != nil || errPID != nil {
		return l, false
	}
	for end := 0; ; end += len(":  ") {
		colon := strings.Index(rest[end:], ":  ")
		if colon < 0 {
			return l, false
		}
		end += colon
		severity := strings.TrimRight(rest[:end], "0123456789")
		if name := strings.TrimRight(severity, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"); name != severity {
			l.Application, l.Message = strings.TrimSuffix(name, " "), rest[len(name):]
			return l, true
		}
	}
}
