package pgtest

import (
	"io"
	"net"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Pooler listens at the address that it returns and passes everything on to the server of a database, but like a
// pooler tells clients a process id of its own.
func Pooler(t testing.TB, db *DB) (address string) {
	t.Helper()
	config, err := pgx.ParseConfig(db.URL())
	if err != nil {
		t.Fatal(err)
	}
	network, to := pgconn.NetworkAddress(config.Host, config.Port)
	ctx := t.Context()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := new(net.Dialer).DialContext(ctx, network, to)
			if err != nil {
				_ = client.Close()
				return
			}
			go func() {
				_, _ = io.Copy(server, client)
				_ = server.Close()
			}()
			go answer(client, server)
		}
	}()
	return listener.Addr().String()
}

func answer(client, server net.Conn) {
	defer func() { _ = client.Close() }()
	frontend := pgproto3.NewFrontend(server, server)
	for {
		message, err := frontend.Receive()
		if err != nil {
			return
		}
		if key, ok := message.(*pgproto3.BackendKeyData); ok {
			key.ProcessID = 4711
		}
		encoded, err := message.Encode(nil)
		if err != nil {
			return
		}
		if _, err := client.Write(encoded); err != nil {
			return
		}
	}
}
