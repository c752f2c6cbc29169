package pgtest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
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

var logPrefix = regexp.MustCompile(`^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \S+) \[(\d+)\] (.*?)@(\S*) (.*?) ?([A-Z]+\d*:  .*)$`)

var executed = regexp.MustCompile(`(?s)^LOG:  (?:statement|execute [^:]+|fastpath function call): (.*)$`)

// Executed is the text of a statement that the server ran; empty in every other entry.
func (l LogLine) Executed() string {
	if m := executed.FindStringSubmatch(l.Message); m != nil {
		return strings.TrimSpace(m[1])
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
		if err := r.take(bytes.TrimSuffix(line, []byte("\n"))); err != nil {
			return err
		}
	}
}

func (r *logReader) take(line []byte) error {
	if bytes.HasPrefix(line, []byte("\t")) { // goes on with the entry before
		if r.open {
			r.lines[len(r.lines)-1].Message += "\n" + string(line[1:])
		}
		return nil
	}
	r.open = false
	if !r.likely(line) {
		return nil
	}
	m := logPrefix.FindStringSubmatch(string(line))
	if m == nil {
		return nil
	}
	at, err := time.Parse("2006-01-02 15:04:05.000 MST", m[1])
	if err != nil {
		return fmt.Errorf("read the time of %q: %w", line, err)
	}
	pid, err := strconv.Atoi(m[2])
	if err != nil {
		return fmt.Errorf("read the pid of %q: %w", line, err)
	}
	entry := LogLine{Time: at, PID: pid, User: m[3], Database: m[4], Application: m[5], Message: m[6]}
	if r.open = r.keep(entry); r.open {
		r.lines = append(r.lines, entry)
	}
	return nil
}
