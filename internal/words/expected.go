package words

import (
	"encoding/json"
	"math"
	"strings"
	"time"
)

// Expected says in short what a recommendation is expected to change, from its figures: "refreshes 15m 06s -> 7m 33s a day, data
// 1m 40s -> 4m 13s old". Nothing where they do not say.
func Expected(predicted json.RawMessage) string {
	type figures struct {
		RefreshesADay *float64 `json:"refresh_seconds_a_day"`
		MeanAge       *float64 `json:"mean_age_seconds"`
	}
	type change struct{ Before, After *float64 }
	var p struct {
		Before, After figures
		RefreshesADay *change  `json:"refresh_seconds_a_day"`
		Locked        *change  `json:"locked_seconds"`
		Freed         *float64 `json:"bytes_freed"`
		ReadsSave     *float64 `json:"read_seconds_saved_a_day"`
		RefreshesCost *float64 `json:"refresh_seconds_added_a_day"`
		Missed        *float64 `json:"reads_missed"`
	}
	if json.Unmarshal(predicted, &p) != nil {
		return Nothing
	}
	var said []string
	add := func(before, after *float64, of, then string) {
		if before != nil && after != nil {
			said = append(said, of+" "+seconds(*before)+" -> "+seconds(*after)+then)
		}
	}
	add(p.Before.RefreshesADay, p.After.RefreshesADay, "refreshes", " a day")
	add(p.Before.MeanAge, p.After.MeanAge, "data", " old")
	if p.RefreshesADay != nil {
		add(p.RefreshesADay.Before, p.RefreshesADay.After, "refreshes", " a day")
	}
	if p.Locked != nil {
		add(p.Locked.Before, p.Locked.After, "readers locked out", " a refresh")
	}
	if p.Freed != nil {
		said = append(said, "frees "+size(*p.Freed))
	}
	if p.ReadsSave != nil && p.RefreshesCost != nil {
		said = append(said, "reads "+seconds(*p.ReadsSave)+" less a day, refreshes "+seconds(*p.RefreshesCost)+" more")
	}
	if p.Missed != nil && *p.Missed == 0 {
		said = append(said, "no read misses data")
	}
	if len(said) == 0 {
		return Nothing
	}
	return strings.Join(said, ", ")
}

// seconds writes that many of them as a length of time.
func seconds(s float64) string {
	return Span(time.Duration(math.Min(s, float64(math.MaxInt64/time.Second)) * float64(time.Second)))
}

// size writes that many bytes.
func size(bytes float64) string { return BytesOf(new(int64(math.Min(bytes, math.MaxInt64/2)))) }
