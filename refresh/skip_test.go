package refresh

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDecideSkip(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	minutes := func(n int) time.Time { return now.Add(time.Duration(-n) * time.Minute) }
	facts := func(change func(*SkipFacts)) SkipFacts {
		f := SkipFacts{
			Tracking: "auto", Before: "t1", BeforeContents: "c1", BeforeAsOf: minutes(60), Token: Token{Value: "t1", Relations: 3, Populated: true, Contents: "c1"},
			Horizon: Horizon{Now: now, At: minutes(2)}, MaxSkips: 100, Target: 10 * time.Minute,
		}
		change(&f)
		return f
	}
	tests := []struct {
		name   string
		facts  SkipFacts
		skip   bool
		asOf   time.Time
		reason string
	}{
		{"nothing changed", facts(func(*SkipFacts) {}), true, minutes(2), "nothing changed in the 3 relations below, up to 11:58:00 UTC"},
		{"something changed", facts(func(f *SkipFacts) { f.Token.Value = "t2" }), false, time.Time{}, "the tables below changed"},
		{"the first refresh has nothing to compare with", facts(func(f *SkipFacts) { f.Before, f.BeforeAsOf = "", time.Time{} }), false, time.Time{}, ""},
		{"the last refresh had no token", facts(func(f *SkipFacts) { f.Before = "" }), false, time.Time{}, "not known"},
		{"what the last refresh left is not known", facts(func(f *SkipFacts) { f.BeforeContents, f.Token.Contents = "", "" }), false, time.Time{}, "left is not known"},
		{"somebody else refreshed it", facts(func(f *SkipFacts) { f.Token.Contents = "c2" }), false, time.Time{}, "changed by somebody else"},
		{"somebody emptied it", facts(func(f *SkipFacts) { f.Token.Populated = false }), false, time.Time{}, "it had no contents"},
		{"a person asked", facts(func(f *SkipFacts) { f.Asked = true }), false, time.Time{}, "refreshed as asked"},
		{"the row says never", facts(func(f *SkipFacts) { f.Tracking = "none" }), false, time.Time{}, "change_tracking is none"},
		{"no token can stand for the view", facts(func(f *SkipFacts) { f.Token.Unknown = "function random()" }), false, time.Time{}, "never skipped: function random()"},
		{"sessions cannot be seen", facts(func(f *SkipFacts) { f.Horizon.Unknown = "pg_read_all_stats" }), false, time.Time{}, "pg_read_all_stats"},
		{"a busy session hides more than the target allows", facts(func(f *SkipFacts) { f.Horizon.At = minutes(11) }), false, time.Time{}, "busy since 11:49:00 UTC"},
		{"without a target any horizon will do", facts(func(f *SkipFacts) { f.Target = 0; f.Horizon.At = minutes(50) }), true, minutes(50), "up to 11:10:00"},
		{"what is below is older", facts(func(f *SkipFacts) { f.UpstreamAsOf = new(minutes(7)) }), true, minutes(7), "up to 11:53:00"},
		{"time never runs backwards", facts(func(f *SkipFacts) { f.UpstreamAsOf = new(minutes(90)) }), true, minutes(60), "up to 11:00:00"},
		{"what is below is of unknown age", facts(func(f *SkipFacts) { f.UpstreamUnknown = true }), false, time.Time{}, "is not known"},
		{"a session streams since the last refresh", facts(func(f *SkipFacts) { f.BeforeBegan, f.Horizon.Streams = minutes(60), minutes(59) }), false, time.Time{}, "streams since 11:01:00 UTC"},
		{"a session streams since before the last refresh", facts(func(f *SkipFacts) { f.BeforeBegan, f.Horizon.Streams = minutes(60), minutes(61) }), true, minutes(2), "nothing changed"},
		{"every so often a refresh all the same", facts(func(f *SkipFacts) { f.Skips = 100 }), false, time.Time{}, "after 100 skips"},
		{"skips are switched off", facts(func(f *SkipFacts) { f.MaxSkips = 0 }), false, time.Time{}, "max_skips is 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := DecideSkip(tt.facts)
			require.Equal(t, tt.skip, got.Skip, got.Reason)
			require.Equal(t, tt.asOf, got.AsOf)
			require.Contains(t, got.Reason, tt.reason)
		})
	}
}
