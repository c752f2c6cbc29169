package draw

// Value is one bar: how high, what it is and what is said of it. A negative value is unknown and becomes a tick.
type Value struct {
	ID    int64
	Kind  string
	V     float64
	Title string
}

// Bar is a value in its place: x in percent, y in pixels.
type Bar struct {
	ID         int64
	Kind       string
	X, W, Y, H float64
	Title      string
}

const barsH = 72

// Bars stand side by side on one line, the highest as high as the picture (72 px).
func Bars(values []Value) []Bar {
	highest := 0.0
	for _, v := range values {
		highest = max(highest, v.V)
	}
	var bars []Bar
	for i, v := range values {
		width := 100 / float64(max(len(values), 12))
		b := Bar{ID: v.ID, Kind: v.Kind, Title: v.Title, X: hundredth(float64(i)*width + width/10), W: hundredth(width * 0.8), H: 3}
		if v.V > 0 {
			b.H = hundredth(max(3, v.V/highest*(barsH-4)))
		}
		b.Y = barsH - b.H
		bars = append(bars, b)
	}
	return bars
}
