package main

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// sanitize makes text that others wrote safe for one line of a terminal: what could move the cursor,
// change colours, retitle the window or reorder the line is shown as an escape, invalid UTF-8 as U+FFFD.
func sanitize(s string) string { return escape(s, false) }

// sanitizeLines does the same for text of several lines: line feeds and tabs stay.
func sanitizeLines(s string) string { return escape(s, true) }

func escape(s string, lines bool) string {
	if strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case plain(r), lines && (r == '\n' || r == '\t'):
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

// plain excludes control characters (C0, DEL, C1), the invisible formatting characters, which include
// the ones that reverse the direction of text, and the line separators.
func plain(r rune) bool {
	return r != utf8.RuneError && !unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

// jsonSafe writes the characters that plain excludes as JSON escapes. In JSON made by encoding/json they
// occur within strings only, apart from line feeds.
func jsonSafe(doc []byte) string {
	var b strings.Builder
	for _, r := range string(doc) {
		switch {
		case r == '\n' || plain(r):
			b.WriteRune(r)
		case r >= 0x10000:
			hi, lo := 0xd800+((r-0x10000)>>10), 0xdc00+((r-0x10000)&0x3ff)
			fmt.Fprintf(&b, `\u%04x\u%04x`, hi, lo)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// terminalWriter sanitizes what goes to a terminal in formats that have no escapes of their own.
type terminalWriter struct{ w io.Writer }

func (t terminalWriter) Write(p []byte) (int, error) {
	if _, err := io.WriteString(t.w, sanitizeLines(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}
