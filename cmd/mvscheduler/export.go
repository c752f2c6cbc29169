package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/goccy/go-yaml"
	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/catalog"
)

type exportCmd struct {
	Names []string `arg:"" optional:"" name:"name" complete:"view" help:"The views, and tables of source_retention. Default: all that you may see."`
	Full  bool     `help:"Everything about them: relations, indexes, grants, status, last runs and attempts, alerts, audit log. For a report of a problem; read it before you send it, it holds your queries."`
}

func (exportCmd) Help() string {
	return `Prints views as YAML, one document each (-o json: one array): the columns of mvscheduler.views that differ from their defaults, as a file to keep under version control, from which import makes them again, with a pause that is in force. Rows of mvscheduler.source_retention follow; they have "table" in place of "name". With --full everything that mvscheduler and PostgreSQL know about them.

Examples:

  mvscheduler export > views.yaml
  mvscheduler export --full analytics.daily > report.yaml
  mvscheduler export app.flights

` + exitCodesHelp
}

// Run prints the documents.
func (c *exportCmd) Run(ctx context.Context, a *app) error {
	if a.Output == "csv" {
		return usagef("export writes YAML, or JSON with -o json")
	}
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		var ids []int64
		for _, name := range c.Names {
			id, err := a.findTarget(ctx, conn, name)
			if err != nil {
				return err
			}
			ids = append(ids, id)
		}
		if len(c.Names) == 0 {
			all, err := catalog.Statuses(ctx, conn)
			if err != nil {
				return err
			}
			for _, s := range all {
				ids = append(ids, s.ID)
			}
			tables, err := catalog.SourceRetentions(ctx, conn)
			if err != nil {
				return err
			}
			ids = append(ids, tables...)
		}
		all := []json.RawMessage{}
		for _, id := range ids {
			doc, err := exportRow(ctx, conn, id, c.Full)
			if err != nil {
				return err
			}
			if a.Output == "json" {
				if doc, err = yaml.YAMLToJSON(doc); err != nil {
					return fmt.Errorf("write JSON: %w", err)
				}
				all = append(all, doc)
				continue
			}
			if _, err := fmt.Fprintf(a.rawOut(), "---\n%s", doc); err != nil {
				return err
			}
		}
		if a.Output == "json" {
			return a.emitData(all)
		}
		return nil
	})
}

// exportColumns are in the order of the file; the query comes last, since it is long.
var exportColumns = []string{
	"name", "owner", "refresh_interval", "cron", "calendar", "timezone", "refresh_on", "catchup", "enabled",
	"paused_at", "paused_until", "pause_reason", "method", "unique_key", "indexes",
	"retention_period", "time_column", "bucket_width", "change_tracking", "lateness", "real_time", "refresh_group", "priority",
	"statement_timeout", "lock_timeout", "work_mem", "max_attempts", "max_size_bytes", "analyze", "optimize",
	"min_interval", "max_interval", "min_retention", "max_retention", "adopted", "search_path", "query",
}

// sourceColumns are those of source_retention.
var sourceColumns = []string{"table", "owner", "time_column", "retention_period", "grace_period", "legal_hold", "enabled", "timezone"}

// always are written whatever their value is.
var always = map[string]bool{"name": true, "table": true, "owner": true, "timezone": true, "query": true}

const (
	// defaultsOf are the defaults of the columns of a table, as text.
	defaultsOf = `
SELECT jsonb_object_agg(a.attname, CASE WHEN d.adbin IS NOT NULL THEN regexp_replace(pg_get_expr(d.adbin, d.adrelid), '^''(.*)''::[a-z ]+$', '\1') END)
  FROM pg_attribute AS a
  LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped`
	// Both read the columns of a row as text; a pause that is over is none.
	readView = `
SELECT to_jsonb(v) - 'id' - CASE WHEN v.paused_until <= now() THEN '{paused_at,paused_until,pause_reason}'::text[] ELSE '{}' END
  FROM mvscheduler.views AS v
 WHERE v.id = $1`
	readSource = `
SELECT to_jsonb(s) - 'id' || jsonb_build_object('table', coalesce(mvscheduler.shown_name(s."table"::oid), s."table"::text))
  FROM mvscheduler.source_retention AS s
 WHERE s.id = $1`
)

// exportRow writes the row of a view, or with an id below zero one of source_retention.
func exportRow(ctx context.Context, conn *pgx.Conn, id int64, full bool) ([]byte, error) {
	var (
		columns  json.RawMessage
		row      map[string]any
		defaults map[string]any
	)
	query, table, names, parts := readView, "mvscheduler.views", exportColumns, aboutView
	if id < 0 {
		query, table, names, parts = readSource, "mvscheduler.source_retention", sourceColumns, aboutSource
	}
	if err := conn.QueryRow(ctx, query, id).Scan(&columns); err != nil {
		return nil, fmt.Errorf("read row %d: %w", id, err)
	}
	if err := conn.QueryRow(ctx, defaultsOf, table).Scan(&defaults); err != nil {
		return nil, fmt.Errorf("read the defaults of %s: %w", table, err)
	}
	if err := yaml.Unmarshal(columns, &row); err != nil { // JSON is YAML, and its numbers stay whole
		return nil, fmt.Errorf("read row %d: %w", id, err)
	}
	var doc yaml.MapSlice
	for _, column := range names {
		value := row[column]
		if !always[column] && (value == nil || fmt.Sprint(value) == fmt.Sprint(defaults[column])) {
			if column != "refresh_interval" || row["cron"] != nil || row["calendar"] != nil || value != nil {
				continue
			}
		}
		doc = append(doc, yaml.MapItem{Key: column, Value: topYAML(value)})
	}
	if full {
		about, err := aboutRow(ctx, conn, id, parts)
		if err != nil {
			return nil, err
		}
		doc = append(doc, yaml.MapItem{Key: "about", Value: about})
	}
	return marshalYAML(doc)
}

// aboutPart is one of the things that a person asks for who looks for the cause of a problem.
type aboutPart struct{ name, sql string }

const (
	aboutRuns     = `SELECT jsonb_agg(to_jsonb(r)) FROM (SELECT * FROM mvscheduler.runs WHERE view_id = $1 ORDER BY id DESC LIMIT 50) AS r`
	aboutAttempts = `SELECT jsonb_agg(to_jsonb(a)) FROM mvscheduler.attempts AS a WHERE a.run_id IN (SELECT id FROM mvscheduler.runs WHERE view_id = $1 ORDER BY id DESC LIMIT 50) AND a.outcome <> 'succeeded'`
)

var (
	aboutView = []aboutPart{
		{"server", `SELECT jsonb_build_object('version', version(), 'mvscheduler', (SELECT max(version) FROM mvscheduler.schema_migrations), 'now', clock_timestamp(), 'timezone', current_setting('TimeZone')) WHERE $1 <> 0`},
		{"status", `SELECT to_jsonb(s) FROM mvscheduler.status AS s WHERE s.id = $1`},
		{"relations", `SELECT jsonb_agg(jsonb_build_object('name', c.oid::regclass::text, 'role', o.part, 'kind', c.relkind, 'owner', c.relowner::regrole, 'acl', c.relacl::text, 'options', c.reloptions,
                              'populated', c.relispopulated, 'bytes', pg_total_relation_size(c.oid), 'comment', obj_description(c.oid, 'pg_class'), 'definition', pg_get_viewdef(c.oid),
                              'columns', (SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'acl', a.attacl::text,
                                                                                                'statistics', nullif(a.attstattarget::int, -1), 'comment', col_description(c.oid, a.attnum))) ORDER BY a.attnum)
                                            FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)) ORDER BY o.part, c.oid)
                         FROM (SELECT 'view' AS part, relation::oid AS oid FROM mvscheduler.visible_views WHERE view_id = $1
                               UNION ALL SELECT 'query', query_relation::oid FROM mvscheduler.visible_views WHERE view_id = $1
                               UNION ALL SELECT kind, relation::oid FROM mvscheduler.visible_pieces WHERE view_id = $1) AS o
                         JOIN pg_class AS c ON c.oid = o.oid`},
		{"indexes", `SELECT jsonb_agg(jsonb_build_object('definition', pg_get_indexdef(i.indexrelid), 'valid', i.indisvalid, 'mark', obj_description(i.indexrelid, 'pg_class')))
                       FROM mvscheduler.visible_views AS v JOIN pg_index AS i ON i.indrelid = v.relation::oid WHERE v.view_id = $1`},
		{"statistics", `SELECT jsonb_agg(pg_get_statisticsobjdef(s.oid)) FROM mvscheduler.visible_views AS v JOIN pg_statistic_ext AS s ON s.stxrelid = v.relation::oid WHERE v.view_id = $1`},
		{"dependents", `WITH RECURSIVE above AS (
                            SELECT relation::oid AS oid FROM mvscheduler.visible_views WHERE view_id = $1
                            UNION
                            SELECT w.ev_class
                              FROM above AS b
                              JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = b.oid AND d.classid = 'pg_rewrite'::regclass
                              JOIN pg_rewrite AS w ON w.oid = d.objid)
                        SELECT jsonb_agg(a.oid::regclass::text ORDER BY a.oid) FROM above AS a WHERE a.oid <> (SELECT relation::oid FROM mvscheduler.visible_views WHERE view_id = $1)`},
		{"runs", aboutRuns},
		{"attempts", aboutAttempts},
		{"alerts", `SELECT jsonb_agg(to_jsonb(a)) FROM mvscheduler.alerts AS a WHERE a.view_name = (SELECT name FROM mvscheduler.visible_views WHERE view_id = $1)`},
		{"audit_log", `SELECT jsonb_agg(to_jsonb(e)) FROM (SELECT * FROM mvscheduler.audit_log WHERE view_name = (SELECT name FROM mvscheduler.visible_views WHERE view_id = $1) ORDER BY id DESC LIMIT 50) AS e`},
	}
	aboutSource = []aboutPart{
		aboutView[0],
		{"facts", `SELECT f.facts FROM mvscheduler.prune_facts AS f WHERE f.id = $1`},
		{"kept", `SELECT jsonb_agg(to_jsonb(k) - 'target' ORDER BY k.detached_at) FROM mvscheduler.visible_kept AS k WHERE k.target = $1`},
		{"prunings", `SELECT jsonb_agg(to_jsonb(p)) FROM (SELECT * FROM mvscheduler.prunings WHERE name = (SELECT t.name FROM mvscheduler.visible_targets AS t WHERE t.id = $1) ORDER BY id DESC LIMIT 50) AS p`},
		{"runs", aboutRuns},
		{"attempts", aboutAttempts},
		{"audit_log", `SELECT jsonb_agg(to_jsonb(e)) FROM (SELECT * FROM mvscheduler.audit_log WHERE view_name = (SELECT t.name FROM mvscheduler.visible_targets AS t WHERE t.id = $1) ORDER BY id DESC LIMIT 50) AS e`},
	}
)

func aboutRow(ctx context.Context, conn *pgx.Conn, id int64, parts []aboutPart) (yaml.MapSlice, error) {
	var about yaml.MapSlice
	for _, p := range parts {
		var value json.RawMessage
		if err := conn.QueryRow(ctx, p.sql, id).Scan(&value); err != nil {
			return nil, fmt.Errorf("read %s of row %d: %w", p.name, id, err)
		}
		var ordered any
		if len(value) > 0 {
			if err := yaml.UnmarshalWithOptions(value, &ordered, yaml.UseOrderedMap()); err != nil {
				return nil, fmt.Errorf("read %s of row %d: %w", p.name, id, err)
			}
		}
		about = append(about, yaml.MapItem{Key: p.name, Value: ordered})
	}
	return about, nil
}
