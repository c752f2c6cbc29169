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
		first int
		since time.Duration
		want  string
	}{
		"nothing yet":              {catalog.Filling{}, 0, time.Second, "0 partitions, 0 rows"},
		"no rate yet":              {catalog.Filling{Partitions: 2, Rows: 50, From: &from}, 0, time.Minute, "2 partitions, 50 rows, from 2026-03-01 on"},
		"a quarter in a minute":    {catalog.Filling{Partitions: 3, Rows: 900, From: &from, Percent: 25}, 0, time.Minute, "3 partitions, 900 rows, from 2026-03-01 on, about 3m0s left"},
		"gone on by another":       {catalog.Filling{Partitions: 7, Rows: 3, From: &from, Percent: 75}, 50, 10 * time.Second, "7 partitions, 3 rows, from 2026-03-01 on, about 10s left"},
		"all but what has no rows": {catalog.Filling{Partitions: 7, Rows: 2, From: &from, Percent: 100}, 50, 10 * time.Second, "7 partitions, 2 rows, from 2026-03-01 on, about 0s left"},
	} {
		require.Equal(t, c.want, howFar(c.far, c.first, c.since), name)
	}
}
