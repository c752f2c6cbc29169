package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAFailedConnectionIsToldOnce(t *testing.T) {
	t.Parallel()
	require.Equal(t,
		"failed to connect to `user=ana database=db`: 127.0.0.1:1 (127.0.0.1): 127.0.0.1:1: connect: connection refused",
		saidOnce("failed to connect to `user=ana database=db`:\n\t127.0.0.1:1 (127.0.0.1): dial error: dial tcp 127.0.0.1:1: connect: connection refused\n\t127.0.0.1:1 (127.0.0.1): dial error: dial tcp 127.0.0.1:1: connect: connection refused"))
	require.Equal(t,
		"failed to connect to `user=ana database=db`: hostname resolving error: lookup nohost: no such host",
		saidOnce("failed to connect to `user=ana database=db`:\n\thostname resolving error: lookup nohost: no such host\n\tlookup nohost: no such host"))
	require.Equal(t, "a:\n\tone: refused\n\ttwo: refused", saidOnce("a:\n\tone: refused\n\ttwo: refused"), "every address that differs")
}

func TestOfAllTriesToConnectTheServersAnswerCounts(t *testing.T) {
	t.Parallel()
	const answer = `FATAL: no such role (SQLSTATE 28000)`
	require.Equal(t, "failed to connect to `user=ana`: 127.0.0.1:1 (h): server error: "+answer,
		answerOf("failed to connect to `user=ana`:\n\t127.0.0.1:1 (h): tls error: server refused TLS connection\n\t127.0.0.1:1 (h): server error: "+answer, answer))
	require.Equal(t, "create view: "+answer, answerOf("create view: "+answer, answer))
	require.Equal(t, "a query\n\tof two lines: "+answer, answerOf("a query\n\tof two lines: "+answer, answer))
}
