package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// keeps are the columns that stay as they are when a document leaves them out: whose the row is, and what somebody has
// stopped meanwhile.
var keeps = map[string]bool{
	"name": true, "table": true, "query": true, "owner": true, "timezone": true, "search_path": true, "enabled": true, "legal_hold": true, "adopted": true,
	"paused_at": true, "paused_until": true, "pause_reason": true,
}

// left says that a column that the document leaves out stays as it is. A paused_at is the whole of a pause.
func (r *importRow) left(column string) bool {
	if _, whole := r.columns["paused_at"]; whole && (column == "paused_until" || column == "pause_reason") {
		return false
	}
	return keeps[column]
}

// pauses says that the document has a pause, or that there is none.
func (r *importRow) pauses() bool {
	return slices.ContainsFunc([]string{"paused_at", "paused_until", "pause_reason"}, func(column string) bool {
		_, given := r.columns[column]
		return given
	})
}

// deleteMissing deletes the rows whose materialized views are gone, in one statement, since they may read each other.
func deleteMissing(ctx context.Context, tx pgx.Tx, rows []*importRow) (bad *importRow, err error) {
	var ids []int64
	for _, r := range rows {
		r.again, r.paused = false, nil
		if r.source {
			continue
		}
		id, err := r.find(ctx, tx)
		if err != nil {
			return r, r.failed(err)
		}
		var missing, hasData, distrusted bool
		var author string
		var paused map[string]any
		query, _ := r.columns["query"].(string)
		err = tx.QueryRow(ctx, `
SELECT s.freshness = 'missing', EXISTS (SELECT FROM mvscheduler.visible_pieces AS p JOIN pg_class AS d ON d.oid = p.relation::oid WHERE p.view_id = s.id AND p.kind = 'data'),
       jsonb_build_object('paused_at', v.paused_at, 'paused_until', v.paused_until, 'pause_reason', v.pause_reason),
       o.text_author::text, NOT mvscheduler.can_become(o.text_author::oid, quote_ident(current_user)::regrole::oid)
       AND (regexp_replace($2::text, '\s+', '', 'g') = regexp_replace(v.query, '\s+', '', 'g') OR v.indexes IS NOT NULL AND $3)
  FROM mvscheduler.status AS s
  JOIN mvscheduler.views AS v ON v.id = s.id
  JOIN mvscheduler.visible_views AS o ON o.view_id = s.id
 WHERE s.id = $1`, id, query, r.columns["indexes"] != nil).Scan(&missing, &hasData, &paused, &author, &distrusted)
		switch {
		case errors.Is(err, pgx.ErrNoRows) || err == nil && !missing:
			continue
		case err != nil:
			return r, r.failed(err)
		case hasData:
			return r, &adviceError{
				err: r.failed(errors.New("the view is gone, and its data may be made of rows that have left")),
				do:  "To have it again over its data: mvscheduler resume " + shellQuote(r.name) + ". To give up its data: mvscheduler drop " + shellQuote(r.name) + ", then " + r.verb + " again.",
			}
		}
		if distrusted { // as for UPDATE, see refuse_stored_text
			return r, &adviceError{
				err: r.failed(fmt.Errorf("to create it anew parses text that %[1]s wrote, which can run code of %[1]s in your session", author)),
				do:  fmt.Sprintf("Let %s import it, with its own login. Or read the query, drop the view and create it again as yours: mvscheduler drop %s", author, shellQuote(r.name)),
			}
		}
		r.again = true
		if !r.pauses() {
			r.paused = paused
		}
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return nil, nil
	}
	if _, err := tx.Exec(ctx, `DELETE FROM mvscheduler.views WHERE id = ANY ($1)`, ids); err != nil {
		return nil, fmt.Errorf("delete the rows of views that are gone: %w", err)
	}
	return nil, nil
}

func (r *importRow) failed(err error) error {
	return fmt.Errorf("%s %s (%s of %s): %w", r.verb, r.name, r.place, r.file, err)
}

// find is the id of the row, 0 where there is none.
func (r *importRow) find(ctx context.Context, tx pgx.Tx) (id int64, err error) {
	var qualified bool
	if err := tx.QueryRow(ctx, `SELECT cardinality(mvscheduler.split_name($1)) = 2`, r.name).Scan(&qualified); err != nil {
		return 0, err
	}
	if !qualified {
		return 0, usagef("the name has no schema: write schema.%s", r.name)
	}
	sql := `
SELECT coalesce(max(v.id), 0)
  FROM mvscheduler.views AS v
  JOIN mvscheduler.split_name($1) AS parts ON v.name = mvscheduler.qualified_name(parts[1], parts[2])`
	if r.source {
		sql = `SELECT coalesce(max(s.id), 0) FROM mvscheduler.source_retention AS s WHERE s."table"::oid = to_regclass($1)::oid`
	}
	return id, tx.QueryRow(ctx, sql, r.name).Scan(&id)
}

// table is where the row is.
func (r *importRow) table() string {
	if r.source {
		return "mvscheduler.source_retention"
	}
	return "mvscheduler.views"
}

// write makes the row what the document says.
func (r *importRow) write(ctx context.Context, a *app, tx pgx.Tx) error {
	id, err := r.find(ctx, tx)
	if err != nil {
		return err
	}
	if id != 0 {
		r.changes, err = r.update(ctx, a, tx, id)
		r.action = "none"
		if len(r.changes) > 0 {
			r.action = "update"
		}
		return err
	}
	columns := maps.Clone(r.columns)
	delete(columns, "about")
	r.action = "insert"
	if r.source {
		delete(columns, "owner") // filled in
	} else if columns["adopted"] == true {
		var there bool
		if err := tx.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, r.name).Scan(&there); err != nil {
			return err
		}
		if there {
			r.action = "adopt"
		} else {
			delete(columns, "adopted")
		}
	}
	if r.again {
		r.action = "recreate"
		for column, value := range r.paused {
			if value != nil {
				columns[column] = value
			}
		}
	}
	if r.action == "adopt" { // as it is; a new query or a retention_period comes after it
		delete(columns, "query")
		delete(columns, "retention_period")
	}
	if err := r.insert(ctx, a, tx, columns); err != nil {
		return err
	}
	if r.action != "adopt" {
		return nil
	}
	if id, err = r.find(ctx, tx); err != nil {
		return err
	}
	r.changes, err = r.update(ctx, a, tx, id)
	return err
}

// insert writes the columns, each cast by the type of the table's; all other names are PostgreSQL's own, whatever the
// search_path is.
func (r *importRow) insert(ctx context.Context, a *app, tx pgx.Tx, columns map[string]any) error {
	doc, err := json.Marshal(columns)
	if err != nil {
		return err
	}
	var names, values []string
	for _, column := range slices.Sorted(maps.Keys(columns)) {
		quoted := pgx.Identifier{column}.Sanitize()
		names, values = append(names, quoted), append(values, "r."+quoted)
	}
	return r.inPath(ctx, a, tx, func() error {
		_, err := tx.Exec(ctx, fmt.Sprintf("INSERT INTO %s (%s)\nSELECT %s\n  FROM pg_catalog.jsonb_populate_record(NULL::%s, $1::pg_catalog.jsonb) AS r",
			r.table(), strings.Join(names, ", "), strings.Join(values, ", "), r.table()), string(doc))
		return err
	})
}

// inPath runs f with the search_path of the document, which the query of the row is read with.
func (r *importRow) inPath(ctx context.Context, a *app, tx pgx.Tx, f func() error) error {
	user := *a
	if path, ok := r.columns["search_path"].(string); ok {
		user.path = path
	}
	return user.inPath(ctx, tx, f)
}

// update changes the columns that differ and says how.
func (r *importRow) update(ctx context.Context, a *app, tx pgx.Tx, id int64) ([]columnChange, error) {
	doc, compared, err := r.wanted(ctx, tx)
	if err != nil {
		return nil, err
	}
	var pairs []string
	for _, column := range compared {
		quoted := pgx.Identifier{column}.Sanitize()
		pairs = append(pairs, fmt.Sprintf("('%s', o.%s::text, r.%s::text)", column, quoted, quoted))
	}
	rows, err := tx.Query(ctx, fmt.Sprintf(`
SELECT c.name, c.was, c.now
  FROM %s AS o, jsonb_populate_record(NULL::%s, $2::jsonb) AS r, LATERAL (VALUES %s) AS c (name, was, now)
 WHERE o.id = $1 AND c.was IS DISTINCT FROM c.now`, r.table(), r.table(), strings.Join(pairs, ", ")), id, string(doc))
	if err != nil {
		return nil, err
	}
	changes, err := pgx.CollectRows(rows, pgx.RowToStructByPos[columnChange])
	if err != nil || len(changes) == 0 {
		return nil, err
	}
	sets := make([]string, len(changes))
	for i, c := range changes {
		quoted := pgx.Identifier{c.Column}.Sanitize()
		sets[i] = fmt.Sprintf("%s = r.%s", quoted, quoted)
	}
	err = r.inPath(ctx, a, tx, func() error {
		tag, err := tx.Exec(ctx, fmt.Sprintf("UPDATE %s AS o\n   SET %s\n  FROM pg_catalog.jsonb_populate_record(NULL::%s, $2::pg_catalog.jsonb) AS r\n WHERE o.id OPERATOR(pg_catalog.=) $1",
			r.table(), strings.Join(sets, ", "), r.table()), id, string(doc))
		if err == nil && tag.RowsAffected() == 0 {
			return errNotOwner
		}
		return err
	})
	return changes, err
}

// wanted is the document with the defaults of what it leaves out, and the columns to compare.
func (r *importRow) wanted(ctx context.Context, tx pgx.Tx) (doc []byte, compared []string, err error) {
	var defaults map[string]any
	if err := tx.QueryRow(ctx, defaultsOf, r.table()).Scan(&defaults); err != nil {
		return nil, nil, err
	}
	names, fixed := exportColumns, map[string]bool{"name": true, "adopted": true}
	if r.source {
		names, fixed = sourceColumns, map[string]bool{"table": true, "owner": true, "time_column": r.columns["time_column"] == nil}
	}
	if r.columns["cron"] != nil || r.columns["calendar"] != nil {
		defaults["refresh_interval"] = nil
	}
	all := map[string]any{}
	for _, column := range names {
		value, given := r.columns[column]
		if fixed[column] || !given && r.left(column) {
			continue
		}
		if !given {
			value = defaults[column]
		}
		all[column] = value
		compared = append(compared, column)
	}
	doc, err = json.Marshal(all)
	return doc, compared, err
}
