package main

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// What a row says is exported whole: a column that is new has to be put in its place, or here.
func TestExportKnowsEveryColumn(t *testing.T) {
	t.Parallel()
	for table, known := range map[string][]string{
		"mvscheduler.views":            slices.Concat(exportColumns, []string{"id", "created_at", "updated_at", "updated_by"}),
		"mvscheduler.source_retention": slices.Concat(sourceColumns, []string{"id", "created_at", "updated_at"}),
	} {
		var columns []string
		require.NoError(t, pgtest.New(t).Conn(t, "").QueryRow(t.Context(),
			`SELECT array_agg(attname::text) FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped`, table).Scan(&columns))
		require.ElementsMatch(t, columns, known)
	}
}
