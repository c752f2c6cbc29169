package jobs

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	lower     = slog.LevelInfo - slog.LevelDebug
	sayAgain  = 30 * time.Second // a warning that is repeated sooner, as while the server is away, is for debugging
	messages  = 1000             // remembered at most
	debugging = slog.LevelDebug
)

// quiet lowers River's own messages by one level: what an operator should see of a job is logged by us. And of
// what River says again and again only the first time is a warning.
func quiet(log *slog.Logger) *slog.Logger {
	return slog.New(lowered{Handler: log.Handler(), said: &said{last: map[string]time.Time{}}})
}

type lowered struct {
	slog.Handler
	said *said
}

func (l lowered) Enabled(ctx context.Context, level slog.Level) bool {
	return l.Handler.Enabled(ctx, level-lower)
}

func (l lowered) Handle(ctx context.Context, record slog.Record) error {
	record.Level -= lower
	if record.Level > slog.LevelInfo && l.said.before(record.Message, record.Time) {
		record.Level = debugging
		if !l.Handler.Enabled(ctx, debugging) {
			return nil
		}
	}
	return l.Handler.Handle(ctx, record)
}

func (l lowered) WithAttrs(attrs []slog.Attr) slog.Handler {
	return lowered{l.Handler.WithAttrs(attrs), l.said}
}

func (l lowered) WithGroup(name string) slog.Handler {
	return lowered{l.Handler.WithGroup(name), l.said}
}

// said remembers when a message was said.
type said struct {
	mu   sync.Mutex
	last map[string]time.Time
}

// before reports whether the message was said a short time ago, and remembers it otherwise.
func (s *said) before(message string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, known := s.last[message]; known && now.Sub(last) < sayAgain {
		return true
	}
	if len(s.last) >= messages {
		clear(s.last)
	}
	s.last[message] = now
	return false
}
