# shellcheck shell=bash
# What the tests of the status page and of the alert rules want: a browser, its driver, and Prometheus' own tool.

PAGE_SOURCE=sync-runner/tests/page

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
    local target
    target=$CACHE/page-$(cat "$PAGE_SOURCE"/package*.json | sha256sum | cut -c1-16)
    download_once page "$target" install_page_modules >&2 || fail "npm could not install what $PAGE_SOURCE/package.json names"
    echo "$target"
}

install_page_modules() {
    mkdir -p "$1" && cp "$PAGE_SOURCE"/package*.json "$1" && (cd "$1" && npm ci --no-audit --no-fund)
}

ensure_promtool() { have promtool || install_packages prometheus; }
