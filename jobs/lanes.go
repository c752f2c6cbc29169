package jobs

import (
	"math/rand/v2"
	"sync"
	"time"
)

// lanes bounds the attempts of one owner that run at once in this process, so that a worker is left for
// the others. The dispatcher makes no more new runs than that, but runs that failed come back on their
// own time, all together when their owner arranges it so. The count is kept here and not in the database,
// where it would need a lock. Safe for concurrent use.
type lanes struct {
	mu    sync.Mutex
	taken map[uint32]int
}

// enter takes a lane of the owner unless so many are taken; leave gives it back.
func (l *lanes) enter(owner uint32, most int) (leave func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken[owner] >= most {
		return nil, false
	}
	if l.taken == nil {
		l.taken = make(map[uint32]int)
	}
	l.taken[owner]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.taken[owner]--; l.taken[owner] == 0 {
			delete(l.taken, owner)
		}
	}, true
}

// turnedAway is when a run that found no lane comes back; spread, so that many do not come together.
func turnedAway() time.Duration { return 2*time.Second + rand.N(4*time.Second) }
