package schedule

import (
	"errors"
	"fmt"
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
	dom, dow := l.dom>>day&1 == 1, l.dow>>weekday(year, month, day)&1 == 1
	if l.anyDom || l.anyDow {
		return (l.anyDom || dom) && (l.anyDow || dow)
	}
	return dom || dow
}

// wall is the line as a clock on the wall.
func (l line) wall() wall {
	var t times
	for hour := range t {
		if l.hour>>hour&1 == 1 {
			t[hour] = l.minute
		}
	}
	return wall{elapsed: t.everyHour(), on: func(year int, month time.Month, day int) *times {
		if l.day(year, month, day) {
			return &t
		}
		return nil
	}}
}
