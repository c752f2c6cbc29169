package jobs

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mvscheduler/mvscheduler/catalog"
)

// Metrics counts what this process did. What the whole deployment looks like (lag, queue depth) is read
// from the database at each scrape, by package web.
type Metrics struct {
	refreshes     *prometheus.CounterVec
	duration      *prometheus.HistogramVec
	slotsMissed   prometheus.Counter
	lockWait      prometheus.Histogram
	dispatchDelay prometheus.Histogram
	lostAttempts  prometheus.Counter
	pruned        prometheus.Counter
}

// NewMetrics makes the metrics and registers them. A nil registerer makes metrics that nobody reads.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	seconds := prometheus.ExponentialBucketsRange(0.001, 3600, 20)
	m := &Metrics{
		refreshes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mvscheduler_refresh_total",
			Help: "Attempts to refresh a view that ended in this process, by result: succeeded, failed, busy or cancelled; and runs skipped since nothing had changed.",
		}, []string{"result"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "mvscheduler_refresh_duration_seconds",
			Help:    "Time from the start of an attempt to its end, waiting for locks included.",
			Buckets: seconds,
		}, []string{"result"}),
		slotsMissed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mvscheduler_slots_missed_total",
			Help: "Slots that passed without a run of their own: no sidecar ran, or the run before was still under way. Not those that passed in a pause.",
		}),
		lockWait: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "mvscheduler_lock_wait_seconds",
			Help:    "Time that an attempt which ended spent stepping back from locks, one observation an attempt that met one.",
			Buckets: seconds,
		}),
		dispatchDelay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "mvscheduler_dispatch_delay_seconds",
			Help:    "Time from the instant at which a run was due to the start of its first attempt.",
			Buckets: seconds,
		}),
		lostAttempts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mvscheduler_lost_attempts_total",
			Help: "Attempts whose backend was gone and that this process gave to the next worker.",
		}),
		pruned: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mvscheduler_pruned_partitions_total",
			Help: "Partitions that retention put aside in this process; each can be restored until its grace period is over.",
		}),
	}
	for _, result := range []string{outcomeSucceeded, outcomeFailed, outcomeBusy, outcomeCancelled, outcomeSkipped} {
		m.refreshes.WithLabelValues(result)
	}
	if registerer != nil {
		registerer.MustRegister(m.refreshes, m.duration, m.slotsMissed, m.lockWait, m.dispatchDelay, m.lostAttempts, m.pruned)
	}
	return m
}

func (m *Metrics) dispatched(decisions []catalog.Decision) {
	for _, d := range decisions {
		if d.Skipped != nil {
			m.slotsMissed.Add(float64(1 + d.Skipped.MissedSlots - d.Skipped.HeldSlots))
		}
		if d.Run != nil {
			m.slotsMissed.Add(float64(d.Run.MissedSlots - d.Run.HeldSlots))
		}
	}
}

func (m *Metrics) started(w catalog.Work, a catalog.Attempt) {
	if a.Number == 1 {
		m.dispatchDelay.Observe(max(0, a.Started.Sub(w.DueAt).Seconds()))
	}
}

func (m *Metrics) ended(result string, took, waited time.Duration) {
	m.refreshes.WithLabelValues(result).Inc()
	m.duration.WithLabelValues(result).Observe(took.Seconds())
	if waited > 0 {
		m.lockWait.Observe(waited.Seconds())
	}
}

func (m *Metrics) skipped() { m.refreshes.WithLabelValues(outcomeSkipped).Inc() }

func (m *Metrics) lost() { m.lostAttempts.Inc() }
