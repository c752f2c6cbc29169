package jobs

import (
	"math"
	"time"
)

// duration is a span in seconds; those that are longer than one can be are as long as one can be.
func duration(seconds float64) time.Duration {
	switch nanos := seconds * float64(time.Second); {
	case nanos >= math.MaxInt64:
		return math.MaxInt64
	case nanos <= math.MinInt64:
		return math.MinInt64
	case math.IsNaN(nanos):
		return 0
	default:
		return time.Duration(nanos)
	}
}
