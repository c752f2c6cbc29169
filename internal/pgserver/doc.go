// Package pgserver starts a private PostgreSQL from the binaries of this machine, for the demo and for
// tests. It works as root too: PostgreSQL refuses to run as root, so the server gets the rights of the
// user postgres, or of nobody where there is none.
//
// The server listens on a unix socket in a directory of its own, which only its user and root can enter,
// and on no network address; so it trusts every connection.
package pgserver
