package main

import (
	"fmt"
	"io"
	"strings"
)

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
