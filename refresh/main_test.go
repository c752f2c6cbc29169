package refresh_test

import (
	"testing"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
	"github.com/mvscheduler/mvscheduler/internal/pgtest/allowlist"
)

func TestMain(m *testing.M) { pgtest.Main(m, allowlist.SearchShared(0)) }
