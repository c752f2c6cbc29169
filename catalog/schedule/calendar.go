package schedule

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
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

// maxRules is the most rules of a calendar. mvscheduler.calendar_error says the same.
const maxRules = 50

const (
	minutesOfDay = 24 * 60
	calendarForm = `it must be a list of rules such as [{"days": "mon-fri", "from": "07:00", "to": "19:00", "every": "30 minutes"}, {"days": "sat,sun", "at": "06:45"}]`
)

// ParseCalendar reads a calendar as people write it, and says of which rule what is wrong and what would be right;
// mvscheduler.calendar_error says the same. Without days a rule holds every day, without from from midnight on, without
// to until midnight.
func ParseCalendar(text string) (Calendar, error) {
	var list []json.RawMessage
	if err := json.Unmarshal([]byte(text), &list); err != nil || list == nil {
		return nil, errors.New(calendarForm)
	}
	switch {
	case len(list) == 0:
		return nil, errors.New("it has no rules: NULL is no calendar")
	case len(list) > maxRules:
		return nil, fmt.Errorf("it has %d rules: at most %d are kept", len(list), maxRules)
	}
	calendar := make(Calendar, len(list))
	for i, item := range list {
		var err error
		if calendar[i], err = parseRule(item); err != nil {
			return nil, fmt.Errorf("rule %d: %w", i+1, err)
		}
	}
	return calendar, nil
}

var ruleKeys = []string{"days", "from", "to", "every", "at"}

func parseRule(item json.RawMessage) (Rule, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(item, &fields); err != nil || fields == nil {
		return Rule{}, errors.New("it must be an object with days, from, to and every, or with days and at")
	}
	var unknown []string
	for key := range fields {
		if !slices.Contains(ruleKeys, key) {
			unknown = append(unknown, key)
		}
	}
	if len(unknown) > 0 { // the order is that of jsonb
		first := slices.MinFunc(unknown, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) })
		return Rule{}, fmt.Errorf("%s is none of days, from, to, every and at", quoted(first))
	}
	given := make(map[string]string, len(fields))
	for _, key := range ruleKeys {
		value, there := fields[key]
		if !there {
			continue
		}
		var text *string
		if err := json.Unmarshal(value, &text); err != nil || text == nil {
			return Rule{}, fmt.Errorf("%s must be text: leave it out, or write it in quotes", key)
		}
		given[key] = *text
	}
	has := func(key string) bool { _, there := given[key]; return there }
	switch {
	case has("at") && (has("from") || has("to") || has("every")):
		return Rule{}, errors.New("at goes with days alone: leave out from, to and every, or leave out at")
	case !has("at") && !has("every"):
		return Rule{}, errors.New(`it does not say when: add "every": "30 minutes", or "at": "06:45" instead of from and to`)
	}
	rule := Rule{Days: EveryDay, To: minutesOfDay}
	if has("days") {
		if err := rule.Days.UnmarshalText([]byte(given["days"])); err != nil {
			return Rule{}, fmt.Errorf("days: %w", err)
		}
	}
	if has("at") {
		var at TimeOfDay
		if err := at.parse(given["at"], minutesOfDay-1); err != nil {
			return Rule{}, fmt.Errorf("at: %w", err)
		}
		return Rule{Days: rule.Days, At: &at}, nil
	}
	if has("from") {
		if err := rule.From.parse(given["from"], minutesOfDay-1); err != nil {
			return Rule{}, fmt.Errorf("from: %w", err)
		}
	}
	if has("to") {
		if err := rule.To.parse(given["to"], minutesOfDay); err != nil {
			return Rule{}, fmt.Errorf("to: %w", err)
		}
	}
	if rule.From >= rule.To {
		return Rule{}, fmt.Errorf("from %s is not before to %s: over midnight it takes two rules", rule.From, rule.To)
	}
	if err := rule.Every.UnmarshalText([]byte(given["every"])); err != nil {
		return Rule{}, fmt.Errorf("every: %w", err)
	}
	return rule, nil
}

// quoted is a text in an error, of which nobody needs to see more.
func quoted(text string) string {
	if runes := []rune(text); len(runes) > 40 {
		text = string(runes[:40])
	}
	return `"` + text + `"`
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

// UnmarshalText reads what String writes, in capitals as well and with blanks after commas.
func (d *Days) UnmarshalText(text []byte) error {
	*d = 0
	for part := range strings.SplitSeq(string(text), ",") {
		part = strings.Trim(part, " ")
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, to := dayNumber(first), dayNumber(last)
		if from < 0 || to < from {
			return fmt.Errorf("%s is no day and no range of days from mon to sun: write them such as mon-fri or sat,sun", quoted(part))
		}
		for day := from; day <= to; day++ {
			*d |= 1 << day
		}
	}
	return nil
}

func dayNumber(name string) int {
	lower := bytes.Map(func(r rune) rune { // of ASCII alone, as in SQL
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, []byte(name))
	return slices.Index(dayNames[:], string(lower))
}

// TimeOfDay is a time on the wall clock, in minutes since midnight, at most 24:00.
type TimeOfDay int

func (t TimeOfDay) String() string { return fmt.Sprintf("%02d:%02d", t/60, t%60) }

// MarshalText is [TimeOfDay.String].
func (t TimeOfDay) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads "07:00".
func (t *TimeOfDay) UnmarshalText(text []byte) error { return t.parse(string(text), minutesOfDay) }

var timeOfDay = regexp.MustCompile(`^([0-9]{1,2}):([0-5][0-9])$`)

func (t *TimeOfDay) parse(text string, most TimeOfDay) error {
	if m := timeOfDay.FindStringSubmatch(text); m != nil {
		hour, _ := strconv.Atoi(m[1])
		minute, _ := strconv.Atoi(m[2])
		if *t = TimeOfDay(hour*60 + minute); *t <= most {
			return nil
		}
	}
	return fmt.Errorf("%s is no time of day up to %s, such as 07:00", quoted(text), most)
}

// IntervalWords is a duration of whole minutes, at most a day, that is written as PostgreSQL's interval: "30 minutes".
type IntervalWords time.Duration

func (i IntervalWords) String() string { return Words(time.Duration(i)) }

// MarshalText is [IntervalWords.String].
func (i IntervalWords) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

var intervalWords = regexp.MustCompile(`^([0-9]{1,4}) (minute|hour|day)s?$`)

// UnmarshalText reads what String writes.
func (i *IntervalWords) UnmarshalText(text []byte) error {
	if m := intervalWords.FindSubmatch(text); m != nil {
		n, _ := strconv.Atoi(string(m[1]))
		unit := map[string]time.Duration{"minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour}[string(m[2])]
		if d := time.Duration(n) * unit; d > 0 && d <= 24*time.Hour {
			*i = IntervalWords(d)
			return nil
		}
	}
	return fmt.Errorf("%s is no interval from 1 minute to 1 day, such as 30 minutes or 2 hours", quoted(string(text)))
}

// Words writes an interval for people and for PostgreSQL: "30 minutes", "1 hour".
func Words(d time.Duration) string {
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

// Times are the times of day at which the rule fires on its days, in order.
func (r *Rule) Times() []TimeOfDay {
	if r.At != nil {
		return []TimeOfDay{*r.At}
	}
	step := max(1, TimeOfDay(time.Duration(r.Every)/time.Minute))
	var times []TimeOfDay
	for at := r.From; at < r.To; at += step {
		times = append(times, at)
	}
	return times
}

// walls are two at most, however many rules there are: of those that mean elapsed time, and of the others.
func (c Calendar) walls() (walls []wall) {
	var weeks [2][7]*times
	for i := range c {
		var t times
		for _, at := range c[i].Times() {
			t[at/60] |= 1 << (at % 60)
		}
		week := &weeks[0]
		if t.everyHour() {
			week = &weeks[1]
		}
		for day := range week {
			if !c[i].Days.Has(day) {
				continue
			}
			if week[day] == nil {
				week[day] = new(times)
			}
			for hour, minutes := range t {
				week[day][hour] |= minutes
			}
		}
	}
	for i, week := range weeks {
		if week != [7]*times{} {
			walls = append(walls, wall{elapsed: i == 1, on: func(year int, month time.Month, day int) *times {
				return week[(int(weekday(year, month, day))+6)%7]
			}})
		}
	}
	return walls
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
	if times := r.Times(); len(times) == 1 {
		return fmt.Sprintf("%d %d * * %s", times[0]%60, times[0]/60, days), true
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
