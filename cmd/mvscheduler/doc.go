// Command mvscheduler keeps the materialized views of a PostgreSQL database fresh: the sidecar (serve),
// a demonstration (demo) and the commands with which people look at views and change them.
//
// Each command has a file of its own. All of them speak SQL that any role with mvscheduler_user may
// speak: the program has no rights that psql would not have, and whatever it prints can be had from the
// views status, runs and attempts in schema mvscheduler.
//
// # Conventions
//
// Data goes to stdout, talk to stderr. Every command that prints data takes -o table, json, yaml or csv;
// the last three are for machines: instants in RFC 3339, intervals in seconds, sizes in bytes. What
// comes from the database never reaches a terminal with its control characters. Exit codes are those of
// exit.go and part of the contract.
package main
