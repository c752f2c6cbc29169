package optimizer

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// LookBacks sum up how far back a view is read.
type LookBacks struct {
	spans     []weighted // bounded and unbounded (infinite), by length
	Effective float64    // reads, clustered and weighted by their age
	Unbounded float64    // share of them
	Longest   time.Duration
}

type weighted struct{ span, weight float64 }

// UpperLimit is a look-back that, with a confidence of 95 %, at least a share q of the reads does not exceed.
// It assumes nothing about the distribution: among n reads, the number that exceed the q-quantile is
// Binomial(n, 1-q), so that the read which the most of them with P(Binomial <= m) <= 5 % exceed is such a
// limit (Wilks 1941). False when there are too few reads for any; infinite when reads without a lower bound
// stand in the way.
func (l LookBacks) UpperLimit(q float64) (seconds float64, ok bool) {
	exceed, ok := exceedances(l.Effective, 1-q)
	if !ok {
		return 0, false
	}
	var so float64
	for _, s := range l.spans {
		if so += s.weight; so > exceed {
			return s.span, true
		}
	}
	return 0, false
}

// exceedances is the largest m with P(Binomial(n, p) <= m) <= 1 - limitConfidence; false when there is none.
func exceedances(n, p float64) (m float64, ok bool) {
	term := math.Exp(n * math.Log1p(-p)) // P(0)
	sum := term
	if sum > 1-limitConfidence {
		return 0, false
	}
	for {
		next := term * (n - m) / (m + 1) * p / (1 - p)
		if sum+next > 1-limitConfidence {
			return m, true
		}
		m, term, sum = m+1, next, sum+next
	}
}

func sortLongestFirst(spans []weighted) {
	slices.SortFunc(spans, func(a, b weighted) int { return cmp.Compare(b.span, a.span) })
}
