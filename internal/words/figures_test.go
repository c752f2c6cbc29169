package words

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFiguresOfARecommendationAreLinesForPeople(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		`{"before": {"refreshes_a_day": 288, "cost_a_day": 1154.2, "mean_age_seconds": 0, "cost_low": 1}, "after": {"refreshes_a_day": 214.4, "cost_a_day": 859.1, "mean_age_seconds": 120, "cost_low": 2}}`: "cost a day, old data included, in seconds of refreshes: 1154.2 -> 859.1\ncost a day, on nine days in ten at least: 1 -> 2\nmean age of what readers see: 0 s -> 2m 00s\nrefreshes a day: 288 -> 214.4",
		`{"refresh_seconds_a_day": {"before": 576, "after": 0}}`:                                                                                              "refreshes take a day: 9m 36s -> 0 s",
		`{"bytes_freed": 1234567890, "days_in_fine_buckets": {"before": 100, "after": 31}}`:                                                                   "bytes freed: 1.1 GB\ndays in fine buckets: 100 -> 31",
		`{"level": "L0", "sources": "counters of scans; no x", "reads": 43200, "new": null}`:                                                                  "level: L0 (counters of scans alone)\nnew: none\nreads: 43200\nsources: counters of scans; no x",
		`{"gain_out_of_sample": 1.76, "unknown_share": 0, "columns": ["a", "b"], "ok": true}`:                                                                 "columns: [\"a\",\"b\"]\ncost of one rate for all hours, in multiples: 1.76\nok: true\nshare of the time of which reads are not known: 0",
		`{"reasons": ["a"], "patience_before": 0}`:                                                                                                            "reasons: [\"a\"]",
		`{"patience": 5638.1, "patience_before": 60}`:                                                                                                         "age that adds up until it is refreshed between two slots, before: 1m 00s\nage that adds up until it is refreshed between two slots: 1h 33m",
		`{"refresh_seconds": 0.007, "refresh_seconds_p90": 3.2, "refresh_seconds_fixed": 1, "refresh_seconds_added_a_day": 2, "refresh_seconds_a_row": 1e-6}`: "a refresh takes, nine in ten at most: 3.2 s\na refresh takes: 7 ms\nrefresh seconds a row: 1e-6\nrefresh seconds added a day: 2 s\nrefresh seconds fixed: 1 s",
		`{"before": 1, "after": 2}`: "after: 2\nbefore: 1",
		`"what index"`:              `"what index"`,
		`null`:                      "",
		``:                          "",
	} {
		require.Equal(t, want, Figures(json.RawMessage(raw)), raw)
	}
}
