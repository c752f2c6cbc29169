package jobs

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
)

func TestAFillSaysHowFarItIsAndHowLongTheRestTakes(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		far   catalog.Filling
		first float64
		since time.Duration
		want  string
		total int64
		left  time.Duration
	}{
		"nothing yet":              {catalog.Filling{}, 0, time.Second, "0 buckets, 0 rows", 0, 0},
		"no total yet":             {catalog.Filling{Buckets: 1, Rows: 50, From: &from}, 0, time.Minute, "1 bucket, 50 rows, from 2026-03-01 on", 0, 0},
		"no rate yet":              {catalog.Filling{Buckets: 2, Rows: 50, From: &from, Share: 0.505}, 0.5, time.Minute, "2 of about 4 buckets, 50 rows, from 2026-03-01 on", 4, 0},
		"a quarter in a minute":    {catalog.Filling{Buckets: 30, Rows: 900, From: &from, Share: 0.25}, 0, time.Minute, "30 of about 120 buckets, 900 rows, from 2026-03-01 on, about 3m0s left", 120, 3 * time.Minute},
		"gone on by another":       {catalog.Filling{Buckets: 7, Rows: 3, From: &from, Share: 0.75}, 0.5, 10 * time.Second, "7 of about 9 buckets, 3 rows, from 2026-03-01 on, about 10s left", 9, 10 * time.Second},
		"all but what has no rows": {catalog.Filling{Buckets: 7, Rows: 2, From: &from, Share: 1}, 0.5, 10 * time.Second, "7 of about 7 buckets, 2 rows, from 2026-03-01 on, about 0s left", 7, 0},
	} {
		done := howFar(c.far, c.first, c.since)
		require.Equal(t, c.want, done.What, name)
		require.Equal(t, int(100*c.far.Share), done.Percent, name)
		require.Equal(t, catalog.Progress{Buckets: c.far.Buckets, Total: c.total, Rows: c.far.Rows, Left: c.left}, *done.Fill, name)
	}
}
