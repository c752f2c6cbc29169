package words

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatARecommendationIsExpectedToChangeIsSaidInShort(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		`{"before": {"refresh_seconds_a_day": 905.6, "mean_age_seconds": 100}, "after": {"refresh_seconds_a_day": 453, "mean_age_seconds": 253}}`: "refreshes 15m 05s -> 7m 33s a day, data 1m 40s -> 4m 13s old",
		`{"refresh_seconds_a_day": {"before": 878.5, "after": 0}}`:                                                                                "refreshes 14m 38s -> 0 s a day",
		`{"refresh_seconds": {"before": 3, "after": 0.5}, "refresh_seconds_a_day": {"before": 300, "after": 50}}`:                                 "refreshes 5m 00s -> 50 s a day",
		`{"refresh_seconds": {"before": 3, "after": 12}, "locked_seconds": {"before": 3, "after": 0}}`:                                            "readers locked out 3 s -> 0 s a refresh",
		`{"bytes_freed": 1234567890, "rows_leaving": 4, "reads_missed_share": 0}`:                                                                 "frees 1.1 GB",
		`{"read_seconds_saved_a_day": 190.25, "refresh_seconds_added_a_day": 2, "rows_a_read": {"before": 1000000, "after": 10}}`:                 "reads 3m 10s less a day, refreshes 2 s more",
		`{"reads_missed": 0, "refresh_seconds": 3}`:                                                                                               "no read misses data",
		`{"refresh_seconds_a_day": 5}`: Nothing,
		`{"bytes_freed": 1e300}`:       "frees 4.0 EB",
		`{}`:                           Nothing,
		`null`:                         Nothing,
		``:                             Nothing,
	} {
		require.Equal(t, want, Expected(json.RawMessage(raw)), raw)
	}
}
