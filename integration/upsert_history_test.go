package integration

import (
	"fmt"
	"strings"
	"time"

	"pgregory.net/rapid"
)

// Kinds of statements that every random history has, and of which the tally knows whether one did anything.
const (
	kindNothing = "ON CONFLICT DO NOTHING"
	kindUpdate  = "ON CONFLICT DO UPDATE"
	kindMove    = "ON CONFLICT DO UPDATE of the time"
	kindCopy    = "COPY"
)

var kinds = []string{kindNothing, kindUpdate, kindMove, kindCopy}

// kindOf is empty for other statements.
func kindOf(sql string) string {
	switch {
	case strings.HasPrefix(sql, "COPY "):
		return kindCopy
	case strings.HasSuffix(sql, " DO NOTHING"):
		return kindNothing
	case strings.Contains(sql, " DO UPDATE SET ts = "):
		return kindMove
	case strings.Contains(sql, " WITH old AS "):
		return kindUpdate
	}
	return ""
}

// upserts is a table with a column ts, on rows of which INSERT ... ON CONFLICT is played.
type upserts struct {
	table, key string
	columns    string // those that are inserted
	fresh      string // their values in a row that is new, next to one that is there
	add        string // what DO UPDATE sets without moving the row
	move       string // the time to which it moves it
}

// upsert inserts rows of those that a condition finds once more, which conflict, some new ones beside them, or both, so that triggers
// for INSERT and for UPDATE have rows in one statement. Rows that conflict are locked, or another writer could move one meanwhile and
// there were two of the same number.
func (u upserts) upsert(r *rapid.T, kind, some string) string {
	action := "NOTHING"
	old, fresh := rapid.IntRange(1, 5).Draw(r, "old"), rapid.IntRange(0, 2).Draw(r, "fresh")
	switch kind {
	case kindNothing:
		fresh++
	case kindUpdate:
		action = "UPDATE SET " + u.add
	case kindMove:
		action = "UPDATE SET ts = " + u.move
	}
	return fmt.Sprintf(`INSERT INTO %[1]s (%[2]s) OVERRIDING SYSTEM VALUE WITH old AS (SELECT %[2]s FROM %[1]s WHERE %[3]s LIMIT %[4]d FOR UPDATE) SELECT * FROM old UNION ALL (SELECT %[5]s FROM old LIMIT %[6]d) ON CONFLICT (%[7]s) DO %[8]s`,
		u.table, u.columns, some, old, u.fresh, fresh, u.key, action)
}

// copied is COPY of rows into the first columns of a table; their data follow in the next lines.
func copied(table, columns string, rows ...string) string {
	return fmt.Sprintf("COPY %s (%s) FROM STDIN\n%s\n", table, columns, strings.Join(rows, "\n"))
}

// strewn puts a statement of each kind somewhere into the histories, outside of their transactions.
func strewn(r *rapid.T, histories [][]string, of func(kind string) string) {
	for _, kind := range kinds {
		n := rapid.IntRange(0, len(histories)-1).Draw(r, "writer of "+kind)
		var between []int
		open := false
		for at, sql := range histories[n] {
			if !open {
				between = append(between, at)
			}
			open = sql == "BEGIN" || open && sql != "COMMIT" && sql != "ROLLBACK"
		}
		at := rapid.SampledFrom(append(between, len(histories[n]))).Draw(r, "place of "+kind)
		histories[n] = append(histories[n][:at:at], append([]string{of(kind)}, histories[n][at:]...)...)
	}
}

// clockTime is a time as COPY reads it, by the clock of a zone where the column has none.
func clockTime(at time.Time, column string, zone *time.Location) string {
	if column == "timestamp" {
		return at.In(zone).Format("2006-01-02 15:04:05.999999")
	}
	return at.UTC().Format("2006-01-02 15:04:05.999999Z07:00")
}
