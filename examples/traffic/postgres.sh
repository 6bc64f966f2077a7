#!/bin/sh
# A PostgreSQL with a database of its own, which is gone when it stops: postgres.sh NAME. It listens where `weft run` says.
set -eu
initdb=$(command -v initdb || ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null | tail -n 1)
[ -n "$initdb" ] || { echo "PostgreSQL is not here: no initdb in PATH, none in /usr/lib/postgresql" >&2; exit 1; }
programs=$(dirname "$initdb")
data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT
trap 'kill -INT "$server" 2>/dev/null || :' INT TERM
server=
as=
if [ "$(id -u)" = 0 ]; then    # it does not run as root
    chown postgres "$data"
    as='setpriv --reuid=postgres --regid=postgres --clear-groups'
fi
cd "$data"
$as "$programs/initdb" -D "$data" -A trust -U postgres -N --no-instructions >/dev/null
$as "$programs/postgres" -D "$data" -h "${WEFT_HOST:-127.0.0.1}" -p "${PORT:-5432}" -k '' -c "cluster_name=${1:-db}" &
server=$!
wait "$server" || wait "$server"    # the first ends with the signal, the second with the server
