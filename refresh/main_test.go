package refresh_test

import (
	"testing"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
