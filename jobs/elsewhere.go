package jobs

import (
	"context"
	"math"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/optimizer"
)

// readStandby waits for one standby no longer than its share of half of a sample's time: one that hangs must not end the sample.
func (c *collector) readStandby(ctx context.Context, pool *pgxpool.Pool) (catalog.Counters, error) {
	ctx, cancel := context.WithTimeout(ctx, collectPatience/2/time.Duration(len(c.standbys)))
	defer cancel()
	return catalog.ReadStandby(ctx, pool, c.cluster)
}

// elsewhere adds the reads on standbys. Where one of them cannot be read, the reads are not known at all.
func (c *collector) elsewhere(ctx context.Context, metered map[int64]optimizer.Metered) {
	if c.others == nil {
		c.others = make([]optimizer.Meter, len(c.standbys))
	}
	for i, pool := range c.standbys {
		var reads map[int64]optimizer.Metered
		counters, err := c.readStandby(ctx, pool)
		if err != nil {
			c.log.WarnContext(ctx, "a standby could not be read", "standby", i+1, "err", err)
			c.others[i] = optimizer.Meter{}
		} else {
			reads = c.others[i].Take(c.sampleOf(counters), nil)
		}
		for view, m := range metered {
			if there, ok := reads[view]; ok && !math.IsNaN(there.Reads) {
				m.Elsewhere += there.Reads
				m.AddLookBacks(there)
			} else {
				m.Reads, m.Why = math.NaN(), "a standby could not be read"
			}
			metered[view] = m
		}
	}
}
