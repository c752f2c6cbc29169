package jobs

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatRiverRepeatsIsAWarningOnce(t *testing.T) {
	t.Parallel()
	for level, want := range map[slog.Level]string{slog.LevelInfo: "WARN 1", slog.LevelDebug: "WARN 1, DEBUG 6"} {
		var log bytes.Buffer
		river := quiet(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: level})))
		for range 5 {
			river.With("queue", "refresh").Error("producer: Error fetching jobs", "err", "connection refused")
		}
		river.Info("started")
		river.WithGroup("g").Info("started")
		var got []string
		for _, l := range []string{"WARN", "INFO", "DEBUG"} {
			if n := strings.Count(log.String(), "level="+l+" "); n > 0 {
				got = append(got, l+" "+string(rune('0'+n)))
			}
		}
		require.Equal(t, want, strings.Join(got, ", "), log.String())
	}
}
