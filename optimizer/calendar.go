package optimizer

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Calendar is a list of rules; a view is due when any of them says so. Its JSON form is the column calendar
// of a view: [{"days": "mon-fri", "from": "07:00", "to": "19:00", "every": "30 minutes"}, {"days": "sat,sun",
// "at": "06:45"}].
type Calendar []Rule

// Rule is due on its days every so often from a time on until before another, or once at a time. All times
// are those of the view's wall clock.
type Rule struct {
	Days  Days          `json:"days"`
	From  TimeOfDay     `json:"from,omitzero"` // with Every
	To    TimeOfDay     `json:"to,omitzero"`   // exclusive, at most 24:00
	Every IntervalWords `json:"every,omitzero"`
	At    *TimeOfDay    `json:"at,omitempty"` // instead of the three above
}

// Days is a set of weekdays; bit 0 = Monday.
type Days uint8

const (
	Weekdays Days = 1<<5 - 1
	Weekend  Days = 1<<6 | 1<<5
	EveryDay Days = 1<<7 - 1
)

var dayNames = [7]string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}

// Has says whether the set holds a day, 0 = Monday.
func (d Days) Has(day int) bool { return d>>day&1 == 1 }

// String is the set as a list of days and ranges of three or more: "mon-fri", "sat,sun".
func (d Days) String() string {
	var parts []string
	for day := 0; day < 7; day++ {
		if !d.Has(day) {
			continue
		}
		end := day
		for end < 6 && d.Has(end+1) {
			end++
		}
		if end-day < 2 {
			parts = append(parts, dayNames[day])
			continue
		}
		parts = append(parts, dayNames[day]+"-"+dayNames[end])
		day = end
	}
	return strings.Join(parts, ",")
}

// MarshalText is [Days.String].
func (d Days) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what String writes.
func (d *Days) UnmarshalText(text []byte) error {
	*d = 0
	for part := range strings.SplitSeq(string(text), ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			last = first
		}
		from, to := dayNumber(first), dayNumber(last)
		if from < 0 || to < from {
			return fmt.Errorf("%q is no day and no range of days from mon to sun", part)
		}
		for day := from; day <= to; day++ {
			*d |= 1 << day
		}
	}
	return nil
}

func dayNumber(name string) int {
	for i, n := range dayNames {
		if strings.EqualFold(name, n) {
			return i
		}
	}
	return -1
}

// TimeOfDay is a time on the wall clock, in minutes since midnight, at most 24:00.
type TimeOfDay int

func (t TimeOfDay) String() string { return fmt.Sprintf("%02d:%02d", t/60, t%60) }

// MarshalText is [TimeOfDay.String].
func (t TimeOfDay) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads "07:00".
func (t *TimeOfDay) UnmarshalText(text []byte) error {
	var hour, minute int
	if n, err := fmt.Sscanf(string(text), "%d:%d", &hour, &minute); n != 2 || err != nil || hour < 0 || minute < 0 || minute > 59 || hour*60+minute > 24*60 {
		return fmt.Errorf("%q is no time of day such as 07:00", text)
	}
	*t = TimeOfDay(hour*60 + minute)
	return nil
}

// IntervalWords is a duration of whole minutes that is written as PostgreSQL's interval: "30 minutes".
type IntervalWords time.Duration

func (i IntervalWords) String() string { return words(time.Duration(i)) }

// MarshalText is [IntervalWords.String].
func (i IntervalWords) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// UnmarshalText reads what String writes.
func (i *IntervalWords) UnmarshalText(text []byte) error {
	var n int
	var unit string
	if _, err := fmt.Sscanf(string(text), "%d %s", &n, &unit); err != nil || n <= 0 {
		return fmt.Errorf("%q is no interval such as 30 minutes", text)
	}
	for name, length := range map[string]time.Duration{"minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour} {
		if strings.TrimSuffix(unit, "s") == name {
			*i = IntervalWords(time.Duration(n) * length)
			return nil
		}
	}
	return fmt.Errorf("%q has an unknown unit: use minutes, hours or days", text)
}

// words writes an interval for people and for PostgreSQL: "30 minutes", "1 hour".
func words(d time.Duration) string {
	plural := func(n int64, unit string) string {
		if n == 1 {
			return "1 " + unit
		}
		return fmt.Sprintf("%d %ss", n, unit)
	}
	switch {
	case d >= 24*time.Hour && d%(24*time.Hour) == 0:
		return plural(int64(d/(24*time.Hour)), "day")
	case d >= time.Hour && d%time.Hour == 0:
		return plural(int64(d/time.Hour), "hour")
	case d >= time.Minute && d%time.Minute == 0:
		return plural(int64(d/time.Minute), "minute")
	}
	return plural(int64(d.Round(time.Second)/time.Second), "second")
}

// String is the calendar in one line: "every 30 minutes, mon-fri 07:00-19:00; sat,sun at 06:45".
func (c Calendar) String() string {
	var parts []string
	for _, r := range c {
		switch {
		case r.At != nil:
			parts = append(parts, fmt.Sprintf("%s at %s", r.Days, *r.At))
		default:
			parts = append(parts, fmt.Sprintf("every %s, %s %s-%s", r.Every, r.Days, r.From, r.To))
		}
	}
	return strings.Join(parts, "; ")
}

// refreshes are the bins in [lo, hi) in which the calendar is due, lo included.
func (c Calendar) refreshes(grid Grid, lo, hi int) []int {
	slots := c.slotsBefore()
	width := int(grid.Width / time.Minute)
	due := []int{lo}
	clock := wallClock{zone: grid.Zone}
	for t := lo + 1; t < hi; {
		_, minute := clock.weekAndMinute(grid.At(t))
		for now := grid.At(t).Unix(); t < hi && clock.span.has(now); t++ { // as long as the clock is not set
			midnight := (minute/minutesOfDay + 1) * minutesOfDay
			if slots[min(minute+width, midnight)] > slots[minute] {
				due = append(due, t)
			}
			if minute += width; minute >= minutesOfWeek {
				minute -= minutesOfWeek
			}
			now += int64(width) * 60
		}
	}
	return due
}

const minutesOfDay, minutesOfWeek = 24 * 60, hoursOfWeek * 60

// slotsBefore counts the slots of a week before each minute of it.
func (c Calendar) slotsBefore() []uint16 {
	before := make([]uint16, minutesOfWeek+1)
	for _, r := range c {
		for day := range 7 {
			if !r.Days.Has(day) {
				continue
			}
			midnight := day*minutesOfDay + 1 // counted from the next minute on
			if r.At != nil {
				if *r.At < minutesOfDay {
					before[midnight+int(*r.At)]++
				}
				continue
			}
			for slot := r.From; slot < r.To; slot += TimeOfDay(time.Duration(r.Every) / time.Minute) {
				before[midnight+int(slot)]++
			}
		}
	}
	for i := 1; i < len(before); i++ {
		before[i] += before[i-1]
	}
	return before
}

// Cron is the calendar as five fields of cron, in the zone of the view. The second result is false where one line
// cannot say it: several rules, or an interval that does not divide the hour or the day.
func (c Calendar) Cron() (string, bool) {
	if len(c) != 1 {
		return "", false
	}
	r := c[0]
	days := "*"
	if r.Days != EveryDay {
		var numbers []string
		for day := range 7 {
			if r.Days.Has(day) {
				numbers = append(numbers, strconv.Itoa((day+1)%7))
			}
		}
		days = strings.Join(numbers, ",")
		if r.Days == Weekdays {
			days = "1-5"
		}
	}
	if r.At != nil {
		return fmt.Sprintf("%d %d * * %s", *r.At%60, *r.At/60, days), *r.At < 24*60
	}
	hours := fmt.Sprintf("%d-%d", r.From/60, r.To/60-1)
	if r.From == 0 && r.To == 24*60 {
		hours = "*"
	}
	every := time.Duration(r.Every)
	switch {
	case r.From%60 != 0 || r.To%60 != 0 || r.To <= r.From:
		return "", false
	case every < time.Hour && every%time.Minute == 0 && time.Hour%every == 0:
		return fmt.Sprintf("*/%d %s * * %s", every/time.Minute, hours, days), true
	case every == time.Hour:
		return fmt.Sprintf("0 %s * * %s", hours, days), true
	case every%time.Hour == 0 && hours != "*":
		return fmt.Sprintf("0 %s/%d * * %s", hours, every/time.Hour, days), true
	}
	return "", false
}

// bestRule is the rule of the calendar that alone costs least on the last two weeks of the record, and what it costs a
// day, of those that can be written as cron; nil where there is none.
func (s *study) bestRule(c Calendar) (best Calendar, cost float64) {
	cost = math.Inf(1)
	if s.bounds.longestPause() > 0 && len(c) > 1 { // the rules were found together
		return nil, cost
	}
	for _, r := range c {
		alone := Calendar{r}
		if _, ok := alone.Cron(); !ok {
			continue
		}
		if p := s.predict(Schedule{Mode: CalendarMode, Calendar: alone}); p.Cost < cost {
			best, cost = alone, p.Cost
		}
	}
	return best, cost
}
