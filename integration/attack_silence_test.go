package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// No sidecar ran for most of the time in which nobody was seen to read, or for a short part of a long time that is all there is of
// it: what is not known is no silence.
func TestATimeInWhichNoSidecarRanIsNoSilence(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ since, read, sampled, unknown string }{
		"most of it":         {"40 days", "39 days", "38 days", "38 days"},
		"all of the silence": {"2000 days", "33 days", "32 days", "32 days"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.manage(t, "v", "SELECT id, amount FROM sales", "refresh_interval", "1 hour")
			first := startSidecar(t, s.db, often...)
			refreshed(t, s.alice, "v")
			collecting(t, s.root)
			require.Zero(t, first.stop())
			pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_usage SET since = now() - interval '`+c.since+`', last_read_at = now() - interval '`+c.read+`', sampled_until = now() - interval '`+c.sampled+`', unknown = '0', longest_pause = '0', reads = 1000, unread_unknown = '0'`)
			second := startSidecar(t, s.db, often...)
			s.planned(t)
			require.Zero(t, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.recommendation WHERE kind = 'unused'`))
			collecting(t, s.root)
			require.Zero(t, second.stop())
			require.True(t, ask[bool](t, s.root, `SELECT unknown BETWEEN $1::interval AND $1::interval + '1 day' AND unread_unknown = unknown AND sampled_until > now() - interval '1 day' FROM mvscheduler.view_usage`, c.unknown))
			third := startSidecar(t, s.db, often...)
			s.planned(t)
			require.Zero(t, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.recommendation WHERE kind = 'unused'`))
			require.Zero(t, third.stop())
		})
	}
}
