package refresh

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestTheHorizonOfASession(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	type seen struct {
		second int
		state  string
		since  int
	}
	tests := []struct {
		name string
		ours bool
		seen []seen
		want time.Time
	}{
		{"idle for good has reported everything", false, []seen{{100, "idle", 80}}, at(100)},
		{"just idle may not have reported since it began", false, []seen{{100, "idle", 99}}, at(0)},
		{"busy and never seen idle", false, []seen{{1000, "active", 999}}, at(0)},
		{"busy after it was idle for good", false, []seen{{100, "idle", 50}, {200, "active", 150}}, at(100)},
		{"a minute between two idle instants proves the first", false, []seen{{10, "idle", 9}, {70, "idle", 69}, {90, "active", 89}}, at(9)},
		{"of many idle instants the newest that is a minute old", false, []seen{{10, "idle", 9}, {40, "idle", 39}, {80, "idle", 79}, {101, "idle", 100}, {102, "active", 101}}, at(39)},
		{"commit and chain is never idle", false, []seen{{100, "idle", 10}, {200, "idle in transaction", 199}, {900, "idle in transaction", 899}}, at(100)},
		{"a session that hides its state", false, []seen{{500, "disabled", 0}}, at(0)},
		{"our own session for runs is idle", true, []seen{{100, "idle", 99}}, at(100)},
		{"our own session for runs is busy", true, []seen{{100, "active", 40}}, at(40)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var a Activity
			var got time.Time
			for _, s := range tt.seen {
				got = a.look(at(s.second), []session{{backend: backend{PID: 1, Start: start}, State: s.state, StateChange: at(s.since), Reading: true, Ours: tt.ours}})
			}
			require.Equal(t, tt.want, got)
		})
	}
}

func TestAHorizonThatStandsStillIsNotReadForEachRun(t *testing.T) {
	t.Parallel()
	var a Activity
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	a.keep(Horizon{Now: at, At: at}, time.Now().Add(-time.Hour))
	a.keep(Horizon{Now: at.Add(time.Hour), At: at, Streams: at}, time.Now())
	h, err := a.Recent(t.Context(), nil, time.Minute)
	require.NoError(t, err)
	require.Equal(t, []time.Time{at, at}, []time.Time{h.At, h.Streams})
	require.WithinDuration(t, at.Add(time.Hour), h.Now, time.Minute)
}

// A Describe opens a transaction, and an answer that nobody reads keeps the timer from being served; both look idle.
func TestASessionThatOnlyLooksIdleProvesNothing(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now := start.Add(time.Hour)
	idle := session{backend: backend{PID: 1, Start: start}, State: "idle", StateChange: start.Add(time.Minute), Reading: true}
	described, unread := idle, idle
	described.XactStart = new(start.Add(2 * time.Minute))
	unread.Reading = false
	for _, s := range []session{described, unread} {
		var a Activity
		require.Equal(t, start, a.look(now, []session{s}))
		require.Equal(t, now, a.look(now, []session{idle}))
	}
}

func TestASessionThatEndedIsForgottenAndOneThatReusesItsPIDIsAnother(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var a Activity
	a.look(start.Add(time.Hour), []session{{backend: backend{PID: 1, Start: start}, State: "idle", StateChange: start, Reading: true}})
	require.Len(t, a.sessions, 1)
	now := start.Add(2 * time.Hour)
	second := session{backend: backend{PID: 1, Start: start.Add(90 * time.Minute)}, State: "active", StateChange: now}
	require.Equal(t, second.Start, a.look(now, []session{second}))
	require.Equal(t, now, a.look(now, nil))
	require.Empty(t, a.sessions)
}

// model is a backend as pgstat_report_stat has it, with the worst luck: whatever may be held back is.
type model struct {
	commits []time.Time // that the counters do not have
	pending time.Time   // since when something waits; zero = nothing does
}

func (m *model) idleAt(now time.Time) {
	if len(m.commits) == 0 {
		return
	}
	if m.pending.IsZero() {
		m.pending = now
	}
	if now.Sub(m.pending) >= reportedWithin {
		m.commits, m.pending = nil, time.Time{}
	}
}

func TestNoHorizonIsYoungerThanACommitThatIsHeldBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		now := start
		var (
			m     model
			a     Activity
			state = "idle"
			since = start
		)
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			step := time.Duration(rapid.IntRange(1, 30_000).Draw(t, "ms")) * time.Millisecond
			now = now.Add(step)
			if state == "idle" && now.Sub(since) >= 10*time.Second { // the timer reports by force
				m.commits, m.pending = nil, time.Time{}
			}
			switch rapid.SampledFrom([]string{"look", "begin", "chain", "end"}).Draw(t, "what") {
			case "look":
				horizon := a.look(now, []session{{backend: backend{PID: 1, Start: start}, State: state, StateChange: since, Reading: true}})
				for _, c := range m.commits {
					if c.Before(horizon) {
						t.Fatalf("horizon %s, but a commit at %s is held back", horizon.Sub(start), c.Sub(start))
					}
				}
			case "begin":
				state, since = "active", now
			case "chain":
				if state != "idle" {
					m.commits = append(m.commits, now)
				}
			case "end":
				if state != "idle" {
					m.commits = append(m.commits, now)
					m.idleAt(now)
					state, since = "idle", now
				}
			}
		}
	})
}
