package optimizer

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAnOwnerHasTheSameShareOfAnAllowanceWhateverOthersTook(t *testing.T) {
	t.Parallel()
	a := Allowance{1: time.Minute}
	require.Equal(t, 5*time.Minute, a.Left(1, 6*time.Minute), "there is no other")
	a[2] = 0
	require.Equal(t, 2*time.Minute, a.Left(1, 6*time.Minute))
	a[1] = time.Hour
	require.Negative(t, a.Left(1, 6*time.Minute))
	require.Equal(t, 3*time.Minute, a.Left(2, 6*time.Minute))
}
