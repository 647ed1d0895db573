# shellcheck shell=bash
# PGSync, one of the programs the engine is measured against, with the nginx it wants.

PGSYNC_VERSION=7.3.0

# Installs what is missing and says where: SYNC_BENCH_PGSYNC is the virtual environment, its `bin` holds the commands.
pgsync_ready() {
    local target=$CACHE/pgsync-$PGSYNC_VERSION
    # Where Debian's programs for the system are is not on every user's path.
    [[ :$PATH: == *:/usr/sbin:* ]] || export PATH=$PATH:/usr/sbin
    install_pgsync_packages
    pgsync_runs "$target" || rm -rf -- "$target"
    download_once pgsync "$target" download_pgsync || fail "could not install PGSync $PGSYNC_VERSION"
    export SYNC_BENCH_PGSYNC=$target
}

missing_pgsync_packages() {
    have nginx || echo nginx-light
    # The module is there without it, but not what puts pip into the environment.
    python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || echo python3-venv
}

install_pgsync_packages() {
    local missing
    missing=$(missing_pgsync_packages)
    [[ -n $missing ]] || return 0
    without_system_services install_packages "$missing"
}

# Debian's package would start a web server of the system at once. Whoever has a policy already keeps it.
without_system_services() {
    local policy=/usr/sbin/policy-rc.d
    if [[ $(id -u) != 0 || -e $policy ]]; then
        "$@"
        return
    fi
    (
        trap 'rm -f -- "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        "$@"
    )
}

# An environment whose Python has gone, as after an upgrade of the system, is none.
pgsync_runs() { "$1/bin/python" -c 'import pgsync' >/dev/null 2>&1; }

# PGSync names the exact version of everything it needs, so this is the same each time. An environment cannot be moved:
# its commands name the interpreter by its full path. It is made to be at its target and put there at the end.
download_pgsync() {
    local output
    output=$(
        exec 2>&1 </dev/null
        python3 -m venv "$1" &&
            "$1/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir "pgsync==$PGSYNC_VERSION" &&
            grep -rlIZ --fixed-strings "$1" "$1/bin" "$1/pyvenv.cfg" |
            xargs -0 sed -i "s|$1|$CACHE/pgsync-$PGSYNC_VERSION|g"
    ) || { say "$output" && return 1; }
}
