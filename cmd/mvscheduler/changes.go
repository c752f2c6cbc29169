package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/mvscheduler/mvscheduler/catalog"
)

// follows are the columns that every change of a row changes, and those that the last refresh sets.
var follows = map[string]bool{"id": true, "search_path": true, "created_at": true, "updated_at": true, "updated_by": true, "tracking": true, "tracking_reason": true}

// columnChange is a column of a row before and after, as text; nil is NULL.
type columnChange struct {
	Column string  `json:"column"`
	Was    *string `json:"was"`
	Now    *string `json:"now"`
}

func (c columnChange) words() string {
	if c.Column == "query" {
		return "another query"
	}
	return fmt.Sprintf("%s %s -> %s", c.Column, valueWords(c.Column, c.Was), valueWords(c.Column, c.Now))
}

// changesOf lists what differs between two versions of a row: "cron '*/5 * * * *' -> none".
func changesOf(before, after *catalog.View) []string {
	var changes []string
	old, now := reflect.ValueOf(*before), reflect.ValueOf(*after)
	for i := range old.NumField() {
		column := old.Type().Field(i).Tag.Get("db")
		was, is := old.Field(i).Interface(), now.Field(i).Interface()
		switch {
		case follows[column] || reflect.DeepEqual(was, is):
		case column == "query":
			changes = append(changes, "another query")
		default:
			changes = append(changes, fmt.Sprintf("%s %s -> %s", column, valueWords(column, was), valueWords(column, is)))
		}
	}
	return changes
}

// valueWords is a value of a column as the flags take it; NULL is none.
func valueWords(column string, value any) string {
	v := reflect.ValueOf(value)
	if (v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice) && v.IsNil() {
		return "none"
	}
	switch value := value.(type) {
	case *int64:
		return bytesOf(value)
	case json.RawMessage:
		return shellQuote(string(value))
	case []string:
		return "(" + strings.Join(value, "; ") + ")"
	case *time.Time:
		return value.Format(time.RFC3339)
	}
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	text := fmt.Sprint(v.Interface())
	if d, ok := readInterval(text); ok && column != "name" {
		return exactSpan(d)
	}
	return shellQuote(text)
}

var clockTime = regexp.MustCompile(`^([0-9]{2,}):([0-9]{2}):([0-9]{2}(?:\.[0-9]+)?)$`)

// readInterval reads what PostgreSQL writes for an interval of less than a day.
func readInterval(text string) (time.Duration, bool) {
	parts := clockTime.FindStringSubmatch(text)
	if parts == nil {
		return 0, false
	}
	hours, err := strconv.ParseInt(parts[1], 10, 32)
	if err != nil {
		return 0, false
	}
	rest, err := time.ParseDuration(parts[2] + "m" + parts[3] + "s")
	return time.Duration(hours)*time.Hour + rest, err == nil
}
