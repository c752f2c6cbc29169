package words

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line makes text that others wrote safe for one line of a terminal or a page: what could move the cursor,
// change colours, retitle the window or reorder the line is shown as an escape, invalid UTF-8 as U+FFFD.
func Line(s string) string { return escape(s, false) }

// Lines does the same for text of several lines: line feeds and tabs stay.
func Lines(s string) string { return escape(s, true) }

func escape(s string, lines bool) string {
	if strings.IndexFunc(s, func(r rune) bool { return !Plain(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case Plain(r), lines && (r == '\n' || r == '\t'):
			b.WriteRune(r)
		case lines && r == '\r':
		case r == utf8.RuneError:
			b.WriteRune(utf8.RuneError)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return b.String()
}

// Plain excludes control characters (C0, DEL, C1), the invisible formatting characters, which include
// the ones that reverse the direction of text, and the line separators.
func Plain(r rune) bool {
	return r != utf8.RuneError && !unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}
