package retention

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// KeyType is the name of a type of schema pg_catalog, as pg_type.typname has it.
type KeyType string

// Types that a time column can have.
const (
	TypeTimestamptz KeyType = "timestamptz"
	TypeTimestamp   KeyType = "timestamp"
	TypeDate        KeyType = "date"
)

func (k KeyType) known() bool { return k == TypeTimestamptz || k == TypeTimestamp || k == TypeDate }

// Bound is what a partition holds: times from From, which belongs to it, to To, which does not. MINVALUE and
// '-infinity' are NegInfinity, MAXVALUE and 'infinity' are Infinity; so are dates past the range of timestamptz.
type Bound struct {
	Default  bool // whatever no other partition holds, NULL too; From and To are then infinite
	From, To Timestamp
}

// String writes b for people.
func (b Bound) String() string {
	switch {
	case b.Default:
		return "DEFAULT"
	case b.From == NegInfinity && b.To == Infinity:
		return "any time"
	case b.From == NegInfinity:
		return "before " + b.To.String()
	case b.To == Infinity:
		return "from " + b.From.String()
	}
	return b.From.String() + " to " + b.To.String()
}

var (
	rangeBound = regexp.MustCompile(`^FOR VALUES FROM \((.*)\) TO \((.*)\)$`)
	timeText   = regexp.MustCompile(`^([0-9]{4,7})-([0-9]{2})-([0-9]{2})(?: ([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,6}))?(\+00)?)?( BC)?$`)
)

// ParseBound reads the bound of a partition as pg_get_expr(relpartbound, oid) prints it in a session with
// TimeZone = 'UTC' and DateStyle = 'ISO'. It fails for bounds of LIST and HASH partitions, of several columns
// and of other types, with a text that fits behind "its bound cannot be read: ".
func ParseBound(text string, key KeyType) (Bound, error) {
	if text == "DEFAULT" {
		return Bound{Default: true, From: NegInfinity, To: Infinity}, nil
	}
	match := rangeBound.FindStringSubmatch(text)
	switch {
	case strings.HasPrefix(text, "FOR VALUES IN ("):
		return Bound{}, errors.New("it is a list of values")
	case strings.HasPrefix(text, "FOR VALUES WITH ("):
		return Bound{}, errors.New("it is a part of a hash")
	case match == nil:
		return Bound{}, fmt.Errorf("%.100q is no bound of a range", text)
	}
	from, err := parseDatum(match[1], key)
	if err != nil {
		return Bound{}, err
	}
	to, err := parseDatum(match[2], key)
	if err != nil {
		return Bound{}, err
	}
	if from > to {
		return Bound{}, fmt.Errorf("%s is later than %s", match[1], match[2])
	}
	return Bound{From: from, To: to}, nil
}

func parseDatum(text string, key KeyType) (Timestamp, error) {
	switch text {
	case "MINVALUE", "'-infinity'":
		return NegInfinity, nil
	case "MAXVALUE", "'infinity'":
		return Infinity, nil
	}
	if strings.Contains(text, ",") {
		return 0, fmt.Errorf("(%.100s) are several columns", text)
	}
	quoted := len(text) >= 2 && text[0] == '\'' && text[len(text)-1] == '\''
	if !quoted || !key.known() {
		return 0, fmt.Errorf("%.100s is no %.100s", text, key)
	}
	return parseTime(text[1:len(text)-1], key)
}

func parseTime(text string, key KeyType) (Timestamp, error) {
	part := timeText.FindStringSubmatch(text)
	if part == nil {
		return 0, fmt.Errorf("%.100q is no %s in ISO style and UTC", text, key)
	}
	clock, zone := part[4] != "", part[8] != ""
	if clock != (key != TypeDate) || zone != (key == TypeTimestamptz) {
		return 0, fmt.Errorf("%q is no %s", text, key)
	}
	number := func(n int) int {
		value, _ := strconv.Atoi(part[n]) // at most seven digits, or empty and then zero
		return value
	}
	fraction, _ := strconv.Atoi((part[7] + "000000")[:6])
	year := number(1)
	if year == 0 {
		return 0, fmt.Errorf("%q is no date: there is no year 0", text)
	}
	if part[9] != "" {
		year = 1 - year
	}
	at := time.Date(year, time.Month(number(2)), number(3), number(4), number(5), number(6), fraction*1000, time.UTC)
	if int(at.Month()) != number(2) || at.Day() != number(3) || at.Hour() != number(4) || at.Minute() != number(5) || at.Second() != number(6) {
		return 0, fmt.Errorf("%q is no date of the calendar", text)
	}
	return At(at), nil
}
