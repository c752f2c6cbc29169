package schedule

import (
	"errors"
	"fmt"
	"math/bits"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/netresearch/go-cron"
)

// maxCron is the longest cron line, in bytes. mvscheduler.cron_error says the same.
const maxCron = 200

// element is one part of a list: *, 5, mon, 1-5, */10, 8-18/2. The library takes more (TZ=, @every, signs,
// empty parts) than a crontab does; mvscheduler.cron_error and this expression are the border.
var element = regexp.MustCompile(`^([*?]|([0-9]{1,2}|[A-Za-z]{3})(-([0-9]{1,2}|[A-Za-z]{3}))?)(/[0-9]{1,3})?$`)

var cronFields = [5]struct {
	name        string
	least, most int
}{
	{"minute", 0, 59}, {"hour", 0, 23}, {"day of month", 1, 31}, {"month", 1, 12}, {"day of week", 0, 7},
}

// line is a parsed cron line: a set of values for each field, as bits.
type line struct {
	minute, hour, dom, month, dow uint64
	anyDom, anyDow                bool
}

const star = 1 << 63 // the library's mark of a field that is *

func parseCron(text string) (line, error) {
	if len(text) > maxCron {
		return line{}, fmt.Errorf("it is longer than %d characters", maxCron)
	}
	fields := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == '\t' })
	if len(fields) != len(cronFields) {
		return line{}, fmt.Errorf("it has %d fields, cron has five", len(fields))
	}
	for i, field := range fields {
		for part := range strings.SplitSeq(field, ",") {
			m := element.FindStringSubmatch(part)
			if m == nil {
				return line{}, fmt.Errorf("%s: %q is not a value, a range or a step", cronFields[i].name, part)
			}
			for _, value := range []string{m[2], m[4]} { // the library lets 24/1 pass for an hour
				if n, err := strconv.Atoi(value); err == nil && (n < cronFields[i].least || n > cronFields[i].most) {
					return line{}, fmt.Errorf("%s: %q is not within %d to %d", cronFields[i].name, part, cronFields[i].least, cronFields[i].most)
				}
			}
		}
	}
	parser, err := cron.TryNewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.DowOrDom)
	if err != nil {
		return line{}, fmt.Errorf("make a cron parser: %w", err)
	}
	parsed, err := parser.Parse(strings.Join(fields, " "))
	if err != nil {
		return line{}, err
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return line{}, errors.New("it is not five fields of cron")
	}
	l := line{
		minute: spec.Minute &^ star, hour: spec.Hour &^ star, dom: spec.Dom &^ star, month: spec.Month &^ star, dow: spec.Dow &^ star,
		anyDom: spec.Dom&star != 0, anyDow: spec.Dow&star != 0,
	}
	if !l.firesEver() {
		return line{}, errors.New("there is no such day in any year, it would never fire")
	}
	return l, nil
}

// firesEver is false for the likes of 30 February.
func (l line) firesEver() bool {
	if !l.anyDow || l.anyDom {
		return true // a weekday comes in every month
	}
	for month := 1; month <= 12; month++ {
		longest := uint64(31)
		switch month {
		case 2:
			longest = 29
		case 4, 6, 9, 11:
			longest = 30
		}
		if l.month>>month&1 == 1 && l.dom&(1<<(longest+1)-1) != 0 {
			return true
		}
	}
	return false
}

// day says whether the line matches on a date. As in crontab(5): when both day fields are restricted,
// either will do.
func (l line) day(year int, month time.Month, day int) bool {
	if l.month>>month&1 == 0 {
		return false
	}
	weekday := time.Date(year, month, day, 12, 0, 0, 0, time.UTC).Weekday()
	dom, dow := l.dom>>day&1 == 1, l.dow>>weekday&1 == 1
	if l.anyDom || l.anyDow {
		return (l.anyDom || dom) && (l.anyDow || dow)
	}
	return dom || dow
}

func (l line) everyHour() bool { return bits.OnesCount64(l.hour) == 24 }

// daysAhead is how far next looks: leap days can be eight years apart.
const daysAhead = 9 * 366

// next is the first instant after the given one at which the line fires, and what daylight saving has
// to do with it.
func (l line) next(after time.Time, loc *time.Location) (time.Time, string) {
	if l.everyHour() {
		return l.nextElapsed(after, loc), ""
	}
	year, month, day := after.In(loc).Date()
	for i := -1; i < daysAhead; i++ { // the day before: the clock may have jumped over midnight
		date := time.Date(year, month, day+i, 12, 0, 0, 0, time.UTC)
		if !l.day(date.Date()) {
			continue
		}
		if at, note := l.nextOn(date, after, loc); !at.IsZero() {
			return at, note
		}
	}
	return time.Time{}, ""
}

// nextOn is the first instant after the given one that a wall time of the date stands for.
func (l line) nextOn(date, after time.Time, loc *time.Location) (time.Time, string) {
	year, month, day := date.Date()
	for hour := range 24 {
		if l.hour>>hour&1 == 0 {
			continue
		}
		if last, _ := instant(year, month, day, hour, 59, loc); !last.After(after) {
			continue
		}
		for minute := range 60 {
			if l.minute>>minute&1 == 0 {
				continue
			}
			if at, note := instant(year, month, day, hour, minute, loc); at.After(after) {
				return at, note
			}
		}
	}
	return time.Time{}, ""
}

// nextElapsed is next for lines that fire in every hour: real time is searched, not wall time.
func (l line) nextElapsed(after time.Time, loc *time.Location) time.Time {
	at := after.Truncate(time.Minute).Add(time.Minute).In(loc)
	for end := at.Add(daysAhead * 24 * time.Hour); at.Before(end); {
		switch {
		case !l.day(at.Date()):
			at = at.Add(time.Duration(60-at.Minute()) * time.Minute) // to the next hour: days can be 23 hours long
		case l.minute>>at.Minute()&1 == 0:
			at = at.Add(time.Minute)
		default:
			return at.UTC()
		}
	}
	return time.Time{}
}

// instant is the one instant that a wall time stands for: the first of two, or where the clock skips it,
// the jump.
func instant(year int, month time.Month, day, hour, minute int, loc *time.Location) (time.Time, string) {
	wall := time.Date(year, month, day, hour, minute, 0, 0, time.UTC).Unix()
	guess := time.Date(year, month, day, hour, minute, 0, 0, loc)
	begin, end := guess.ZoneBounds()
	_, here := guess.Zone()
	before, after := here, here
	if !begin.IsZero() {
		_, before = begin.Add(-time.Second).Zone()
	}
	if !end.IsZero() {
		_, after = end.Zone()
	}

	// Each offset would show this wall time at one instant; it counts where the offset is in force then.
	shows := func(offset int) (time.Time, bool) {
		at := time.Unix(wall-int64(offset), 0).In(loc)
		_, inForce := at.Zone()
		return at, inForce == offset
	}
	var first time.Time
	times := 0
	for i, offset := range []int{before, here, after} {
		if i > 0 && offset == before || i == 2 && offset == here {
			continue
		}
		at, ok := shows(offset)
		if !ok {
			continue
		}
		times++
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	switch {
	case times == 1:
		return first.UTC(), ""
	case times > 1:
		return first.UTC(), fmt.Sprintf("the clock shows %02d:%02d twice that day: the first time counts", hour, minute)
	}
	jump := end
	if !begin.IsZero() && wall >= begin.Unix()+int64(before) && wall < begin.Unix()+int64(here) {
		jump = begin
	}
	return jump.UTC(), fmt.Sprintf("%02d:%02d is skipped that day: it fires when the clock jumps to %s", hour, minute, jump.In(loc).Format("15:04"))
}
