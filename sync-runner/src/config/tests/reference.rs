//! The documented configuration as a page: `docs/configuration.md` is what this makes of it.

use std::fmt::Write as _;

use super::super::DOCUMENTED;

const HEAD: &str = "# Configuration

Every key of `sync-runner`, with its default; one that has none is shown as it may look, behind “for example”. It is what
`sync-runner init` writes, and what a test holds against the keys and defaults the program knows.

Later wins: the file (`sync.toml`, or `--config PATH`, or `SYNC_CONFIG`), environment variables, flags. `postgres.pool_size` is
`pool_size` below `[postgres]` in the file, `SYNC__POSTGRES__POOL_SIZE` in the environment, `--set postgres.pool_size=16` as a
flag; lists are written with commas there. Durations are written `500ms`, `10s`, `2m`, sizes `512KiB`, `8MiB`; paths are
relative to the file. A key that nobody knows is refused, with the one that may be meant, and all that is wrong is told at once;
of the environment, variables that begin with `SYNC__` are read, with two underscores, and `DATABASE_URL`.
`sync-runner check` tells whether it all can be reached and fits together.
";

/// One line of the documented file.
enum Line<'a> {
    Section(&'a str),
    Key { name: &'a str, value: &'a str, is_set: bool },
    Text(&'a str),
    Nothing,
}

fn read(line: &str) -> Line<'_> {
    let (is_set, bare) = line.strip_prefix("# ").map_or((true, line), |bare| (false, bare));
    if bare.is_empty() || bare == "#" {
        return Line::Nothing;
    }
    if let Some(name) = bare.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return Line::Section(name);
    }
    match bare.split_once(" = ") {
        Some((name, value)) if !name.contains(' ') => Line::Key { name, value, is_set },
        _ => Line::Text(bare),
    }
}

/// The page.
fn page() -> String {
    let mut page = HEAD.to_owned();
    let (mut section, mut text) = (None, Vec::new());
    // The head of the file is said above in other words.
    let body = DOCUMENTED.split_once("\n\n").map_or(DOCUMENTED, |(_, body)| body);
    let mut lines = body.lines().map(read).peekable();
    while let Some(line) = lines.next() {
        match line {
            Line::Text(said) => text.push(said),
            Line::Nothing => {}
            Line::Section(name) => {
                section = Some(name);
                write!(page, "\n## `[{name}]`\n\n").unwrap();
                if !text.is_empty() {
                    writeln!(page, "{}\n", text.join("\n")).unwrap();
                    text.clear();
                }
            }
            Line::Key { name, value, is_set } => {
                let default = if is_set { "" } else { "for example " };
                write!(page, "- `{}.{name}`, {default}`{value}`", section.unwrap_or_default()).unwrap();
                // What a comment says of several keys stands at the last of them.
                let goes_on = matches!(lines.peek(), Some(Line::Key { .. }));
                if goes_on && !text.is_empty() {
                    page.push_str(" and\n");
                    continue;
                }
                let said = if text.is_empty() { ".".to_owned() } else { format!(":\n  {}", text.join("\n  ")) };
                writeln!(page, "{said}").unwrap();
                text.clear();
            }
        }
    }
    page
}

/// `SYNC_WRITE_REFERENCE=1 cargo test the_reference` writes it.
#[test]
fn the_reference_among_the_documents_is_what_init_writes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    if std::env::var_os("SYNC_WRITE_REFERENCE").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == page(), "docs/configuration.md is not of this configuration: SYNC_WRITE_REFERENCE=1 writes it");
}
