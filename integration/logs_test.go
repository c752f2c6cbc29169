package integration

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestLogsAreJSONWhenAsked(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	user := db.User(t, "alice")
	alice := db.Conn(t, user)
	pgtest.Exec(t, alice, "INSERT INTO mvscheduler.views (name, query) VALUES ('good', 'SELECT 1 AS a')",
		`INSERT INTO mvscheduler.views (name, query, max_attempts) VALUES ('"odd ""name"', 'SELECT 1 / count(*) FILTER (WHERE false) AS a FROM pg_class', 1)`)
	s := startSidecar(t, db, "--log-format", "json")
	until(t, alice, `SELECT count(*) = 2 FROM mvscheduler.runs WHERE state IN ('succeeded', 'failed')`)
	s.signal(syscall.SIGTERM)
	<-s.done

	said := map[string]map[string]any{}
	for line := range strings.Lines(s.log.String()) {
		var entry map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &entry), line)
		for _, key := range []string{"time", "level", "msg"} {
			require.NotEmpty(t, entry[key], line)
		}
		said[entry["msg"].(string)] = entry
	}
	require.Equal(t, user+".good", said["refreshed"]["view"])
	failed := said["refresh failed, the slot is given up"]
	require.Equal(t, "ERROR", failed["level"])
	require.Equal(t, "22012", failed["sqlstate"])
	require.Equal(t, user+`."odd ""name"`, failed["view"])
}
