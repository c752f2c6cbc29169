#!/bin/bash
# Makes the data directory at the first start, as the public image does, and becomes the server.
#
# POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE, POSTGRES_USER, POSTGRES_DB, POSTGRES_HOST_AUTH_METHOD
set -euo pipefail

[ "${1:-postgres}" = postgres ] || [ "${1#-}" != "$1" ] || exec "$@"
[ "${1#-}" = "${1:-}" ] || set -- postgres "$@"
user=${POSTGRES_USER:-postgres}
method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    password=${POSTGRES_PASSWORD:-}
    [ -z "${POSTGRES_PASSWORD_FILE:-}" ] || password=$(<"$POSTGRES_PASSWORD_FILE")
    if [ -z "$password" ] && [ "$method" != trust ]; then
        echo "a password is needed: POSTGRES_PASSWORD_FILE or POSTGRES_PASSWORD" >&2
        exit 1
    fi
    install -d -m 0700 "$PGDATA"
    initdb --username="$user" --encoding=UTF8 --auth-local=trust --auth-host=trust --pwfile=<(echo "${password:-none}") >/dev/null
    echo "host all all all $method" >>"$PGDATA/pg_hba.conf"
    if [ "${POSTGRES_DB:-postgres}" != postgres ]; then
        pg_ctl -w start -o "-c listen_addresses=''" >/dev/null
        createdb --username="$user" "$POSTGRES_DB"
        pg_ctl -w -m fast stop >/dev/null
    fi
fi
unset POSTGRES_PASSWORD
exec "$@" -c "listen_addresses=*"
