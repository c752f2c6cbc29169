package catalog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
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

// ScanBytes reads what array_send makes of a real[], over what was there: a view has fifteen thousand of them, too many to
// be scanned one by one.
func (c *Counts) ScanBytes(array []byte) error {
	const header = 12 // dimensions, flags, type of the elements; then the length and the first index of each dimension
	*c = (*c)[:0]
	if len(array) == header && binary.BigEndian.Uint32(array) == 0 {
		return nil
	}
	if len(array) < header+8 || binary.BigEndian.Uint32(array) != 1 {
		return errors.New("it is no array of one dimension")
	}
	n, rest := binary.BigEndian.Uint32(array[header:]), array[header+8:]
	*c = slices.Grow(*c, min(int(n), len(rest)/4))
	for range n {
		switch {
		case len(rest) >= 4 && binary.BigEndian.Uint32(rest) == math.MaxUint32: // the length of NULL is -1
			*c, rest = append(*c, float32(math.NaN())), rest[4:]
		case len(rest) >= 8 && binary.BigEndian.Uint32(rest) == 4:
			*c, rest = append(*c, math.Float32frombits(binary.BigEndian.Uint32(rest[4:]))), rest[8:]
		default:
			return errors.New("it is no array of real")
		}
	}
	return nil
}

// EachSample calls f for what was recorded of a view in bins that began since an instant, in order of time, from the private table;
// changes are left out of days before another instant. The counts are overwritten by the next ones.
func EachSample(ctx context.Context, q Querier, view int64, since, changesSince time.Time, f func(Samples)) error {
	return eachSample(ctx, q, "mvscheduler.sampled", view, since, changesSince, f)
}

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
	err = eachSample(ctx, q, "mvscheduler.samples", view, since, since, func(s Samples) {
		s.Reads, s.Changes = slices.Clone(s.Reads), slices.Clone(s.Changes)
		samples = append(samples, s)
	})
	return samples, err
}

func eachSample(ctx context.Context, q Querier, from string, view int64, since, changesSince time.Time, f func(Samples)) error {
	s := Samples{ViewID: view}
	rows, err := q.Query(ctx, fmt.Sprintf(`
SELECT at, width, array_send(reads), array_send(CASE WHEN at >= date_trunc('day', $3::timestamptz, 'UTC') THEN changes ELSE '{}' END)
  FROM %s
 WHERE view_id = $1
   AND at >= date_trunc('day', $2::timestamptz, 'UTC')
 ORDER BY at`, from), view, since, changesSince)
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
