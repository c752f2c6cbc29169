package jobs

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/mvscheduler/mvscheduler/catalog"
)

// lookEvery is how often a build asks the server how far it is.
const lookEvery = 2 * time.Second

// progress shows what a build is doing: which phase, and how far the server says that it is where it says so, for
// the build of an index and for ANALYZE. REFRESH itself tells nobody.
type progress struct {
	mu    sync.Mutex
	phase string
	show  func(phase string, done *catalog.ServerProgress)
	stop  func()
}

func (w *RefreshWorker) progress(ctx context.Context, log *slog.Logger, attempt catalog.Attempt, pid uint32) *progress {
	var (
		looking sync.WaitGroup
		ended   = make(chan struct{}) // a query that is given up costs its connection
	)
	p := &progress{stop: func() { close(ended); looking.Wait() }}
	p.show = func(phase string, done *catalog.ServerProgress) {
		if err := catalog.ReportPhase(ctx, w.control, attempt, phase, done); err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "progress could not be reported", "err", err)
		}
	}
	looking.Go(func() {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ended:
				return
			case <-tick.C:
			}
			done, err := catalog.LookAtProgress(ctx, w.control, pid)
			if err != nil {
				if ctx.Err() == nil {
					log.WarnContext(ctx, "how far the server is could not be read", "err", err)
				}
				continue
			}
			if done != nil {
				p.mu.Lock()
				p.show(p.phase, done)
				p.mu.Unlock()
			}
		}
	})
	return p
}

// enter shows that another phase has begun.
func (p *progress) enter(phase string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.phase = phase
	p.show(phase, nil)
}
