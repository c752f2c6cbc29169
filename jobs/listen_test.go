package jobs

import (
	"context"
	"errors"
	"testing"

	"github.com/riverqueue/river/riverdriver"
	"github.com/stretchr/testify/require"
)

// spoken is a listener that hears these notifications and then the end.
type spoken struct {
	riverdriver.Listener
	heard []*riverdriver.Notification
}

var errSilence = errors.New("silence")

func (s *spoken) WaitForNotification(context.Context) (*riverdriver.Notification, error) {
	if len(s.heard) == 0 {
		return nil, errSilence
	}
	next := s.heard[0]
	s.heard = s.heard[1:]
	return next, nil
}

func TestOfRiversNotificationsOnlyInsertHintsPassAndSayNothing(t *testing.T) {
	t.Parallel()
	listener := insertHints{&spoken{heard: []*riverdriver.Notification{
		{Topic: "river_control", Payload: `{"action":"pause","queue":"*"}`},
		{Topic: "river_leadership", Payload: `{"action":"request_resign"}`},
		{Topic: "river_insert", Payload: `{"queue":"another"}`},
		{Topic: "river_control", Payload: `{"action":"cancel","job_id":1}`},
		{Topic: "river_insert", Payload: `not even JSON`},
		{Topic: "", Payload: ""},
	}}}
	for range 2 {
		notification, err := listener.WaitForNotification(t.Context())
		require.NoError(t, err)
		require.Equal(t, "river_insert", notification.Topic)
		require.JSONEq(t, `{"queue":"refresh"}`, notification.Payload)
	}
	_, err := listener.WaitForNotification(t.Context())
	require.ErrorIs(t, err, errSilence)
}
