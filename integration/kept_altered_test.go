package integration

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// twoAside is aside with a second partition that nobody alters.
func (s *scene) twoAside(t testing.TB) {
	t.Helper()
	s.oldYear(t)
	pgtest.Exec(t, s.alice, `ALTER TABLE raw DETACH PARTITION old`, `DROP TABLE old`, `CREATE TABLE old PARTITION OF raw FOR VALUES FROM ('2020-01-01') TO ('2021-01-01') PARTITION BY RANGE (ts)`,
		`CREATE TABLE old_may PARTITION OF old FOR VALUES FROM ('2020-05-01') TO ('2020-06-01')`, `CREATE TABLE other PARTITION OF raw FOR VALUES FROM ('2021-01-01') TO ('2022-01-01')`,
		`CREATE INDEX ON raw (k)`, `CREATE POLICY already ON old_may USING (true)`, `CREATE STATISTICS already (dependencies) ON ts, k FROM old_may`,
		`INSERT INTO raw SELECT ts, 1 FROM generate_series(timestamptz '2020-05-01', '2020-05-31', '1 hour') AS ts`, keepAYear)
	startSidecar(t, s.db)
	until(t, s.root, `SELECT count(*) = 2 FROM mvscheduler.kept`)
}

// An index, a policy, a comment, a publication and a grant on a column are no ALTER TABLE, but say as well that somebody has use
// for it.
func TestAKeptPartitionThatWasAlteredIsNotDropped(t *testing.T) {
	heavy(t)
	t.Parallel()
	cases := map[string]string{
		"rename column":                 `ALTER TABLE old__kept RENAME k TO kept_k`,
		"not null":                      `ALTER TABLE old__kept ALTER k SET NOT NULL`,
		"default":                       `ALTER TABLE old__kept ALTER k SET DEFAULT 7`,
		"default of a sub-partition":    `ALTER TABLE old_may ALTER k SET DEFAULT 7`,
		"drop column":                   `ALTER TABLE old__kept DROP COLUMN k`,
		"check":                         `ALTER TABLE old__kept ADD CHECK (k > 0)`,
		"index":                         `CREATE INDEX ON old_may (k, ts)`,
		"index renamed":                 `ALTER INDEX old_may_k_idx RENAME TO mine`,
		"primary key":                   `ALTER TABLE old__kept ADD PRIMARY KEY (ts)`,
		"cluster":                       `ALTER TABLE old_may CLUSTER ON old_may_k_idx`,
		"comment":                       `COMMENT ON TABLE old__kept IS 'keep this'`,
		"comment on a column":           `COMMENT ON COLUMN old_may.k IS 'keep this'`,
		"comment on an index":           `COMMENT ON INDEX old_may_k_idx IS 'keep this'`,
		"publication":                   `CREATE PUBLICATION p FOR TABLE old__kept`,
		"policy":                        `CREATE POLICY p ON old__kept USING (true)`,
		"policy dropped":                `DROP POLICY already ON old_may`,
		"row-level security":            `ALTER TABLE old__kept ENABLE ROW LEVEL SECURITY`,
		"statistics target":             `ALTER TABLE old__kept ALTER k SET STATISTICS 500`,
		"extended statistics":           `ALTER STATISTICS already SET STATISTICS 500`,
		"trigger":                       `CREATE TRIGGER t BEFORE UPDATE ON old_may FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()`,
		"rule":                          `CREATE RULE r AS ON DELETE TO old_may DO INSTEAD NOTHING`,
		"grant":                         `GRANT SELECT ON old_may TO PUBLIC`,
		"grant (column)":                `GRANT SELECT (k) ON old__kept TO PUBLIC`,
		"sub-partition":                 `CREATE TABLE june PARTITION OF old__kept FOR VALUES FROM ('2020-06-01') TO ('2020-07-01')`,
		"sub-partition taken away":      `ALTER TABLE old__kept DETACH PARTITION old_may`,
		"options":                       `ALTER TABLE old_may SET (fillfactor = 70)`,
		"renamed to what it was before": `BEGIN; ALTER TABLE old__kept RENAME TO mine; ALTER TABLE mine RENAME TO old__kept; COMMIT`,
	}
	for _, name := range drawn(t, 9, slices.Sorted(maps.Keys(cases))) {
		alter := cases[name]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			pgtest.Exec(t, s.root, `GRANT CREATE ON DATABASE `+s.db.Name+` TO `+s.owner) // for the publication
			s.twoAside(t)
			pgtest.Exec(t, s.alice, alter, `UPDATE mvscheduler.source_retention SET grace_period = '0'`)
			until(t, s.root, `SELECT to_regclass($1) IS NULL`, s.owner+".other__kept") // in the same run
			s.pruned(t)
			require.True(t, ask[bool](t, s.root, `SELECT to_regclass($1) IS NOT NULL`, s.owner+".old__kept"), "it was dropped")
			require.Contains(t, mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".raw", "--dry-run", "-o", "json").stdout, "it was altered since it was put aside")
		})
	}
}

// What happens to a table by itself, and what its rows and indexes are put in order by, is no alteration.
func TestAKeptPartitionThatWasVacuumedAndReadIsDropped(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.twoAside(t)
	for _, statement := range []string{
		`ANALYZE old__kept`, `ANALYZE old_may`, `VACUUM (FREEZE, ANALYZE) old__kept`, `SELECT count(*) FROM old__kept WHERE k = 1`, `DELETE FROM old__kept WHERE ts < '2020-05-03'`, `VACUUM (FREEZE, ANALYZE) old_may`,
		`REINDEX TABLE old_may`, `REINDEX TABLE CONCURRENTLY old_may`, `REINDEX INDEX old_may_k_idx`, `INSERT INTO old__kept VALUES ('2020-05-09', 7)`,
	} {
		pgtest.Exec(t, s.alice, statement)
		require.Zero(t, ask[int64](t, s.alice, `SELECT count(*) FROM mvscheduler.visible_kept AS k WHERE k.altered`), statement)
	}
	pgtest.Exec(t, s.root, `VACUUM (FREEZE) pg_class, pg_attribute, pg_constraint, pg_index, pg_policy, pg_statistic_ext`, `VACUUM (FULL) pg_attribute`, `VACUUM (FULL) pg_class`)
	require.Zero(t, ask[int64](t, s.alice, `SELECT count(*) FROM mvscheduler.visible_kept AS k WHERE k.altered`))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET grace_period = '0'`)
	until(t, s.root, `SELECT count(*) = 0 FROM mvscheduler.kept`)
}
