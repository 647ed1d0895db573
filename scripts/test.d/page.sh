# shellcheck shell=bash
# What the tests of the status page and of the alert rules want: a browser, its driver, and Prometheus' own tool.

ensure_browser_packages() {
    local missing
    missing=$(
        have chromium || echo chromium
        have node || echo nodejs
        have npm || echo npm
    )
    install_packages "$missing"
}

# Where the packages of the page's test are, installed once for each list of them; prints it.
page_modules() {
    local source=sync-runner/tests/page target
    target=$CACHE/page-$(cat "$source"/package*.json | sha256sum | cut -c1-16)
    if [[ ! -e $target/done ]]; then
        mkdir -p "$target"
        cp "$source"/package*.json "$target"
        (cd "$target" && npm ci --no-audit --no-fund) >&2 || fail "npm could not install what $source/package.json names"
        touch "$target/done"
    fi
    echo "$target"
}

ensure_promtool() { have promtool || install_packages prometheus; }
