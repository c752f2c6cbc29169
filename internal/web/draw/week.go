package draw

import (
	"fmt"
	"strconv"
)

// Cell is one hour of the week: Share of the busiest hour, from 0 to 1; -1 = not known.
type Cell struct {
	X, W, Y float64 // x in percent, y in pixels
	Share   float64
	Title   string
}

const (
	weekRow  = 14
	weekSide = 8.0 // percent left of the first hour, for the names of the days
)

var weekDays = [7]string{"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}

// Week is the picture of one value for each hour of a week.
type Week struct {
	H     int    // pixels
	Most  string // of all hours
	Empty bool   // nothing happened in any hour that is known
	Days  []Tick // X is y, in pixels
	Hours []Tick
	Cells []Cell
}

// Hours draws what happened in each of the 168 hours of a week, which begins on Monday: a negative value is unknown. A
// value is told as so many of what, as "reads".
func Hours(values [168]float64, what string) Week {
	w := Week{H: 7*weekRow + 20}
	busiest := 0.0
	for _, v := range values {
		busiest = max(busiest, v)
	}
	w.Most, w.Empty = amount(busiest), busiest == 0
	step := (100 - weekSide) / 24
	for day, name := range weekDays {
		w.Days = append(w.Days, Tick{X: float64(day*weekRow + weekRow - 3), Text: name})
		for hour := range 24 {
			v := values[day*24+hour]
			c := Cell{X: hundredth(weekSide + float64(hour)*step), W: hundredth(step * 0.92), Y: float64(day * weekRow), Share: -1, Title: fmt.Sprintf("%s %02d:00: not known", name, hour)}
			if v >= 0 {
				c.Title = fmt.Sprintf("%s %02d:00: %s %s", name, hour, amount(v), what)
				c.Share = 0
				if busiest > 0 {
					c.Share = hundredth(v / busiest)
				}
			}
			w.Cells = append(w.Cells, c)
		}
	}
	for hour := 0; hour < 24; hour += 6 {
		w.Hours = append(w.Hours, Tick{X: hundredth(weekSide + float64(hour)*step), Text: fmt.Sprintf("%02d:00", hour)})
	}
	return w
}

// amount has three digits, or all of them before the point.
func amount(v float64) string {
	if v >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
