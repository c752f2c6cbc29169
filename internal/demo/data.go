package demo

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed"
	"errors"
	"fmt"
	"io"
)

// US Bureau of Transportation Statistics, public data; see data/README.md.
var (
	//go:embed data/flights.csv.gz
	flightsGz []byte
	//go:embed data/airports.csv
	airportsCSV []byte
)

// Total is the number of flights in the sample.
const Total = 228638

// historyEnd is the departure, as the sample writes it, from which on flights arrive by the feed.
const historyEnd = "2001-02-01"

// Flights reads the sample in order of departure, as lines of CSV.
type Flights struct {
	lines *bufio.Reader
	ahead []byte // the line that TakeBefore read and did not return
}

// OpenFlights starts at the first flight.
func OpenFlights() (*Flights, error) {
	z, err := gzip.NewReader(bytes.NewReader(flightsGz))
	if err != nil {
		return nil, fmt.Errorf("read the sample flights: %w", err)
	}
	f := &Flights{lines: bufio.NewReaderSize(z, 1<<16)}
	if _, err := f.next(); err != nil { // the heading
		return nil, fmt.Errorf("read the sample flights: %w", err)
	}
	return f, nil
}

func (f *Flights) next() ([]byte, error) {
	if line := f.ahead; line != nil {
		f.ahead = nil
		return line, nil
	}
	return f.lines.ReadBytes('\n')
}

// Take returns the next n flights, fewer at the end, and how many they are: 0 = that was all.
func (f *Flights) Take(n int) (lines []byte, count int, err error) {
	for count < n {
		line, err := f.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, 0, fmt.Errorf("read the sample flights: %w", err)
		}
		lines = append(lines, line...)
		count++
	}
	return lines, count, nil
}

// TakeBefore returns all flights until the first one that departs at end or later.
func (f *Flights) TakeBefore(end string) (lines []byte, count int, err error) {
	for {
		line, err := f.next()
		if errors.Is(err, io.EOF) {
			return lines, count, nil
		}
		if err != nil {
			return nil, 0, fmt.Errorf("read the sample flights: %w", err)
		}
		if string(line[:min(len(line), len(end))]) >= end {
			f.ahead = line
			return lines, count, nil
		}
		lines = append(lines, line...)
		count++
	}
}
