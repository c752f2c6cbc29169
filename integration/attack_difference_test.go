package integration

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Whatever the columns of the key are, whatever statistics say of them, and wherever NULLs are: what a wide refresh finds
// different is what differs.
func TestAWideRefreshFindsWhatDiffersForKeysOfAnyType(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.root, `CREATE EXTENSION IF NOT EXISTS citext SCHEMA public`, `CREATE EXTENSION IF NOT EXISTS hstore SCHEMA public`)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE COLLATION blurred (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`,
		`CREATE DOMAIN word AS text`, `CREATE DOMAIN numbers AS int[]`, `CREATE TYPE pair AS (a int, b text)`, `CREATE TYPE mood AS ENUM ('a', 'b', 'c')`, `CREATE TYPE span AS RANGE (subtype = float8)`)
	kinds := []string{
		`text:chr(97 + %s)`, `int:%s`, `numeric:(ARRAY['1.0','1.00','NaN','2','3.10','3.1'])[1+%s]::numeric`, `float8:(ARRAY['NaN','0','-0','1','2','Infinity'])[1+%s]::float8`,
		`word:chr(97 + %s)::word`, `numbers:ARRAY[%[1]s, CASE WHEN %[1]s > 2 THEN NULL ELSE 1 END]::numbers`, `int[]:ARRAY[%[1]s, NULL]`, `pair:ROW(%[1]s, CASE WHEN %[1]s > 2 THEN 'x' END)::pair`,
		`mood:(ARRAY['a','b','c','a','b','c'])[1+%s]::mood`, `span:span(%s, NULL)`, `text COLLATE blurred:(ARRAY['a','A','b','B','c','C'])[1+%s]`, `public.citext:(ARRAY['a','A','b','B','c','C'])[1+%s]`,
		`interval:(ARRAY['24 hours','1 day','30 days','1 month','1 year','0'])[1+%s]::interval`, `jsonb:to_jsonb(ARRAY[%s])`, `bool:(ARRAY[true,false,true,false,true,false])[1+%s]`,
		`char(5):chr(97 + %s)`, `varchar(9):(ARRAY['a','a ','b','b  ','',' '])[1+%s]`, `date:(ARRAY['2020-01-01','infinity','-infinity','0001-01-01 BC','2020-01-02','2020-01-03'])[1+%s]::date`,
		`int4range:int4range(%s, 9)`, `inet:(ARRAY['1.2.3.4','1.2.3.4/24','::1','1.1.1.1','1.1.1.2','1.1.1.3'])[1+%s]::inet`, `bit varying:(ARRAY['1','01','001','0','','11'])[1+%s]::varbit`,
		`pair[]:ARRAY[ROW(%s, NULL)::pair, NULL]`, `money:%s::int::money`, `"char":chr(97 + %s)::"char"`, `name:chr(97 + %s)::name`, `regclass:%s::oid::regclass`, `uuid:lpad(%s::text, 32, '0')::uuid`, `tsvector:chr(97 + %s)::tsvector`, `public.hstore:public.hstore('a', %s::text)`,
		`int2vector:%s::text::int2vector`, `pg_lsn:('0/'||%s)::pg_lsn`, `timetz:(ARRAY['12:00+00','13:00+01','12:00+01','11:00+00','1:00+00','0:00-01'])[1+%s]::timetz`,
	}
	if !long {
		rand.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
		kinds = kinds[:10]
	}
	var views []string
	table := map[string][2]string{} // by view, with an expression for a key
	for n, kind := range kinds {
		typ, value, _ := strings.Cut(kind, ":")
		tb, v := fmt.Sprintf("t%d", n), fmt.Sprintf("v%d", n)
		value = fmt.Sprintf(value, "floor(random() * 6)::int")
		pgtest.Exec(t, s.alice, fmt.Sprintf(`CREATE TABLE %s (ts timestamptz NOT NULL, k %s, m int, v float8)`, tb, typ))
		table[v] = [2]string{tb, value}
		views = append(views, v)
	}
	insert := func(v string, rows int, nulls float64) {
		pgtest.Exec(t, s.alice, fmt.Sprintf(`INSERT INTO %s SELECT '2026-03-01'::timestamptz + random() * interval '6 hours', CASE WHEN random() >= %g THEN %s END, CASE WHEN random() >= %g THEN (random() * 2)::int END,
			(ARRAY['NaN', '0', '-0', '1', '2'])[1 + floor(random() * 5)::int]::float8 FROM generate_series(1, %d)`, table[v][0], nulls, table[v][1], nulls, rows))
	}
	for _, v := range views {
		insert(v, 60, 0)
		s.incremental(t, v, fmt.Sprintf(`SELECT date_trunc('hour', ts) AS hour, k, m, count(*) AS n, min(v) AS low, json_agg(v::text ORDER BY v::text) AS j, max(v) AS r, avg(v)::float4 AS f FROM %s WHERE mvscheduler.in_window(ts) GROUP BY 1, 2, 3`, table[v][0]))
	}
	startSidecar(t, s.db)
	s.incremented(t, views...)
	for _, v := range views {
		require.Equal(t, "{hour,k,m}", ask[string](t, s.alice, `SELECT mvscheduler.key_of($1::text::regclass)::text`, s.owner+"."+v+"__data"), table[v][1])
	}
	changes := []string{
		`nulls`, `ALTER TABLE %[1]s__data ALTER k SET STATISTICS 0; ANALYZE %[1]s__data`, `nulls`, `ANALYZE %[1]s__data`, `no nulls`, `ANALYZE %[1]s__data`, `nulls`,
		`ALTER TABLE %[1]s__data ALTER k SET (n_distinct = 1)`, `ALTER TABLE %[1]s__data ALTER k SET STATISTICS 100; ANALYZE %[1]s__data`, `no nulls`, `nulls`,
	}
	if !long {
		changes = changes[:4]
	}
	for _, change := range changes {
		pgtest.Exec(t, s.root, `INSERT INTO mvscheduler.dirt (view_id, lo, hi) SELECT view_id, '-infinity', 'infinity' FROM mvscheduler.view_state`, `UPDATE mvscheduler.view_health SET rows_estimate = 10000000`)
		for _, v := range views {
			tb := table[v][0]
			pgtest.Exec(t, s.alice, fmt.Sprintf(`DELETE FROM %s WHERE random() < 0.1`, tb), fmt.Sprintf(`UPDATE %s SET v = -v WHERE random() < 0.1`, tb), fmt.Sprintf(`UPDATE %s SET k = %s WHERE random() < 0.1`, tb, table[v][1]))
			switch change {
			case `nulls`:
				insert(v, 20, 0.4)
			case `no nulls`:
				pgtest.Exec(t, s.alice, fmt.Sprintf(`DELETE FROM %s WHERE k IS NULL OR m IS NULL`, tb))
			default:
				pgtest.Exec(t, s.alice, strings.Split(fmt.Sprintf(change, v), ";")...)
				insert(v, 20, 0.2)
			}
		}
		for _, v := range views {
			s.incremented(t, v)
			require.Contains(t, s.last(t, v, "reason"), "in one pass", v)
			same(t, s.alice, v)
		}
	}
}
