# shellcheck shell=bash
# PostgreSQL: role and database `sync`, logical decoding on, every durability setting left as it ships.

postgres_variable() { echo SYNC__POSTGRES__URL; }

postgres_location() { echo "postgres://sync:sync@127.0.0.1:$(port postgres)/sync"; }

postgres_bin() {
    local found
    if [[ -n ${SYNC_STACK_POSTGRES_BIN:-} ]]; then
        echo "$SYNC_STACK_POSTGRES_BIN"
    elif found=$(command -v initdb); then
        dirname "$(readlink -f "$found")"
    else
        # Debian keeps the server's programs off the path, one directory a major version.
        found=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)
        [[ -x $found ]] || return 1
        dirname "$found"
    fi
}

postgres_ask() {
    PGCONNECT_TIMEOUT=3 psql -X -q -A -t -v ON_ERROR_STOP=1 "$1" -c "$2" </dev/null
}

postgres_probe_given() { have psql && postgres_ask "$1" 'select 1' >/dev/null 2>&1; }

postgres_probe() { postgres_ask "$(postgres_location)" 'select 1' >/dev/null 2>&1; }

postgres_prepare() {
    owned_directory "$STACK/postgres" &&
        make_once "$STACK/postgres/data" postgres_new_cluster
}

# With its database, so that a cluster that is there is a whole one.
postgres_new_cluster() {
    local output
    echo sync >"$STACK/postgres.password"
    output=$("${AS_SERVER_USER[@]}" "$(postgres_bin)/initdb" --pgdata="$1" --username=sync --pwfile="$STACK/postgres.password" \
        --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 2>&1 &&
        "${AS_SERVER_USER[@]}" "$(postgres_bin)/postgres" --single -j -D "$1" postgres <<<'create database sync;' 2>&1) ||
        { say "$output" && return 1; }
}

postgres_configure() {
    cat >"$STACK/postgres.conf" <<CONF
data_directory = '$STACK/postgres/data'
hba_file = '$STACK/postgres/data/pg_hba.conf'
ident_file = '$STACK/postgres/data/pg_ident.conf'
listen_addresses = '127.0.0.1'
port = $(port postgres)
unix_socket_directories = ''
wal_level = logical
max_prepared_transactions = 20
max_connections = 200
log_timezone = 'UTC'
timezone = 'UTC'
log_line_prefix = '%m [%p] %q%d '
CONF
}

postgres_run() {
    spawn postgres env -i PATH="$PATH" LANG=C.UTF-8 "$(postgres_bin)/postgres" --config-file="$STACK/postgres.conf"
}

postgres_settle() { :; }
