package jobs

import (
	"fmt"
	"strings"
	"time"

	"github.com/mvscheduler/mvscheduler/refresh"
)

// undone is a partition that could not be moved.
type undone struct {
	what   string // "x was not dropped"
	err    error
	holder string        // who held the lock that was not had; empty = unknown
	tried  time.Duration // for how long it was asked for
}

func (u undone) String() string {
	if refresh.Classify(u.err) != refresh.Busy {
		text := u.what + ": " + refresh.Describe(u.err)
		if advice := refresh.Advice(refresh.Classify(u.err), refresh.SQLState(u.err), u.err); advice != "" {
			text += ". " + strings.TrimSuffix(advice, ".")
		}
		return text
	}
	text := u.what + ": a lock was not had in " + u.tried.String() + " of tries, each of " + detachLockTimeout.String()
	if u.holder != "" {
		text += ": " + u.holder
	}
	return text
}

// left says what was not done, and why.
func (s *pruneShell) left() string {
	const most = 5
	var words []string
	for i, u := range s.undone {
		if i == most {
			words = append(words, fmt.Sprintf("and %d more like these", len(s.undone)-most))
			break
		}
		words = append(words, u.String())
	}
	return strings.Join(words, "; ")
}

// words says what was done.
func (s *pruneShell) words() string {
	var words []string
	if s.detached.Partitions > 0 {
		words = append(words, "put aside "+s.detached.String())
	}
	if s.dropped.Partitions > 0 {
		words = append(words, "dropped "+s.dropped.String())
	}
	if s.attached.Partitions > 0 {
		words = append(words, "brought back "+s.attached.String())
	}
	words = append(words, s.notes...)
	if len(words) == 0 {
		return "nothing had to move any more"
	}
	return strings.Join(words, "; ")
}
