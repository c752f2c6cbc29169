package optimizer

import "time"

// Allowance is what refreshes that readers ask for took in the last hour, by the owner of the view. It has the owners of
// all views whose readers may ask, and no others.
type Allowance map[uint32]time.Duration

// Left is how much more the readers of one owner may ask for, of a budget for all. Every owner has the same share of it. What
// one does not use is not lent to another, who may come later in the same hour; one refresh may take longer than was left.
func (a Allowance) Left(owner uint32, budget time.Duration) time.Duration {
	return budget/time.Duration(max(1, len(a))) - a[owner]
}
