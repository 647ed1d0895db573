# shellcheck shell=bash
# What the servers and the build need on the machine: Debian packages, and a user to run servers as.

CACHE=$(realpath -m "${SYNC_STACK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sync-stack}")

# Which package gives what, in the order they are looked for. Maven is wanted only while a distribution is missing.
missing_packages() {
    local server
    for server in "$@"; do
        case $server in
            postgres)
                postgres_bin >/dev/null || echo postgresql
                have psql || echo postgresql-client
                ;;
            kafka | elasticsearch)
                java_home >/dev/null || echo openjdk-17-jre-headless
                [[ -d $("${server}_distribution") ]] || have mvn || echo maven
                ;;
            opensearch)
                opensearch_java >/dev/null || opensearch_java_package
                [[ -d $(opensearch_distribution) ]] || have mvn || echo maven
                ;;
            docker)
                have dockerd || echo docker.io
                # One that needs nothing else can be all there is in a container.
                busybox_is_static || echo busybox-static
                have unshare || echo util-linux
                ;;
        esac
    done
    have kcat || echo kcat
    have jq || echo jq
    have curl || echo curl
    # The registries are reached over TLS.
    [[ -d /etc/ssl/certs ]] || echo ca-certificates
}

busybox_is_static() { have busybox && ! ldd "$(command -v busybox)" >/dev/null 2>&1; }

# What the vendored builds of librdkafka and OpenSSL need beside Rust.
missing_build_packages() {
    have gcc || echo gcc
    have g++ || echo g++
    have make || echo make
    have perl || echo perl
    have pkg-config || echo pkg-config
    [[ -e /usr/include/stdlib.h ]] || echo libc6-dev
}

# What some tests want beside the servers: without it they are skipped.
missing_optional_packages() {
    have shellcheck || echo shellcheck
    # Programs against Kafka's own client are compiled as they run.
    have javac || echo openjdk-17-jdk-headless
    # Clocks of servers that jump.
    [[ -n $(faketime_library) ]] || echo libfaketime
}

faketime_library() {
    local library
    for library in /usr/lib/*/faketime/libfaketimeMT.so.1 /usr/lib*/faketime/libfaketimeMT.so.1; do
        [[ -r $library ]] || continue
        echo "$library"
        return 0
    done
}

ensure_packages() {
    local missing
    install_packages "$(missing_packages "$@" | sort -u)"
    missing=$(missing_packages "$@" | sort -u | tr '\n' ' ')
    [[ -z $missing ]] || fail "still missing after the installation: ${missing% }"
}

ensure_build_packages() { install_packages "$(missing_build_packages | sort -u)"; }

ensure_optional_packages() { install_if_possible "$(missing_optional_packages)"; }

install_if_possible() {
    [[ -n $1 ]] || return 0
    if [[ $(id -u) == 0 ]] && have apt-get; then
        install_packages "$1"
    else
        say "not installed, some tests will be skipped: ${1//$'\n'/ }"
    fi
}

install_packages() {
    local packages
    [[ -n $1 ]] || return 0
    mapfile -t packages <<<"$1"
    have apt-get || fail "missing: ${packages[*]} (names of Debian packages); install them with this system's package manager"
    [[ $(id -u) == 0 ]] || fail "missing: ${packages[*]}; install them with: sudo apt-get install ${packages[*]}"
    say "installing ${packages[*]}"
    mkdir -p "$CACHE"
    (
        # Two scripts on a fresh machine would trip over each other's package lists.
        flock 8
        no_system_cluster
        no_system_servers
        export DEBIAN_FRONTEND=noninteractive
        apt_get update || exit 1
        offered_java
        apt_get install -y --no-install-recommends "${packages[@]}"
    ) 8>"$CACHE/packages.lock" || fail "could not install ${packages[*]}; install them by hand and run this again"
}

apt_get() {
    local output
    output=$(apt-get -q -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 "$@" </dev/null 2>&1 8>&- 9>&-) || { say "$output" && return 1; }
}

# Debian's package would otherwise create and start a cluster of the system at port 5432.
no_system_cluster() {
    [[ " ${packages[*]} " == *" postgresql "* && ! -e /etc/postgresql-common/createcluster.conf ]] || return 0
    mkdir -p /etc/postgresql-common/createcluster.d
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/no-main-cluster.conf
}

# Debian's packages would otherwise start an engine of the system, which changes the machine's firewall, or Prometheus, of
# which only a tool is wanted.
no_system_servers() {
    [[ " ${packages[*]} " =~ " docker.io "|" prometheus " && ! -e /usr/sbin/policy-rc.d ]] || return 0
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
}

# 17 is what Debian 12 has; the release after it has a later one only.
offered_java() {
    [[ -z $(apt-cache search --names-only '^openjdk-17-jre-headless$') ]] || return 0
    packages=("${packages[@]/#openjdk-17-/default-}")
}

# The oldest Java from 17 on that the servers' user can run.
java_home() { java_between 17 99; }

# java_between FROM TO: the same of these versions.
java_between() {
    local home version
    for home in ${JAVA_HOME:+"$JAVA_HOME"} /usr/lib/jvm/*-17-* /usr/lib/jvm/*-21-* /usr/lib/jvm/* "$(java_on_path)"; do
        [[ -x $home/bin/java && -f $home/release ]] || continue
        version=$(sed -nE 's/^JAVA_VERSION="([0-9]+).*/\1/p' "$home/release")
        if ((${version:-0} >= $1 && ${version:-0} <= $2)) && "${AS_SERVER_USER[@]}" test -x "$home/bin/java"; then
            echo "$home"
            return 0
        fi
    done
    return 1
}

java_on_path() {
    local java
    java=$(command -v java) || return 0
    dirname "$(dirname "$(readlink -f "$java")")"
}

# PostgreSQL and Elasticsearch refuse to run as root.
server_user() {
    if [[ $(id -u) != 0 ]]; then
        id -un
    elif [[ -n ${SYNC_STACK_USER:-} ]]; then
        echo "$SYNC_STACK_USER"
    elif id -u postgres >/dev/null 2>&1; then
        echo postgres
    else
        echo sync-stack
    fi
}

# A prefix for commands: empty unless this is root. setpriv replaces itself by the command, so the process id stays the recorded one.
AS_SERVER_USER=()
ensure_server_user() {
    local user
    [[ $(id -u) == 0 ]] || return 0
    user=$(server_user)
    id -u "$user" >/dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin "$user"
    AS_SERVER_USER=(setpriv "--reuid=$(id -u "$user")" "--regid=$(id -g "$user")" --clear-groups --)
    "${AS_SERVER_USER[@]}" test -x "$STACKS/." ||
        fail "$STACKS cannot be entered by user '$user'; set SYNC_STACK_DIR to a directory all users may enter"
}

own() {
    if [[ $(id -u) == 0 ]]; then chown -R "$(server_user):" "$1"; fi
}

# Also when it is there already but of another user, as after a machine got a `postgres` user in between.
owned_directory() {
    mkdir -p "$1"
    [[ $(stat -c %U "$1") == "$(server_user)" ]] || own "$1"
}
