# shellcheck shell=bash
# The example programs that emit by SQL alone, from clients of others: each on a new database, and of each the same output.

PSYCOPG_VERSION=3.3.9
JDBC_VERSION=42.7.14
CLIENTS_EXPECTED=examples/expected/clients.out

suite_clients() {
    local target=${CARGO_TARGET_DIR:-target} jdk
    CLIENTS_PASSED=0 CLIENTS_SKIPPED=0
    CLIENTS_SCRATCH=$(mktemp -d)
    trap 'rm -rf -- "$CLIENTS_SCRATCH"' EXIT
    install_if_possible "$(missing_client_packages)"

    cargo build --locked --manifest-path examples/clients/Cargo.toml --target-dir "$target"
    client sqlx "$target/debug/14_emit_sqlx"
    client diesel "$target/debug/15_emit_diesel"

    if has_venv; then
        download_once psycopg "$(psycopg)" install_psycopg || fail "psycopg could not be installed"
        client psycopg "$(psycopg)/bin/python" examples/python/emit.py
    else
        skipped examples/python "Python with venv"
    fi

    if have javac && { have mvn || [[ -d $(jdbc) ]]; }; then
        download_once jdbc "$(jdbc)" download_jdbc || fail "the JDBC driver could not be downloaded"
        # The one that compiles: a Java without a compiler may be first on the path.
        jdk=$(dirname "$(readlink -f "$(command -v javac)")")
        client jdbc "$jdk/java" -cp "$(jdbc)/*" examples/java/Emit.java
    else
        skipped examples/java "a JDK and Maven"
    fi
    printf '%s passed, 0 failed, %s skipped\n' "$CLIENTS_PASSED" "$CLIENTS_SKIPPED"
}

missing_client_packages() {
    has_venv || echo python3-venv
    have javac || echo openjdk-17-jdk-headless
    [[ -d $(jdbc) ]] || have mvn || echo maven
}

has_venv() { python3 -c 'import ensurepip, venv' 2>/dev/null; }

psycopg() { echo "$CACHE/psycopg-$PSYCOPG_VERSION-python-$(python_version)"; }

# What is installed holds code for one version.
python_version() { python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }

install_psycopg() {
    python3 -m venv "$1" && "$1/bin/python" -m pip install --quiet --disable-pip-version-check "psycopg[binary]==$PSYCOPG_VERSION"
}

jdbc() { echo "$CACHE/jdbc-$JDBC_VERSION"; }

download_jdbc() { libraries "$2" "$1" "org.postgresql:postgresql:$JDBC_VERSION"; }

skipped() {
    say "!! SKIPPED: $1 was not run, for want of $2"
    CLIENTS_SKIPPED=$((CLIENTS_SKIPPED + 1))
}

# client NAME COMMAND...: runs it on a database of its own, and compares what it prints.
client() {
    local name=$1 database=client_$1_$$ printed=$CLIENTS_SCRATCH/$1.out url code=0
    shift
    printf '+ %s\n' "$*"
    url=${SYNC__POSTGRES__URL%/*}/$database
    on_server "create database $database"
    SYNC__POSTGRES__URL=$url "${CARGO_TARGET_DIR:-target}/debug/sync-runner" migrate >"$CLIENTS_SCRATCH/migrate" 2>&1 ||
        { cat "$CLIENTS_SCRATCH/migrate" && fail "$name: the database could not be migrated"; }
    DATABASE_URL=$url JDBC_DATABASE_URL=$(jdbc_url "$url") "$@" >"$printed" || code=$?
    on_server "drop database $database with (force)"
    ((code == 0)) || fail "$name ended with $code"
    diff --unified "$CLIENTS_EXPECTED" "$printed" || fail "$name did not print what it should"
    CLIENTS_PASSED=$((CLIENTS_PASSED + 1))
}

on_server() { psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --command "$1" "$SYNC__POSTGRES__URL"; }

# JDBC is told user and password apart from the server.
jdbc_url() {
    [[ $1 =~ ^[a-z]+://(([^:@/]*)(:([^@/]*))?@)?(.*)$ ]]
    echo "jdbc:postgresql://${BASH_REMATCH[5]}${BASH_REMATCH[1]:+?user=${BASH_REMATCH[2]}&password=${BASH_REMATCH[4]}}"
}
