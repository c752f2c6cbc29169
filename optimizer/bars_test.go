package optimizer

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The bars of the specification (section 5.6), measured on the traces of MVSCHEDULER_TRACES and printed as
// tables. Nothing here is fitted to them: the constants are those of constants.go.

func TestBarsDense(t *testing.T) {
	traces, _ := loadTraces(t)
	b := newBars(t, "Regret against the clairvoyant optimum, in percent; refreshes that a fixed interval needs for the same age (ceiling)",
		"trace target mvscheduler adaptive fixed best_fixed half_read_gap eoq power_of_two ratio ceiling advice")
	var regrets, harm, ratios []float64
	for _, trace := range traces {
		for _, target := range barTargets {
			s := trace.scenario(t, nil, target)
			optimum, bound := s.world.Clairvoyant(s.lo, s.hi)
			cells := []string{trace.name, target.String()}
			cost := map[string]float64{}
			var mine []int
			for _, p := range policies[:len(policies)-1] {
				refreshes := p.run(s)
				if p.name == "mvscheduler" {
					mine = refreshes
				}
				cost[p.name] = s.costOf(refreshes)
				cells = append(cells, percent(cost[p.name]/bound-1))
			}
			regrets = append(regrets, cost["mvscheduler"]/bound-1)
			harm = append(harm, cost["mvscheduler"]/cost["best_fixed"])
			r := equalAgeRatio(s.world, mine, s.lo, s.hi)
			ratios = append(ratios, r)
			choice, _ := chooseSchedule(s.History, Bounds{})
			b.row(append(cells, ratio(r), ratio(equalAgeRatio(s.world, optimum, s.lo, s.hi)), choice.Schedule.Mode.String())...)
		}
	}
	b.most("dense: median regret", quantileOf(regrets, 0.5), 0.05)
	b.most("dense: 90th percentile of the regret", quantileOf(regrets, 0.9), 0.26)
	b.most("do no harm: worst J over best fixed in hindsight", slices.Max(harm), 1.01)
	b.least("smooth traffic: least equal-age ratio", slices.Min(ratios), 0.98)
}

// TestBarsModes is how near the modes come that can be had to the pilot, which cannot: J on the last two weeks, or half
// of a shorter trace, of the last nine.
func TestBarsModes(t *testing.T) {
	traces, _ := loadTraces(t)
	b := newBars(t, "J over that of the pilot", "trace target fixed calendar adaptive chosen was")
	for i := range traces {
		traces = append(traces, traces[i].thin([]float64{20, 50, 100, 200}[i%4]))
	}
	var chosen, before []float64
	for _, trace := range traces {
		for _, target := range barTargets {
			grid, reads := trace.grid, trace.reads
			if over := len(reads) - 9*weekBins; over > 0 {
				grid.Start, reads = grid.At(over), reads[over:]
			}
			s, err := newScenario(grid, reads, nil, 30*time.Second, target, 0)
			require.NoError(t, err)
			choose := func(modes ...Mode) (choice Choice, over map[Mode]float64) {
				choice, ok := s.History.study(Bounds{}).choose(modes...)
				require.True(t, ok)
				over = map[Mode]float64{CalendarMode: math.NaN()}
				pilot := choice.Candidates[len(choice.Candidates)-1].Predicted.Cost
				for _, c := range choice.Candidates {
					over[c.Schedule.Mode] = c.Predicted.Cost / pilot
				}
				return choice, over
			}
			_, over := choose(Fixed, CalendarMode, Adaptive, Piloted)
			now, _ := choose(Fixed, CalendarMode, Adaptive)
			was, _ := choose(Fixed, CalendarMode)
			a, w := over[now.Schedule.Mode], over[was.Schedule.Mode]
			chosen, before = append(chosen, math.Log(a)), append(before, math.Log(w))
			b.row(trace.name, target.String(), ratio(over[Fixed]), ratio(over[CalendarMode]), ratio(over[Adaptive]), now.Schedule.Mode.String(), ratio(w)+" -> "+ratio(a))
		}
	}
	n := float64(len(chosen))
	b.most("modes: the chosen one over the pilot, geometric mean", math.Exp(sum(chosen)/n), 1.05)
	b.least("modes: fixed and calendar alone over the chosen one, geometric mean", math.Exp((sum(before)-sum(chosen))/n), 1)
}

func TestBarsThinned(t *testing.T) {
	traces, _ := loadTraces(t)
	b := newBars(t, "J over that of somebody who knows the true intensity", "trace target mvscheduler best_fixed eoq mvscheduler/best_fixed")
	var excess []float64
	for i, trace := range traces {
		thin := trace.thin([]float64{20, 50, 100, 200}[i%4])
		for _, target := range barTargets {
			s := thin.scenario(t, nil, target)
			bound := s.rateClairvoyant(trace)
			us, fixed := s.costOf(s.mvscheduler())/bound, s.costOf(s.bestFixed())/bound
			excess = append(excess, us)
			b.row(thin.name, target.String(), ratio(us), ratio(fixed), ratio(s.costOf(s.eoq())/bound), ratio(us/fixed))
		}
	}
	b.most("thinned: median", quantileOf(excess, 0.5), 1.10)
	b.most("thinned: worst", slices.Max(excess), 1.25)
}

func TestBarsRobust(t *testing.T) {
	traces, _ := loadTraces(t)
	b := newBars(t, "J when reads are miscounted, over J when they are not, at 1 h", "trace half twice a_fifth_lost")
	var miscounted, lost []float64
	for i, trace := range traces {
		if i%2 == 1 {
			trace = trace.thin(100)
		}
		s := trace.scenario(t, nil, time.Hour)
		truth := s.costOf(s.mvscheduler())
		wrong := func(h History) float64 {
			return s.costOf(h.Refreshes(Schedule{Mode: Piloted}, Bounds{}, s.lo, s.hi)) / truth
		}
		half, twice, holes := s.History, s.History, s.History
		half.Kappa, twice.Kappa = s.Kappa/2, s.Kappa*2
		holes.Reads = slices.Clone(s.Reads)
		random := rand.New(rand.NewPCG(5, 5))
		for i := range holes.Reads {
			if random.IntN(5) == 0 {
				holes.Reads[i] = 0 // the worst case: taken for silence
			}
		}
		a, z, l := wrong(half), wrong(twice), wrong(holes)
		miscounted, lost = append(miscounted, a, z), append(lost, l)
		b.row(trace.name, ratio(a), ratio(z), ratio(l))
	}
	b.most("reads counted twice or half: worst", slices.Max(miscounted), 1.12)
	b.most("a fifth of the samples lost: worst", slices.Max(lost), 1.04)
}

// Readers of single reads at all hours leave nothing to gain over the best fixed interval in hindsight: what cannot be
// foreseen is when changes come. Those of office hours do.
func TestBarsChanges(t *testing.T) {
	traces, changes := loadTraces(t)
	if len(changes) == 0 {
		t.Skip("no trace of changes")
	}
	b := newBars(t, "Regret with recorded changes, in percent; the means over many parts of the trace of changes", "target readers pairs mvscheduler best_fixed mvscheduler/best_fixed clock_of_auto/best_fixed")
	start, counts := changes[0].Counts(5 * time.Minute)
	office := officeHours(60)
	for _, target := range barTargets {
		for _, readers := range []struct {
			name   string
			traces []barTrace
		}{{"recorded", traces}, {"office_hours", []barTrace{office, office, office}}} {
			var us, fixed, over, clock []float64
			for i, trace := range readers.traces {
				thin := trace.thin([]float64{50, 100, 200}[i%3])
				_, hi := thin.window()
				offset := int(thin.grid.Start.Sub(start)/(5*time.Minute)) % weekBins
				for at := (offset + weekBins) % weekBins; at+hi <= len(counts); at += 52 * weekBins {
					s := thin.scenario(t, counts[at:][:hi], target)
					_, bound := s.world.Clairvoyant(s.lo, s.hi)
					mine := s.mvscheduler()
					require.Equal(t, s.world.skipUnchanged(mine, 0), mine, "no refresh without a change")
					if bound < 10*s.Cost {
						continue // fewer than ten refreshes say nothing
					}
					a, f := s.costOf(mine), s.costOf(s.bestFixed())
					us, fixed, over = append(us, a/bound-1), append(fixed, f/bound-1), append(over, math.Log(a/f))
					clock = append(clock, math.Log(s.costOf(s.clockOfAuto())/f))
				}
			}
			n := float64(len(us))
			b.row(target.String(), readers.name, fmt.Sprint(len(us)), percent(sum(us)/n), percent(sum(fixed)/n), ratio(math.Exp(sum(over)/n)), ratio(math.Exp(sum(clock)/n)))
			if readers.name == "office_hours" {
				b.most(fmt.Sprintf("J over best fixed in hindsight, %s, readers of office hours", target), math.Exp(sum(over)/n), 1)
			}
		}
	}
}

// fleetMembers spread reads and costs like the quartiles of Redset, on the traces that the reference took. In
// another directory the traces are taken in order.
var fleetMembers = []struct {
	trace        string
	perDay, cost float64
}{
	{"worldcup98_1min", 5, 120}, {"nab_nyc_taxi_30min", 20, 5}, {"nab_twitter_AAPL_5min", 50, 30}, {"nab_twitter_AMZN_5min", 100, 2},
	{"nab_twitter_KO_5min", 200, 300}, {"melb_peds_sensor6.0_1h", 400, 60}, {"melb_peds_sensor30.0_1h", 1000, 10},
	{"melb_peds_sensor18.0_1h", 3000, 20}, {"melb_peds_sensor3.0_1h", 10000, 5}, {"worldcup98_1min", 30, 600},
}

func TestBarsFleet(t *testing.T) {
	traces, _ := loadTraces(t)
	b := newBars(t, "Ten views on one budget: refresh-seconds a day and mean age",
		"kappa seconds age J/clairvoyant one_interval equal_duty")
	for _, kappa := range []float64{3e-5, 3e-4} {
		var worlds []*scenario
		for i, m := range fleetMembers {
			trace := traces[i%len(traces)]
			if at := slices.IndexFunc(traces, func(b barTrace) bool { return b.name == m.trace }); at >= 0 {
				trace = traces[at]
			}
			thin := trace.thin(m.perDay)
			lo, _ := thin.window()
			hi := min(len(thin.reads), lo+14*dayBins)
			h := History{Grid: thin.grid, Reads: thin.reads[:hi], Cost: m.cost, Kappa: kappa}
			worlds = append(worlds, &scenario{History: h, world: h.World(), lo: lo, hi: hi})
		}
		// total is the refresh-seconds and read-seconds of age a day
		total := func(run func(s *scenario) []int) (spent, age, reads float64) {
			for _, s := range worlds {
				days := float64(s.hi-s.lo) / dayBins
				out := s.world.Replay(run(s), s.lo, s.hi)
				spent += out.RefreshSeconds / days
				age += out.MeanAge * out.Reads / days
				reads += out.Reads / days
			}
			return spent, age, reads
		}
		spent, age, reads := total((*scenario).mvscheduler)
		best, bestAge, _ := total((*scenario).clairvoyant)
		needs := func(interval func(s *scenario, i int) float64) float64 { // refresh-seconds for the same age
			var spentBefore, ageBefore float64
			for i := range 30 {
				x, a, _ := total(func(s *scenario) []int {
					return every(s.Grid, max(1, interval(s, i)/s.Grid.seconds()), s.lo, s.hi)
				})
				if ageBefore > 0 && ageBefore <= age && age <= a {
					f := math.Log(age/ageBefore) / math.Log(a/ageBefore)
					return math.Exp(math.Log(spentBefore)*(1-f) + math.Log(x)*f)
				}
				spentBefore, ageBefore = x, a
			}
			return math.NaN()
		}
		one := needs(func(_ *scenario, i int) float64 { return 300 * math.Exp2(float64(i)/2) }) / spent
		duty := needs(func(s *scenario, i int) float64 { return 4 * math.Exp2(float64(i)/2) * s.Cost }) / spent
		j := (spent + kappa*age) / (best + kappa*bestAge)
		b.row(fmt.Sprint(kappa), fmt.Sprintf("%.0f", spent), shortly(age/reads), ratio(j), ratio(one), ratio(duty))
		b.most("fleet: J over clairvoyant", j, 1.12)
		b.least("fleet: refresh-seconds of one interval for all", one, 12)
		b.least("fleet: refresh-seconds of an equal duty cycle", duty, 2)
	}
}

func TestBarsEqualTheReference(t *testing.T) {
	traces, _ := loadTraces(t)
	reference, compared := records(t, "reference_dev.csv"), 0
	for _, r := range reference {
		i := slices.IndexFunc(traces, func(b barTrace) bool { return b.name == r["trace"] })
		if i < 0 {
			continue
		}
		trace := traces[i]
		if r["reads_per_day"] != "" {
			trace = trace.thin(number(t, r["reads_per_day"]))
		}
		s := trace.scenario(t, nil, seconds(number(t, r["target_seconds"])))
		_, bound := s.world.Clairvoyant(s.lo, s.hi)
		require.InEpsilon(t, number(t, r["clairvoyant_j"]), bound, 1e-6, "%v", r)
		require.InEpsilon(t, number(t, r["best_fixed_j"]), s.costOf(s.bestFixed()), 1e-6, "%v", r)
		compared++
	}
	require.Contains(t, []int{0, len(reference)}, compared, "all of the traces that the reference took, or others")
	fmt.Printf("\nclairvoyant and best fixed equal the reference to 1e-6 in %d runs\n", compared)
}
