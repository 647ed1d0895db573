# shellcheck shell=bash
# What judges licences, bans and sources of dependencies.

DENY_VERSION=0.20.2

# Where cargo-deny is, built once for all clones on the machine; prints it.
cargo_deny() {
    local target=$CACHE/cargo-deny-$DENY_VERSION
    # In little time rather than for speed: it runs for seconds.
    download_once cargo-deny "$target" build_cargo_deny >&2 || fail "cargo-deny could not be built"
    echo "$target/bin/cargo-deny"
}

build_cargo_deny() {
    cargo install cargo-deny --version "$DENY_VERSION" --locked --debug --root "$1" --target-dir "$2/build"
}
