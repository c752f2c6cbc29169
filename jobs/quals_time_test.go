package jobs

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/optimizer"
	"github.com/mvscheduler/mvscheduler/optimizer/attribution"
)

// A thousand statements that take long to be parsed are no reason for a sample to take half a minute.
func TestWhatATextAsksForIsNotKnownWhenTheTimeForTextsIsOver(t *testing.T) {
	t.Parallel()
	now := time.Now()
	c := &collector{}
	c.zones = map[int64]*time.Location{1: time.UTC}
	c.quals.examples = map[int64]string{7: `SELECT * FROM v WHERE ts >= now() - interval '2 days'`}
	q := optimizer.Qual{View: 1, Query: 7, Column: "ts"}
	from, known := c.lowerBound(q, now, make(map[int64]attribution.Bound), now.Add(time.Hour))
	require.True(t, known)
	require.Equal(t, now.Add(-48*time.Hour).Unix(), from.Unix())
	_, known = c.lowerBound(q, now, make(map[int64]attribution.Bound), now)
	require.False(t, known)
}
