package optimizer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Simulation is a trace and the question that is asked of it: what would each policy have cost?
type Simulation struct {
	Reads   Trace
	Changes *Trace // of the view's sources; nil = they change all the time

	RefreshCost time.Duration // of one refresh
	// Target is the interval that a fixed schedule should have at the mean rate of the reads; it sets the price
	// of age. Defaults to 15 minutes.
	Target time.Duration
	// Interval of the policy fixed; zero = Target.
	Interval time.Duration
	// Policies by name, in the order in which they are printed; none = all.
	Policies []string
	// WarmUp is the part of the trace that is only learnt from. Zero = 21 days, or half of a shorter trace.
	WarmUp time.Duration
	// Span is the part after the warm-up that is judged. Zero = 21 days, or what there is.
	Span time.Duration
	// Latest judges the end of the trace and learns from all before it, where WarmUp is zero and the trace longer than both.
	Latest bool
	// Zone of the clock that readers live by; nil = UTC.
	Zone *time.Location
}

// PolicyResult is what one policy came to.
type PolicyResult struct {
	Policy         string  `json:"policy"`
	Refreshes      int     `json:"refreshes"`
	RefreshSeconds float64 `json:"refresh_seconds"`
	MeanAge        float64 `json:"read_weighted_mean_age_seconds"`
	P95Age         float64 `json:"p95_age_seconds"`
	Cost           float64 `json:"cost_j"` // refresh-seconds, age included at its price
	Regret         float64 `json:"regret"` // cost over that of clairvoyant, minus 1
}

// Report is the answer of a [Simulation].
type Report struct {
	Results  []PolicyResult
	From, To time.Time     // the part of the trace that was judged
	WarmUp   time.Duration // before From
	Width    time.Duration // of a bin
	Reads    float64       // in the part that was judged
	Target   time.Duration // the best interval at the mean rate of the reads, which sets Kappa
	Kappa    float64       // refresh-seconds that a second of age is worth to one read
	Notes    []string      // what was assumed
}

// simulatedSpan is the default of WarmUp and of Span.
const simulatedSpan = 21 * 24 * time.Hour

// PolicyNames are the policies that a [Simulation] knows.
func PolicyNames() []string {
	names := make([]string, len(policies))
	for i, p := range policies {
		names[i] = p.name
	}
	return names
}

// PolicyAbout says in a sentence what a policy does; empty for an unknown one.
func PolicyAbout(name string) string {
	for _, p := range policies {
		if p.name == name {
			return p.about
		}
	}
	return ""
}

// Simulate replays a trace under each policy. It takes a fraction of a second for each; cancelling the context
// ends it between two of them.
func Simulate(ctx context.Context, sim Simulation) (Report, error) {
	chosen, err := choose(sim.Policies)
	if err != nil {
		return Report{}, err
	}
	s, report, err := sim.scenario()
	if err != nil {
		return Report{}, err
	}
	bound := s.world.Replay(s.clairvoyant(), s.lo, s.hi).Cost
	for _, p := range chosen {
		if ctx.Err() != nil {
			return Report{}, ctx.Err()
		}
		out := s.world.Replay(p.run(s), s.lo, s.hi)
		result := PolicyResult{
			Policy: p.name, Refreshes: out.Refreshes, RefreshSeconds: out.RefreshSeconds,
			MeanAge: out.MeanAge, P95Age: out.P95Age, Cost: out.Cost,
		}
		if p.name != "clairvoyant" {
			result.Regret = out.Cost/bound - 1
		}
		report.Results = append(report.Results, result)
	}
	return report, nil
}

func choose(names []string) ([]policy, error) {
	if len(names) == 0 {
		return policies, nil
	}
	var chosen []policy
	for _, name := range names {
		i := slices.IndexFunc(policies, func(p policy) bool { return p.name == name })
		if i < 0 {
			return nil, fmt.Errorf("unknown policy %q: use one of %s", name, strings.Join(PolicyNames(), ", "))
		}
		chosen = append(chosen, policies[i])
	}
	return chosen, nil
}

// scenario cuts the trace into bins and prices age.
func (sim Simulation) scenario() (*scenario, Report, error) {
	target := sim.Target
	if target == 0 {
		target = defaultTarget
	}
	interval := sim.Interval
	if interval == 0 {
		interval = target
	}
	switch {
	case sim.RefreshCost <= 0:
		return nil, Report{}, errors.New("the cost of a refresh must be positive")
	case target < time.Minute || interval < 0 || sim.WarmUp < 0 || sim.Span < 0:
		return nil, Report{}, errors.New("the target must be a minute or longer, and no span negative")
	case len(sim.Reads.points) == 0:
		return nil, Report{}, errors.New("there are no reads")
	}
	width := 5 * time.Minute // spec 5.1
	if target < 10*time.Minute {
		width = time.Minute
	}
	start, reads := sim.Reads.Counts(width)
	grid := Grid{Start: start, Width: width, Zone: sim.Zone}
	report := Report{Width: width}
	if interval > width && interval%width != 0 {
		report.Notes = append(report.Notes, fmt.Sprintf("the interval of %s is rounded to whole bins of %s", interval, words(width)))
	}

	lo, span := min(grid.Bins(orElse(sim.WarmUp, simulatedSpan)), len(reads)/2), grid.Bins(orElse(sim.Span, simulatedSpan))
	if sim.Latest && sim.WarmUp == 0 {
		lo = max(lo, len(reads)-span)
	}
	hi := min(len(reads), lo+span)
	if hi-lo < 2 {
		return nil, Report{}, fmt.Errorf("the trace is too short, %s: it takes 3 bins of %s at least", words(time.Duration(len(reads))*width), words(width))
	}
	reads = reads[:hi]
	changes, note := sim.changes(grid, lo, hi)
	if note != "" {
		report.Notes = append(report.Notes, note)
	}
	if changes != nil && !slices.ContainsFunc(changes[lo:hi], func(n float64) bool { return n > 0 }) {
		report.Notes = append(report.Notes, "nothing changed below it in that time: any clock would have skipped every refresh but the first, and they cost the same")
	}
	s, err := newScenario(grid, reads, changes, sim.RefreshCost, target, lo)
	if err != nil {
		return nil, Report{}, err
	}
	s.interval = interval
	report.From, report.To, report.WarmUp = grid.At(lo), grid.At(hi), time.Duration(lo)*width
	report.Target = target
	report.Reads, report.Kappa = s.world.reads.total(lo, hi), s.Kappa
	if report.Reads == 0 {
		report.Notes = append(report.Notes, "nobody read in the time that is judged: a policy costs what its refreshes do")
	}
	return s, report, nil
}

// ErrNoReads says that there is nothing to weigh refreshes against.
var ErrNoReads = errors.New("the trace holds no reads")

// newScenario prices age so that the target is the best fixed interval at the mean rate of all the reads.
func newScenario(grid Grid, reads, changes []float64, refreshCost, target time.Duration, lo int) (*scenario, error) {
	total := momentsOf(reads).total(0, len(reads))
	if total == 0 {
		return nil, ErrNoReads
	}
	cost := refreshCost.Seconds()
	kappa := KappaFor(target, cost, total/(float64(len(reads))*grid.seconds()))
	history := History{Grid: grid, Reads: reads, Changes: changes, Cost: cost, Kappa: kappa}
	return &scenario{History: history, world: history.World(), lo: lo, hi: len(reads), interval: target}, nil
}

func orElse(d, other time.Duration) time.Duration {
	if d == 0 {
		return other
	}
	return d
}

// changes say in which bins of the grid the sources changed, as the specification's simulator counts them: once. A trace of
// changes from another time is shifted by whole weeks, which keeps days and hours, and repeated as often as needed.
func (sim Simulation) changes(grid Grid, lo, hi int) (changes []float64, note string) {
	if sim.Changes == nil {
		return nil, ""
	}
	start, counts := sim.Changes.Counts(grid.Width)
	offset := int(grid.Start.Sub(start) / grid.Width) // bin of the changes at which the reads begin
	changes = make([]float64, hi)
	if overlap := min(hi+offset, len(counts)) - max(lo+offset, 0); overlap >= (hi-lo)/2 {
		for t := range changes {
			if at := t + offset; at >= 0 && at < len(counts) {
				changes[t] = min(1, counts[at])
			}
		}
		return changes, ""
	}
	week := grid.Bins(7 * 24 * time.Hour)
	offset = ((offset % week) + week) % week
	period := (len(counts) + week - 1) / week * week
	for t := range changes {
		if at := (t + offset) % period; at < len(counts) {
			changes[t] = min(1, counts[at])
		}
	}
	return changes, "the changes are from another time than the reads: they were shifted by whole weeks"
}
