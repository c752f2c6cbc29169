package optimizer

import (
	"math"
	"slices"
	"time"
)

// Run is what one refresh took.
type Run struct {
	Duration time.Duration
	WALBytes float64
	Rows     float64 // of the view, or changed by an incremental refresh; zero = unknown
}

// Seconds is the cost of a run in refresh-seconds: its duration and the price of its WAL (spec 3c).
func (r Run) Seconds() float64 { return r.Duration.Seconds() + walSeconds*r.WALBytes/(1<<20) }

// CostModel is what a refresh is expected to cost, in refresh-seconds: log c = a + b log rows.
type CostModel struct {
	A, B  float64
	Sigma float64 // robust standard deviation of log c
	Runs  int
}

// FitCost fits a model to the runs of one method, the oldest first. It is a regression with Huber's weights,
// in which each run counts costForget times as much as the one after it. Where sizes are unknown or all alike
// it is the weighted median cost. Without runs the second result is false.
func FitCost(runs []Run) (CostModel, bool) {
	var x, y, age []float64
	for i, r := range runs {
		if c := r.Seconds(); c > 0 {
			x = append(x, math.Log(max(r.Rows, 1)))
			y = append(y, math.Log(c))
			age = append(age, math.Pow(costForget, float64(len(runs)-1-i)))
		}
	}
	if len(y) == 0 {
		return CostModel{}, false
	}
	m := CostModel{A: weightedMedian(y, age), Runs: len(y)}
	residuals, scratch := make([]float64, len(y)), make([]float64, len(y))
	sigma := func() float64 {
		for i := range y {
			residuals[i] = y[i] - m.A - m.B*x[i]
			scratch[i] = math.Abs(residuals[i])
		}
		slices.Sort(scratch)
		return max(1.4826*quantileOfSorted(scratch, 0.5), 0.01)
	}
	for range 20 { // iteratively reweighted least squares; far fewer suffice
		before := m
		m.Sigma = sigma()
		var w, wx, wy, wxx, wxy float64
		for i := range y {
			weight := age[i] * min(1, huberK*m.Sigma/max(math.Abs(residuals[i]), 1e-12))
			w += weight
			wx += weight * x[i]
			wy += weight * y[i]
			wxx += weight * x[i] * x[i]
			wxy += weight * x[i] * y[i]
		}
		spread := wxx - wx*wx/w
		if spread < 0.01*w { // sizes within a tenth of each other say nothing about a slope
			m.A, m.B = wy/w, 0
		} else {
			m.B = min(max((wxy-wx*wy/w)/spread, 0), 2) // time does not fall with size, nor explode
			m.A = (wy - m.B*wx) / w
		}
		if m.A == before.A && m.B == before.B {
			break
		}
	}
	m.Sigma = sigma()
	return m, true
}

// Median is the expected cost of a refresh of so many rows; use it for plans.
func (m CostModel) Median(rows float64) float64 {
	return math.Exp(m.A + m.B*math.Log(max(rows, 1)))
}

// P90 is the cost that nine in ten refreshes do not exceed; use it for budgets and timeouts.
func (m CostModel) P90(rows float64) float64 { return m.Median(rows) * math.Exp(1.2816*m.Sigma) }

// Expected is what a refresh of a view is expected to cost, in refresh-seconds.
type Expected struct {
	Cost   float64 // that the interval decides about
	Whole  float64 // all of it, in the median
	P90    float64 // that nine in ten do not exceed
	PerRow float64 // of an incremental refresh, for each row that changed: paid at any interval (spec 1.1), so that Cost is without
	Rows   float64 // that change between two of those, in the median
	Runs   int     // that this is known of
}

// Expect is that of the runs by one method, the oldest first; those of incremental ones have the rows that changed. Without
// runs the second result is false.
func Expect(method string, runs []Run) (Expected, bool) {
	model, ok := FitCost(runs)
	if !ok {
		return Expected{}, false
	}
	e := Expected{Rows: runs[len(runs)-1].Rows, Runs: model.Runs}
	if method != "incremental" {
		e.Whole, e.P90 = model.Median(e.Rows), model.P90(e.Rows)
		e.Cost = e.Whole
		return e, true
	}
	rows := make([]float64, len(runs))
	for i, r := range runs {
		rows[i] = r.Rows
	}
	e.Rows = median(rows)
	e.Whole, e.P90 = model.Median(e.Rows), model.P90(e.Rows)
	c, _ := FitIncremental(runs)
	e.Cost, e.PerRow = max(c.Fixed, stepSeconds), c.PerRow
	return e, true
}

// IncrementalCost is the cost of an incremental refresh, in refresh-seconds: Fixed + PerRow * rows changed.
// Only Fixed matters for the interval, the rest is paid anyway (spec 1.1).
type IncrementalCost struct{ Fixed, PerRow float64 }

// FitIncremental fits the last keptRuns runs by the median of the slopes between any two of them (Theil 1950,
// Sen 1968), which a third of outliers do not move. Without runs the second result is false.
func FitIncremental(runs []Run) (IncrementalCost, bool) {
	runs = runs[max(0, len(runs)-keptRuns):]
	if len(runs) == 0 {
		return IncrementalCost{}, false
	}
	var slopes []float64
	for i, a := range runs {
		for _, b := range runs[:i] {
			if a.Rows != b.Rows {
				slopes = append(slopes, (a.Seconds()-b.Seconds())/(a.Rows-b.Rows))
			}
		}
	}
	var c IncrementalCost
	if len(slopes) > 0 {
		c.PerRow = max(0, median(slopes))
	}
	rests := make([]float64, len(runs))
	for i, r := range runs {
		rests[i] = r.Seconds() - c.PerRow*r.Rows
	}
	c.Fixed = max(0, median(rests))
	return c, true
}

// Blocking is what readers lose by waiting for the exclusive lock of a plain refresh of so many seconds, in
// refresh-seconds: blockedPrice*kappa*rate*d^2/2.
func Blocking(kappa, rate, duration float64) float64 {
	return blockedPrice * kappa * rate * duration * duration / 2
}

func median(values []float64) float64 { return quantileOf(values, 0.5) }

// weightedMedian is the smallest value below or at which half of the weight lies.
func weightedMedian(values, weights []float64) float64 {
	order := make([]int, len(values))
	var total float64
	for i := range order {
		order[i] = i
		total += weights[i]
	}
	slices.SortFunc(order, func(a, b int) int {
		switch {
		case values[a] < values[b]:
			return -1
		case values[a] > values[b]:
			return 1
		}
		return 0
	})
	var so float64
	for _, i := range order {
		if so += weights[i]; so >= total/2 {
			return values[i]
		}
	}
	return values[order[len(order)-1]]
}
