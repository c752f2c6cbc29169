package jobs

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
)

// The signature is for one receiver, and so is what the alert says.
func TestARedirectOfTheWebhookIsNotFollowed(t *testing.T) {
	t.Parallel()
	called := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true }))
	defer other.Close()
	for _, status := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		receiver := httptest.NewServer(http.RedirectHandler(other.URL, status))
		hook, err := NewWebhook(receiver.URL, "secret")
		require.NoError(t, err)
		require.Error(t, hook.Send(t.Context(), catalog.Alert{ID: 1, Event: "opened"}), status)
		receiver.Close()
	}
	require.False(t, called)
}
