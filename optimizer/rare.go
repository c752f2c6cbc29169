package optimizer

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// rare is a longer interval for a view of which too few reads are known to judge its clock (spec 3a), or why there is none. It
// goes by the most reads that there may be, so that few of them, or none, are evidence for a longer interval and never for a
// shorter one. A person decides, and in one step: that the rate may be wrong is in it.
func (v View) rare(s *study, refresh Expected, evidence func(map[string]any) map[string]any) (*Recommendation, []string) {
	old := v.clock()
	known, _, _ := s.seen(unusedFor)
	switch {
	case old.Mode != Fixed || v.Kappa <= 0:
		return nil, []string{"rarely read: its clock is the sidecar's to tune"}
	case known < 0.95*unusedFor.Seconds() || !v.UsageKnown:
		return nil, []string{fmt.Sprintf("rarely read: its reads have to be known for %s", words(unusedFor))}
	case v.Usage.Servers < v.Usage.ServersAll || v.Usage.Published:
		return nil, []string{"rarely read, as far as it is known: it may be read elsewhere"}
	}
	rate := max(s.rateLimit(unusedFor), s.rateLimit(evidenceWindow))
	every := Schedule{Mode: Fixed, Interval: NiceInterval(s.Cost, s.Kappa, rate, v.Bounds)}
	switch {
	case every.Interval == v.Row && v.Row != v.Interval:
		return nil, []string{fmt.Sprintf("rarely read: its row says %s, and undo ends what is in force", every)}
	case every.Interval <= old.Interval:
		return nil, []string{fmt.Sprintf("rarely read: %s is right for as many reads as there may be", every)}
	}
	before, after := s.predict(old), s.predict(every)
	cost := func(p Prediction, interval time.Duration) float64 {
		return p.RefreshSeconds + s.Kappa*rate*86400*interval.Seconds()/2
	}
	verdict := Change{
		Old: old, New: every, OldCost: cost(before, old.Interval), NewCost: cost(after, every.Interval), Rare: true,
		Now: v.Now, LastChange: v.LastChange, FrozenUntil: v.FrozenUntil, Alarm: s.all.shift.alarm, Bounds: v.Bounds,
	}.Settle()
	if !verdict.Act {
		return nil, verdict.Why
	}
	if saved := before.RefreshSeconds - after.RefreshSeconds; saved < rareWorth {
		return nil, []string{fmt.Sprintf("rarely read: %s would save %.0f refresh-seconds a day, which is little", every, saved)}
	}
	_, reads, hours := s.seen(unusedFor)
	return &Recommendation{
		Kind: "interval", Current: old.String(), Proposed: every.String(),
		Reason: fmt.Sprintf("%s: %s -> %s. Rarely read: %.0f reads in %.0f different hours of %s, less than %.2g a day with %.0f %% confidence. A refresh takes %s (nine in ten at most %s). Expected a day: %.0f -> %.0f s of refreshes; what readers see is at most %s old instead of %s. Who needs it fresher asks for a refresh. Evidence: %s.",
			v.Name, old, every, reads, hours, words(unusedFor), 86400*rate, 100*limitConfidence, shortly(refresh.Whole), shortly(refresh.P90), before.RefreshSeconds, after.RefreshSeconds, words(every.Interval), words(old.Interval), v.Sources),
		Basis:     map[string]string{"refresh_interval": words(v.Interval)},
		Change:    map[string]string{"refresh_interval": words(every.Interval)},
		Evidence:  evidence(map[string]any{"rarely_read": true, "interval_before": words(v.Interval), "reads_in_30_days": math.Round(reads), "hours_with_reads": hours, "reads_a_day_at_most": round(86400*rate, 3), "reasons": slices.Concat(v.Short, verdict.Why)}),
		Predicted: map[string]any{"before": before.figures(), "after": after.figures()},
	}, verdict.Why
}

// seen are the reads of the last span, in how many hours there were any, and how many seconds are known.
func (h History) seen(span time.Duration) (known, reads, hours float64) {
	perHour := h.Grid.Bins(time.Hour)
	last := -1
	for i := max(0, len(h.Reads)-h.Grid.Bins(span)); i < len(h.Reads); i++ {
		if math.IsNaN(h.Reads[i]) {
			continue
		}
		known += h.Grid.seconds()
		if h.Reads[i] > 0 {
			reads += h.Reads[i]
			if i/perHour != last {
				last = i / perHour
				hours++
			}
		}
	}
	return known, reads, hours
}

// rateLimit is the rate, in reads per second, that those of the last span do not exceed with a confidence of 95 %. Reads of
// one hour are one visit: who opens a dashboard causes many. Visits are taken to be Poisson.
func (h History) rateLimit(span time.Duration) float64 {
	known, reads, hours := h.seen(span)
	if known == 0 {
		return math.Inf(1)
	}
	return poissonLimit(hours) * max(1, reads/max(1, hours)) / known
}

// poissonLimit is the mean with which so few events or fewer have a probability of 5 %.
func poissonLimit(events float64) float64 {
	atMost := func(mean float64) (p float64) {
		for k := 0.0; k <= events; k++ {
			factorial, _ := math.Lgamma(k + 1)
			p += math.Exp(k*math.Log(mean) - mean - factorial)
		}
		return p
	}
	low, high := events, events+5*math.Sqrt(events)+5
	for range 50 {
		if mid := (low + high) / 2; atMost(mid) > 1-limitConfidence {
			low = mid
		} else {
			high = mid
		}
	}
	return high
}
