package words

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFiguresOfARecommendationAreLinesForPeople(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		`{"before": {"refreshes_a_day": 288, "cost_a_day": 1154.2, "mean_age_seconds": 0, "cost_low": 1}, "after": {"refreshes_a_day": 214.4, "cost_a_day": 859.1, "mean_age_seconds": 120, "cost_low": 2}}`: "cost a day, old data included, in seconds of refreshes: 1154.2 -> 859.1\ncost a day, on nine days in ten at least: 1 -> 2\nmean age of what readers see, in seconds: 0 -> 120\nrefreshes a day: 288 -> 214.4",
		`{"refresh_seconds_a_day": {"before": 576, "after": 0}}`:                              "seconds of refreshes a day: 576 -> 0",
		`{"bytes_freed": 1234567890, "days_in_fine_buckets": {"before": 100, "after": 31}}`:   "bytes freed: 1234567890\ndays in fine buckets: 100 -> 31",
		`{"level": "L0", "sources": "counters of scans; no x", "reads": 43200, "new": null}`:  "level: L0 (counters of scans alone)\nnew: none\nreads: 43200\nsources: counters of scans; no x",
		`{"gain_out_of_sample": 1.76, "unknown_share": 0, "columns": ["a", "b"], "ok": true}`: "columns: [\"a\",\"b\"]\ncost of one rate for all hours, in multiples: 1.76\nok: true\nunknown share: 0",
		`{"reasons": ["a"], "patience_before": 0}`:                                            "age that adds up until it is refreshed between two slots, before, in seconds: 0\nreasons: [\"a\"]",
		`{"before": 1, "after": 2}`:                                                           "after: 2\nbefore: 1",
		`"what index"`:                                                                        `"what index"`,
		`null`:                                                                                "",
		``:                                                                                    "",
	} {
		require.Equal(t, want, Figures(json.RawMessage(raw)), raw)
	}
}
