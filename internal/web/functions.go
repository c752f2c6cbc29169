package web

import (
	"html/template"
	"net/url"
	"time"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/doctor"
	"github.com/mvscheduler/mvscheduler/internal/words"
)

// functions of the templates. What users wrote goes through line or lines: HTML has no escape for a character that turns the
// direction of text.
var functions = template.FuncMap{
	"line": words.Line, "lines": words.Lines, "figures": words.Figures, "mark": words.Mark, "span": words.SpanOf, "bytes": words.BytesOf, "count": words.CountOf,
	"text":     func(s *string) string { return words.Line(words.TextOf(s)) },
	"short":    short,
	"cut":      func(n int, s *string) string { return short(n, words.TextOf(s)) },
	"took":     took,
	"moment":   moment,
	"clock":    func(t time.Time) string { return t.UTC().Format(time.DateTime) },
	"viewPath": viewPath,
	"schedule": func(s catalog.ViewStatus) string { return words.Line(words.Schedule(s)) },
	"next":     func(s catalog.ViewStatus) string { return words.Line(words.NextStep(s)) },
	"plus":     func(a, b int) int { return a + b },
	"length":   func(d time.Duration) string { return words.Span(d.Round(time.Millisecond)) },
	"ahead":    ahead,
	"link":     func(path, label, here string) navigation { return navigation{path, label, path == here} },
	"severity": severity,
}

func viewPath(name string) string { return "/views/" + url.PathEscape(name) }

// moment is an instant of the database's clock and how far it is from now.
func moment(t *time.Time, now time.Time) string {
	if t == nil {
		return words.Nothing
	}
	return t.UTC().Format(time.DateTime) + " (" + words.Ago(*t, now) + ")"
}

func took(r catalog.RunRecord) string {
	if r.StartedAt == nil {
		return words.Nothing
	}
	return words.Span(r.Took().Round(time.Millisecond))
}

// ahead is how far an instant is from now.
func ahead(t *time.Time, now time.Time) string {
	if t == nil {
		return words.Nothing
	}
	return words.Ago(*t, now)
}

// navigation is a link of the frame.
type navigation struct {
	Path, Label string
	Here        bool
}

// severity is a word with its sign.
func severity(s doctor.Severity) string {
	return map[doctor.Severity]string{doctor.Error: "✕ error", doctor.Warning: "◷ warning", doctor.Note: "· note"}[s]
}

// short cuts a name in the middle, where names of views differ least.
func short(n int, s string) string {
	runes := []rune(words.Line(s))
	if len(runes) <= n {
		return string(runes)
	}
	tail := n / 2
	return string(runes[:n-tail-1]) + "…" + string(runes[len(runes)-tail:])
}
