# shellcheck shell=bash
# That the crates can be taken from elsewhere: packaged, and built by the oldest Rust they say they need.

# Compiles both as whoever downloads them would, everything anew, and installs the program as README shows.
suite_package() {
    local install at
    can_be_packaged
    install=$(grep '^cargo install ' README.md)
    at=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf -- '$at'" EXIT
    bash -ec "$install --root $at"
    "$at/bin/sync-runner" --version
}

# can_be_packaged [--no-verify]
can_be_packaged() {
    cargo package --quiet --allow-dirty -p sync-core -p sync-runner "$@"
    printf 'sync-core and sync-runner can be packaged%s\n' "${1:+, which was not compiled}"
}

suite_msrv() {
    local oldest
    oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    have rustup || fail "rustup is not there, which installs Rust $oldest"
    rustup toolchain list | grep -q "^$oldest-" || rustup toolchain install "$oldest" --profile minimal
    # Of its own: what one compiler made, the other would make anew each time.
    CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/msrv cargo "+$oldest" check --workspace --all-features --all-targets
    printf 'everything compiles with Rust %s\n' "$oldest"
}
