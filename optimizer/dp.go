package optimizer

import "slices"

// mongeDP solves
//
//	value[0] = 0,  value[i] = min over j < i of value[j] + w(j, i)
//
// for a w that is Monge, w(a, c) + w(b, d) <= w(a, d) + w(b, c) for a < b < c < d, in O(n log n) calls of w,
// and returns the j that were best. This is the queue of Hirschberg and Larmore (The least weight subsequence
// problem, 1987) and Galil and Giancarlo (1989): if a later candidate is better for some i, it is better for
// every i that follows, so each candidate rules one range, found by bisection.
func mongeDP(n int, w func(j, i int) float64) (value []float64, parent []int) {
	type candidate struct{ j, from int } // j is the best from here on
	value = make([]float64, n+1)
	parent = make([]int, n+1)
	queue := make([]candidate, 1, n+1)
	queue[0] = candidate{0, 1}
	head := 0
	for i := 1; i <= n; i++ {
		for head+1 < len(queue) && queue[head+1].from <= i {
			head++
		}
		parent[i] = queue[head].j
		value[i] = value[parent[i]] + w(parent[i], i)
		if i == n {
			break
		}
		better := func(at, j int) bool { return value[i]+w(i, at) <= value[j]+w(j, at) }
		for last := queue[len(queue)-1]; len(queue)-1 > head && last.from > i && better(last.from, last.j); {
			queue = queue[:len(queue)-1]
			last = queue[len(queue)-1]
		}
		last := queue[len(queue)-1]
		from, end := max(last.from, i+1), n+1
		for from < end {
			if mid := (from + end) / 2; better(mid, last.j) {
				end = mid
			} else {
				from = mid + 1
			}
		}
		if from <= n {
			queue = append(queue, candidate{i, from})
		}
	}
	return value, parent
}

// Clairvoyant is the cheapest set of refreshes in bins [lo, hi) for somebody who knows every read and change
// beforehand, the first of them at lo, and its cost. No policy can do better.
func (w *World) Clairvoyant(lo, hi int) (refreshes []int, cost float64) {
	n := hi - lo
	value, parent := mongeDP(n, func(j, i int) float64 { return w.segment(lo+j, lo+i) })
	for i := n; i > 0; {
		i = parent[i]
		refreshes = append(refreshes, lo+i)
	}
	slices.Reverse(refreshes)
	return refreshes, value[n]
}
