package integration

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A DROP, a RENAME or a DROP INDEX wants the view for itself. Behind one that waits for a reader others queue, so it
// lets go soon and comes again; when the reader has gone, it is through.
func TestReadersDoNotWaitLongBehindTheDDLOfARow(t *testing.T) {
	heavy(t)
	t.Parallel()
	for _, change := range []string{`DELETE FROM mvscheduler.views`, `UPDATE mvscheduler.views SET name = 'w'`, `UPDATE mvscheduler.views SET unique_key = '{}'`} {
		t.Run(change, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			user := db.User(t, "alice")
			alice, reader, other := db.Conn(t, user), db.Conn(t, user), db.Conn(t, user)
			pgtest.Exec(t, alice, `INSERT INTO mvscheduler.views (name, query, unique_key) VALUES ('v', 'SELECT 1 AS a', '{a}')`, `REFRESH MATERIALIZED VIEW v`)
			reading := []string{`BEGIN`, `SELECT * FROM v`}

			pgtest.Exec(t, reader, reading...)
			pid := alice.PgConn().PID()
			ended := make(chan error, 1)
			go func() { _, err := alice.Exec(t.Context(), change); ended <- err }()
			until(t, db.Conn(t, ""), `SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)`, int32(pid))
			pgtest.Exec(t, other, `SET lock_timeout = '3s'`)
			for reads := 0; ; reads++ {
				select {
				case err := <-ended:
					require.ErrorContains(t, err, "(SQLSTATE 55P03)", "it gave up by and by")
					require.Greater(t, reads, 3)
				default:
					pgtest.Exec(t, other, `SELECT * FROM v`) // in less than its lock_timeout
					time.Sleep(50 * time.Millisecond)
					continue
				}
				break
			}
			go func() { _, err := alice.Exec(t.Context(), change); ended <- err }()
			until(t, db.Conn(t, ""), `SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)`, int32(pid))
			pgtest.Exec(t, reader, `COMMIT`)
			require.NoError(t, <-ended)
		})
	}
}
