// Package pgexec is the only door to users' relations. What can be done through it is what it has
// functions for: REFRESH MATERIALIZED VIEW, with its variants, and ANALYZE, the statements that PostgreSQL
// itself runs as the owner in a security-restricted operation. There is no way to run a text of a user's.
//
// A relation is named by its OID. Its kind, its owner and its name are read in the transaction that
// refreshes it, and the lock that the statement really took is looked up afterwards, so that a relation
// which was renamed, given away or replaced in between is never taken for another.
//
// # The session
//
// A [Session] is a direct connection (a pooler in front is found out and refused) of a role that is no
// superuser. It speaks the extended protocol only, so a statement is one statement; it takes no message
// over 1 MB, since a function can send a notice of any size; it drops notices; its settings are fixed,
// whatever the server's or the role's defaults are, because a user's query computes with them. Between
// two users of a session everything is discarded.
package pgexec
