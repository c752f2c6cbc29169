package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// Samples are what was recorded of a view from an instant on, in bins of a width.
type Samples struct {
	At             time.Time
	Width          int // seconds
	ViewID         int64
	Reads, Changes Counts
}

// Counts are those of the bins; NaN = unknown.
type Counts []float32

// ScanBytes reads a real[] as text, over what was there: a view has fourteen thousand of them, too many to be scanned one by
// one.
func (c *Counts) ScanBytes(array []byte) error {
	rest, opened := bytes.CutPrefix(array, []byte("{"))
	rest, closed := bytes.CutSuffix(rest, []byte("}"))
	if !opened || !closed {
		return errors.New("it is no array")
	}
	*c = (*c)[:0]
	for more := len(rest) > 0; more; {
		count, digits := shortCount(rest)
		if digits == 0 {
			field, _, _ := bytes.Cut(rest, []byte(","))
			var err error
			if count, err = parseCount(string(field)); err != nil {
				return err
			}
			digits = len(field)
		}
		*c = append(*c, count)
		if more = digits < len(rest); more {
			rest = rest[digits+1:]
		}
	}
	return nil
}

// tens are powers of it, all exact.
var tens = [...]float32{1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000}

// shortCount reads a number of seven digits at most, with or without a point, up to a comma or the end: most are. Both parts of the
// quotient are exact, so that it is rounded as any parser does. It returns how long the number is; zero = it is another one.
func shortCount(text []byte) (count float32, length int) {
	n, i := 0, 0
	for i < len(text) && text[i]-'0' < 10 {
		n = 10*n + int(text[i]-'0')
		i++
	}
	digits := i
	if i > 0 && i < len(text) && text[i] == '.' {
		for i++; i < len(text) && text[i]-'0' < 10; i++ {
			n = 10*n + int(text[i]-'0')
		}
		digits = i - 1
	}
	switch {
	case digits == 0 || digits >= len(tens) || i < len(text) && text[i] != ',':
		return 0, 0
	case digits == i:
		return float32(n), i
	}
	point := bytes.IndexByte(text, '.')
	return float32(n) / tens[digits-point], i
}

// mostCounted is more than a server can do in an hour. Arithmetic on what is far beyond does not end well.
const mostCounted = 1e15

func parseCount(field string) (float32, error) {
	if field == "NULL" {
		return float32(math.NaN()), nil
	}
	count, err := strconv.ParseFloat(field, 32)
	if err != nil {
		return 0, fmt.Errorf("it is no array of real: %w", err)
	}
	if !(math.Abs(count) <= mostCounted) { // nothing that counts can have told it
		count = math.NaN()
	}
	return float32(count), nil
}

// EachSample calls f for what was recorded of a view in bins that began since an instant, in order of time, from the private tables;
// changes are left out of days before another instant. The counts are overwritten by the next ones.
func EachSample(ctx context.Context, q Querier, view int64, since, changesSince time.Time, f func(Samples)) error {
	return eachSample(ctx, q, `
SELECT at, 300 AS width, reads::text, CASE WHEN at >= $3 THEN changes::text ELSE '{}' END AS changes
  FROM mvscheduler.sampled
 WHERE view_id = $1
   AND at >= $2
 UNION ALL
SELECT day, width, reads, CASE WHEN day >= $3 THEN changes ELSE '{}' END
  FROM mvscheduler.sampled_days
 WHERE view_id = $1
   AND day >= $2
 ORDER BY at`, []any{view, midnight(since), midnight(changesSince)}, view, since, f)
}

// midnight is when the day of an instant began, in UTC.
func midnight(at time.Time) time.Time { return at.UTC().Truncate(24 * time.Hour) }

// since are the bins that began at an instant or later.
func (s Samples) since(at time.Time) Samples {
	width := time.Duration(s.Width) * time.Second
	if before := at.Sub(s.At); before > 0 {
		n := int((before + width - 1) / width)
		s.At, s.Reads, s.Changes = s.At.Add(time.Duration(n)*width), s.Reads[min(n, len(s.Reads)):], s.Changes[min(n, len(s.Changes)):]
	}
	return s
}

// VisibleSamples are the same for any caller who may see the view.
func VisibleSamples(ctx context.Context, q Querier, view int64, since time.Time) (samples []Samples, err error) {
	err = eachSample(ctx, q, `
SELECT at, width, reads::text, changes::text
  FROM mvscheduler.samples
 WHERE view_id = $1
   AND at >= $2
 ORDER BY at`, []any{view, midnight(since)}, view, since, func(s Samples) {
		s.Reads, s.Changes = slices.Clone(s.Reads), slices.Clone(s.Changes)
		samples = append(samples, s)
	})
	return samples, err
}

func eachSample(ctx context.Context, q Querier, query string, args []any, view int64, since time.Time, f func(Samples)) error {
	s := Samples{ViewID: view}
	rows, err := q.Query(ctx, query, args...)
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&s.At, &s.Width, &s.Reads, &s.Changes}, func() error {
			if s := s.since(since); len(s.Reads) > 0 {
				f(s)
			}
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("read samples: %w", err)
	}
	return nil
}
