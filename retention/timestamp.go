package retention

import (
	"fmt"
	"math"
	"time"
)

// Timestamp is a time as PostgreSQL stores it: microseconds since 2000-01-01 00:00 UTC. The zero value is that
// instant, so what may be missing is a pointer. A timestamp without time zone and a date are read as if they
// stood in UTC, as the change log does.
type Timestamp int64

// PostgreSQL's '-infinity' and 'infinity'; MINVALUE and MAXVALUE of a bound too.
const (
	NegInfinity Timestamp = math.MinInt64
	Infinity    Timestamp = math.MaxInt64
)

const (
	epoch  = 946_684_800 // 2000-01-01 in seconds since 1970
	second = 1_000_000   // in microseconds
	hour   = time.Hour
	day    = 24 * time.Hour
)

// At converts a time, cut to microseconds. What PostgreSQL cannot store is infinite.
func At(t time.Time) Timestamp {
	const most = math.MaxInt64/second - 1
	switch s := t.Unix() - epoch; {
	case s > most:
		return Infinity
	case s < -most:
		return NegInfinity
	default:
		return Timestamp(s*second + int64(t.Nanosecond())/1000)
	}
}

// Finite says whether t is neither of the infinities.
func (t Timestamp) Finite() bool { return t != NegInfinity && t != Infinity }

// Time converts a finite t, in UTC.
func (t Timestamp) Time() time.Time {
	s := int64(t) / second
	return time.Unix(epoch+s, (int64(t)-s*second)*1000).UTC()
}

// Add moves t. What overflows is infinite, and what is infinite stays.
func (t Timestamp) Add(d time.Duration) Timestamp { return t.shift(d.Microseconds()) }

func (t Timestamp) shift(microseconds int64) Timestamp {
	moved := t + Timestamp(microseconds)
	switch {
	case !t.Finite():
		return t
	case microseconds > 0 && moved < t:
		return Infinity
	case microseconds < 0 && moved > t:
		return NegInfinity
	}
	return moved
}

// second is t without the fraction of a second, which nobody reads in what came of a clock.
func (t Timestamp) second() Timestamp {
	if !t.Finite() {
		return t
	}
	return t - Timestamp(((int64(t)%1e6)+1e6)%1e6)
}

// String writes t for people: a date alone at midnight, else UTC to the second, or finer where it is.
func (t Timestamp) String() string {
	switch t {
	case NegInfinity:
		return "-infinity"
	case Infinity:
		return "infinity"
	}
	at, era := t.Time(), ""
	year := at.Year()
	if year < 1 {
		year, era = 1-year, " BC"
	}
	date := fmt.Sprintf("%04d-%s", year, at.Format("01-02"))
	if at.Truncate(day).Equal(at) {
		return date + era
	}
	return date + at.Format(" 15:04:05.999999") + " UTC" + era
}
