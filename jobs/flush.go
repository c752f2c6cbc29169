package jobs

import (
	"context"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/optimizer"
)

// flush records the bin. What it could not write it tries again, but for how far back was read and what was asked for: that may be written
// already, and adds up.
func (c *collector) flush(ctx context.Context) error {
	if c.ratios == nil {
		c.ratios = make(map[int64]*optimizer.Ratio)
	}
	bins := make([]catalog.SampleBin, 0, len(c.bins))
	var lookBacks []catalog.LookBack
	for view, b := range c.bins {
		if c.ratios[view] == nil {
			c.ratios[view] = &optimizer.Ratio{}
		}
		s := catalog.SampleBin{ViewID: view, Seen: b.Reads(c.ratios[view]), Unknown: b.Unknown, Why: b.Why}
		s.Reads, s.Changes = b.Counts(catalog.BinWidth, s.Seen)
		bins = append(bins, s)
		for l, reads := range b.LookBacks {
			lookBacks = append(lookBacks, catalog.LookBack{ViewID: view, DaysBack: l.Days, Entire: l.Entire, Reads: reads})
		}
	}
	if len(bins) > 0 {
		if err := catalog.WriteSamples(ctx, c.pool, c.sampled(), bins); err != nil {
			return err
		}
	}
	c.bins = make(map[int64]*optimizer.Bin) // whatever becomes of the rest
	if len(lookBacks) > 0 {
		if err := catalog.WriteLookBacks(ctx, c.pool, c.name, c.bin, lookBacks); err != nil {
			return err
		}
	}
	return c.tellQuals(ctx)
}

func (c *collector) sampled() catalog.Sampled {
	return catalog.Sampled{Sampler: c.name, Bin: c.bin, From: c.from, Until: c.until, Level: c.level, Sources: c.words, Standbys: c.unread}
}
