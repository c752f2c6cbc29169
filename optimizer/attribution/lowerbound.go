package attribution

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Bound is what the text of a statement says of the lower bound of a column.
type Bound struct {
	At      time.Time // the least of those that are understood
	Known   bool      // there is one
	Flipped bool      // a condition has the column on the right: pg_qualstats then tells the wrong operator
}

// LowerBound looks in the text of a statement, with its constants, for lower bounds of a column: column >= now() - interval '7
// days' and the like, as of an instant in a zone. now() and its kin, date_trunc, casts, + and - of an interval are
// understood, nothing that a session may have set otherwise, and nothing of it is ever sent to a server.
func LowerBound(text, column string, now time.Time, zone *time.Location) (b Bound, err error) {
	if len(text) > Longest {
		return b, ErrLong
	}
	defer func() { // it was written by anybody
		if p := recover(); p != nil {
			b, err = Bound{}, fmt.Errorf("parse a statement: %v", p)
		}
	}()
	tree, err := parse(text)
	if err != nil {
		return b, err
	}
	var parsed any
	if err := json.Unmarshal([]byte(tree), &parsed); err != nil {
		return b, fmt.Errorf("read the tree of a statement: %w", err)
	}
	e := evaluation{now.In(zone)}
	walk(parsed, "", func(kind string, node map[string]any) {
		if kind != "A_Expr" {
			return
		}
		operator, left, right := lastName(node["name"]), node["lexpr"], node["rexpr"]
		if isColumn(right, column) && !isColumn(left, column) {
			b.Flipped = true
			return
		}
		switch str(node["kind"]) {
		case "AEXPR_BETWEEN":
			if items, ok := inside(right, "List")["items"].([]any); ok && len(items) == 2 {
				operator, right = ">=", items[0]
			}
		case "AEXPR_OP":
		default:
			return
		}
		if !isColumn(left, column) || operator != ">=" && operator != ">" && operator != "=" {
			return
		}
		if at, ok := e.time(right); ok && (!b.Known || at.Before(b.At)) {
			b.At, b.Known = at, true
		}
	})
	return b, nil
}

// inside is the body of a node of a kind; nil when it is another one.
func inside(node any, kind string) map[string]any {
	outer, _ := node.(map[string]any)
	body, _ := outer[kind].(map[string]any)
	return body
}

// lastName is the last part of a qualified name.
func lastName(list any) string {
	names, _ := list.([]any)
	if len(names) == 0 {
		return ""
	}
	return str(inside(names[len(names)-1], "String")["sval"])
}

func isColumn(node any, column string) bool {
	if cast := inside(node, "TypeCast"); cast != nil {
		node = cast["arg"]
	}
	return lastName(inside(node, "ColumnRef")["fields"]) == column
}

// evaluation knows what time it is, in a zone.
type evaluation struct{ now time.Time }

// present are the functions that tell the time.
var present = map[string]bool{"now": true, "transaction_timestamp": true, "statement_timestamp": true, "clock_timestamp": true}

// time is the value of an expression of a time.
func (e evaluation) time(node any) (time.Time, bool) {
	none := time.Time{}
	if v := inside(node, "SQLValueFunction"); v != nil {
		switch str(v["op"]) {
		case "SVFOP_CURRENT_DATE":
			return truncate("day", e.now)
		case "SVFOP_CURRENT_TIMESTAMP", "SVFOP_LOCALTIMESTAMP":
			return e.now, true
		}
		return none, false
	}
	if c := inside(node, "TypeCast"); c != nil {
		at, ok := e.time(c["arg"])
		switch kind := lastName(inside(c["typeName"], "TypeName")["names"]) + lastName(asMap(c["typeName"])["names"]); {
		case ok && kind == "date":
			return truncate("day", at)
		case kind == "timestamp" || kind == "timestamptz":
			return at, ok
		}
		return none, false
	}
	if f := inside(node, "FuncCall"); f != nil {
		arguments, _ := f["args"].([]any)
		switch name := lastName(f["funcname"]); {
		case present[name] && len(arguments) == 0:
			return e.now, true
		case name == "date_trunc" && (len(arguments) == 2 || len(arguments) == 3):
			at, ok := e.time(arguments[1])
			if len(arguments) == 3 {
				zone, err := time.LoadLocation(constant(arguments[2]))
				if err != nil {
					return none, false
				}
				at = at.In(zone)
			}
			if ok {
				return truncate(constant(arguments[0]), at)
			}
		case name == "timezone" && len(arguments) == 2:
			return e.time(arguments[1])
		}
		return none, false
	}
	x := inside(node, "A_Expr")
	operator := lastName(x["name"])
	if x == nil || operator != "-" && operator != "+" {
		return none, false
	}
	at, ok := e.time(x["lexpr"])
	if !ok {
		return none, false
	}
	span, ok := intervalOf(x["rexpr"])
	if !ok {
		n, whole := asMap(inside(x["rexpr"], "A_Const")["ival"])["ival"].(float64) // current_date - 7
		if !whole {
			return none, false
		}
		span = interval{days: int(n)}
	}
	sign := 1
	if operator == "-" {
		sign = -1
	}
	return at.AddDate(0, sign*span.months, sign*span.days).Add(time.Duration(sign) * span.rest), true
}

func asMap(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// constant is the text of a constant; empty when it is none.
func constant(node any) string {
	if c := inside(node, "TypeCast"); c != nil {
		node = c["arg"]
	}
	c := inside(node, "A_Const")
	return str(asMap(c["sval"])["sval"])
}

func truncate(unit string, at time.Time) (time.Time, bool) {
	y, m, d := at.Date()
	day := func(y int, m time.Month, d int) (time.Time, bool) {
		return time.Date(y, m, d, 0, 0, 0, 0, at.Location()), true
	}
	switch strings.ToLower(unit) {
	case "minute", "hour":
		return at, true // look-backs are counted in days
	case "day":
		return day(y, m, d)
	case "week":
		return day(y, m, d-(int(at.Weekday())+6)%7)
	case "month":
		return day(y, m, 1)
	case "quarter":
		return day(y, (m-1)/3*3+1, 1)
	case "year":
		return day(y, 1, 1)
	}
	return at, false
}

type interval struct {
	months, days int
	rest         time.Duration
}

// intervalOf reads interval '1 month 3 days' and '7 days'::interval.
func intervalOf(node any) (span interval, ok bool) {
	cast := inside(node, "TypeCast")
	if cast == nil || lastName(asMap(cast["typeName"])["names"]) != "interval" || asMap(cast["typeName"])["typmods"] != nil {
		return span, false
	}
	words := strings.Fields(strings.ToLower(constant(node)))
	if len(words) == 0 || len(words)%2 != 0 {
		return span, false
	}
	for i := 0; i < len(words); i += 2 {
		n, err := strconv.Atoi(words[i])
		if err != nil || n < 0 || n > 100_000 {
			return span, false
		}
		switch strings.TrimSuffix(words[i+1], "s") {
		case "year", "y":
			span.months += 12 * n
		case "month", "mon":
			span.months += n
		case "week", "w":
			span.days += 7 * n
		case "day", "d":
			span.days += n
		case "hour", "h":
			span.rest += time.Duration(n) * time.Hour
		case "minute", "min":
			span.rest += time.Duration(n) * time.Minute
		default:
			return span, false
		}
	}
	return span, true
}
