package optimizer

import (
	"fmt"
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

// Reasons says what the model rests on.
func (m CostModel) Reasons() []string {
	return []string{fmt.Sprintf("from %d refreshes: cost grows with the rows to the power of %.2f, nine in ten are within %.0f %% of the median", m.Runs, m.B, 100*(math.Exp(1.2816*m.Sigma)-1))}
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

// LoadPrice is the price of a refresh-second by hour of the week, from the load of the server (active
// backends): 1 up to busyLoad of its 95th percentile, from there on rising to busyPrice.
func LoadPrice(load [hoursOfWeek]float64) [hoursOfWeek]float64 {
	peak := quantileOf(load[:], 0.95)
	var price [hoursOfWeek]float64
	for h, l := range load {
		price[h] = 1
		if peak > 0 {
			busy := min(max((l/peak-busyLoad)/(1-busyLoad), 0), 1)
			price[h] += (busyPrice - 1) * busy
		}
	}
	return price
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
