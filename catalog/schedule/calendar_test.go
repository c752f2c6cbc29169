package schedule

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func drawCalendar(t *rapid.T, rules int) (c Calendar) {
	for range rapid.IntRange(1, rules).Draw(t, "rules") {
		r := Rule{Days: Days(rapid.IntRange(1, 127).Draw(t, "days"))}
		if rapid.Bool().Draw(t, "once") {
			at := TimeOfDay(rapid.IntRange(0, 1439).Draw(t, "at"))
			r.At = &at
		} else {
			unit := rapid.SampledFrom([]int{1, 60}).Draw(t, "unit") // the hours are what cron can say
			r.From = TimeOfDay(rapid.IntRange(0, 1439/unit).Draw(t, "from") * unit)
			r.To = TimeOfDay(rapid.IntRange(int(r.From)/unit+1, 1440/unit).Draw(t, "to") * unit)
			r.Every = IntervalWords(rapid.SampledFrom([]int{1, 7, 15, 20, 30, 45, 60, 90, 120, 720, 1440}).Draw(t, "every")) * IntervalWords(time.Minute)
		}
		c = append(c, r)
	}
	return c
}

var walkedZones = []string{"UTC", "Europe/Berlin", "America/New_York", "America/Havana", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca", "Pacific/Chatham"}

func TestACalendarFollowsTheWallClockThroughDaylightSaving(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		loc, err := time.LoadLocation(rapid.SampledFrom(walkedZones).Draw(t, "zone"))
		require.NoError(t, err)
		text, err := json.Marshal(drawCalendar(t, 4))
		require.NoError(t, err)
		near := time.Unix(rapid.Int64Range(1577836800, 2208988800).Draw(t, "near"), 0)
		if _, end := near.In(loc).ZoneBounds(); !end.IsZero() && rapid.Bool().Draw(t, "at a change") {
			near = end
		}
		requireByHand(t, Spec{Calendar: string(text)}, loc, walk(loc, minuteOf(near, -52), minuteOf(near, 26)), minuteOf(near, -26), minuteOf(near, 26))
	})
}

func TestACalendarThatOneLineOfCronCanSayFiresWithIt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		loc, err := time.LoadLocation(rapid.SampledFrom(walkedZones).Draw(t, "zone"))
		require.NoError(t, err)
		c := drawCalendar(t, 1)
		line, ok := c.Cron()
		if !ok {
			t.Skip()
		}
		text, err := json.Marshal(c)
		require.NoError(t, err)
		after := time.Unix(rapid.Int64Range(1577836800, 2208988800).Draw(t, "after"), 0)
		require.Equal(t, Spec{Cron: line, Location: loc}.Upcoming(after, 60), Spec{Calendar: string(text), Location: loc}.Upcoming(after, 60), "%s: %s", c, line)
	})
}

func TestRulesOfACalendarAreReadAndWritten(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`[{"days": "mon-fri", "from": "07:00", "to": "19:00", "every": "30 minutes"}, {"days": "sat,sun", "at": "06:45"}]`: "every 30 minutes, mon-fri 07:00-19:00; sat,sun at 06:45",
		`[{"at": "6:05"}]`: "mon-sun at 06:05",
		`[{"every": "1 hour", "days": "SUN, Mon-wed"}]`: "every 1 hour, mon-wed,sun 00:00-24:00",
		`[{"every": "90 minutes", "to": "24:00"}]`:      "every 90 minutes, mon-sun 00:00-24:00",
	} {
		c, err := ParseCalendar(text)
		require.NoError(t, err, text)
		require.Equal(t, want, c.String())
		again, err := json.Marshal(c)
		require.NoError(t, err)
		back, err := ParseCalendar(string(again))
		require.NoError(t, err, string(again))
		require.Equal(t, c, back)
	}
	rapid.Check(t, func(t *rapid.T) {
		c := drawCalendar(t, 6)
		text, err := json.Marshal(c)
		require.NoError(t, err)
		back, err := ParseCalendar(string(text))
		require.NoError(t, err)
		require.Equal(t, c, back, string(text))
	})
}

func TestCalendarsThatCannotBeMeantAreRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{ // SQL says the same, see package migrations
		`{}`: calendarForm, `null`: calendarForm, `"06:00"`: calendarForm, `nonsense`: calendarForm,
		`[]`:                                   `it has no rules: NULL is no calendar`,
		`["06:00"]`:                            `rule 1: it must be an object with days, from, to and every, or with days and at`,
		`[{"at": "06:00"}, null]`:              `rule 2: it must be an object with days, from, to and every, or with days and at`,
		`[{"at": "06:00", "day": ""}]`:         `rule 1: "day" is none of days, from, to, every and at`,
		`[{"every": 30}]`:                      `rule 1: every must be text: leave it out, or write it in quotes`,
		`[{"at": null}]`:                       `rule 1: at must be text: leave it out, or write it in quotes`,
		`[{"at": "06:00", "every": "1 hour"}]`: `rule 1: at goes with days alone: leave out from, to and every, or leave out at`,
		`[{"days": "mon"}]`:                    `rule 1: it does not say when: add "every": "30 minutes", or "at": "06:45" instead of from and to`,
		`[{"days": "fri-mon", "at": "06:00"}]`: `rule 1: days: "fri-mon" is no day and no range of days from mon to sun: write them such as mon-fri or sat,sun`,
		`[{"days": "", "at": "06:00"}]`:        `rule 1: days: "" is no day and no range of days from mon to sun: write them such as mon-fri or sat,sun`,
		`[{"at": "24:00"}]`:                    `rule 1: at: "24:00" is no time of day up to 23:59, such as 07:00`,
		`[{"at": "7"}]`:                        `rule 1: at: "7" is no time of day up to 23:59, such as 07:00`,
		`[{"to": "24:01", "every": "1 hour"}]`: `rule 1: to: "24:01" is no time of day up to 24:00, such as 07:00`,
		`[{"from": "19:00", "to": "7:00", "every": "1 hour"}]`: `rule 1: from 19:00 is not before to 07:00: over midnight it takes two rules`,
		`[{"every": "5 weeks"}]`:                               `rule 1: every: "5 weeks" is no interval from 1 minute to 1 day, such as 30 minutes or 2 hours`,
		`[{"every": "0 minutes"}]`:                             `rule 1: every: "0 minutes" is no interval from 1 minute to 1 day, such as 30 minutes or 2 hours`,
		`[{"every": "25 hours"}]`:                              `rule 1: every: "25 hours" is no interval from 1 minute to 1 day, such as 30 minutes or 2 hours`,
	} {
		_, err := ParseCalendar(text)
		require.EqualError(t, err, want, text)
	}
	require.Error(t, Spec{Calendar: `[{"at": "06:00"}]`, Cron: "0 6 * * *"}.Validate())
	require.NoError(t, Spec{Calendar: `[{"at": "06:00"}]`}.Validate())
	require.True(t, Spec{Calendar: `[{"at": "06:00"}]`}.HasClock())
	require.True(t, Spec{Calendar: `[]`}.Next(time.Now()).IsZero())
}

func TestADueCalendarIsDecidedLikeAnyClock(t *testing.T) {
	t.Parallel()
	s := Spec{Calendar: `[{"days": "mon-fri", "from": "07:00", "to": "19:00", "every": "30 minutes"}, {"days": "sat,sun", "at": "06:45"}]`, Location: zone(t, "Europe/Berlin")}
	friday := utc("2026-11-20 17:30:00") // half past six in the evening in Berlin
	d := s.Decide(friday, friday.Add(10*time.Second))
	require.Equal(t, Decision{Slot: friday, Run: true, Cause: "schedule", Next: utc("2026-11-21 05:45:00")}, d)
	d = s.Decide(friday, utc("2026-11-23 07:10:00"))
	require.Equal(t, utc("2026-11-23 07:00:00"), d.Slot)
	require.Equal(t, "catchup", d.Cause)
	require.Equal(t, 5, d.Missed, "friday evening, saturday, sunday, and monday from seven on")
}
