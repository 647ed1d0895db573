//! What the documents say is there.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use sync_core::alerts::Condition;
use sync_core::telemetry::metrics::{ALL, Metric, MetricKind};

use super::{SOURCES, assert_none, below, read, root};

/// Where the documents may leave out the beginning of a path.
const FOLDERS: [&str; 6] =
    ["", "sync-core/src/", "sync-core/src/adapter/", "sync-runner/", "sync-runner/src/", "deploy/kubernetes/"];

/// What is written for people.
fn documents() -> impl Iterator<Item = String> {
    let docs = below("docs").into_iter().filter(|path| path.ends_with(".md"));
    ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(str::to_owned).into_iter().chain(docs)
}

/// The text and the target of every link.
fn links(text: &str) -> Vec<(&str, &str)> {
    let mut links = Vec::new();
    for (at, _) in text.match_indices("](") {
        let begin = text[..at].rfind('[').unwrap() + 1;
        let target = &text[at + 2..];
        links.push((&text[begin..at], &target[..target.find(')').unwrap()]));
    }
    links
}

/// What stands between backticks, on one line each.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// Between the fences of this language.
fn blocks(text: &str, language: &str) -> String {
    let mut inside = false;
    let mut found = String::new();
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(fence) => inside = fence == language,
            None if inside => found += &format!("{line}\n"),
            None => {}
        }
    }
    found
}

#[test]
fn every_test_the_documents_point_to_is_there() {
    let (mut named, mut missing) = (0, Vec::new());
    for document in documents() {
        let text = read(&document);
        let tests = links(&text).into_iter().filter(|(name, target)| name.starts_with('`') && target.ends_with(".rs"));
        for (name, target) in tests.filter(|(name, _)| !name.contains(['/', '.'])) {
            let function = format!("fn {}(", name.trim_matches('`'));
            let path = target.trim_start_matches("../");
            named += 1;
            if !SOURCES.iter().any(|source| source.path == path && source.code.contains(&function)) {
                missing.push(format!("{document}: {target}: {name}"));
            }
        }
    }
    assert!(named >= 60, "the guarantees are told with {named} tests only");
    assert_none("no such test", missing);
}

/// What leads to a heading, as GitHub makes it.
fn anchors(document: &str) -> BTreeSet<String> {
    let text = read(document);
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    headings
        .map(|line| line.to_lowercase().chars().filter(|c| kept(*c)).collect::<String>().replace(' ', "-"))
        .collect()
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    let mut missing = Vec::new();
    for document in documents() {
        let text = read(&document);
        let folder = document.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        for (_, target) in links(&text).into_iter().filter(|(_, target)| !target.contains("://")) {
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if path.is_empty() { document.clone() } else { beside(&folder, path) };
            if !root().join(&path).exists() || !anchor.is_empty() && !anchors(&path).contains(anchor) {
                missing.push(format!("{document}: {target}"));
            }
        }
    }
    assert_none("a link to nowhere", missing);
}

/// A path from the root, of one that is told from a folder.
fn beside(folder: &str, path: &str) -> String {
    let (mut folder, mut path) = (folder.trim_end_matches('/'), path);
    while let Some(rest) = path.strip_prefix("../") {
        (folder, path) = (folder.rsplit_once('/').map_or("", |(above, _)| above), rest);
    }
    if folder.is_empty() { path.to_owned() } else { format!("{folder}/{path}") }
}

#[test]
fn every_file_the_documents_name_is_there() {
    let is_path = |word: &str| {
        let ends = [".rs", ".sql", ".sh", ".toml", ".json", ".yaml", ".md", "/"];
        word.contains('/') && ends.iter().any(|end| word.ends_with(end)) && !word.contains(['<', '*', ' ', '{', ':'])
    };
    let mut missing = Vec::new();
    for document in documents() {
        let text = read(&document);
        let named = quoted(&text).filter(|word| is_path(word));
        let gone = named.filter(|path| !FOLDERS.iter().any(|folder| root().join(folder).join(path).exists()));
        missing.extend(gone.map(|path| format!("{document}: {path}")));
    }
    assert_none("no such file", missing);
}

#[test]
fn every_script_the_documents_name_can_be_run() {
    let mut offences = BTreeSet::new();
    for document in documents() {
        let text = read(&document);
        let shell = blocks(&text, "sh");
        let words = quoted(&text).chain(shell.lines()).filter_map(|said| said.split_whitespace().next());
        for script in words.filter(|word| word.starts_with("scripts/") && !word.ends_with('/')) {
            let found = root().join(script).metadata().ok();
            if found.is_none_or(|found| found.permissions().mode() & 0o111 == 0) {
                offences.insert(format!("{document}: {script}"));
            }
        }
    }
    assert_none("no such script", offences);
}

#[test]
fn every_command_the_documents_name_is_one_of_the_runner() {
    let cli = read("sync-runner/src/cli.rs");
    let mut offences = BTreeSet::new();
    for document in documents() {
        let text = read(&document);
        let shell = blocks(&text, "sh");
        for said in quoted(&text).chain(shell.lines()) {
            let Some(command) = said.trim().strip_prefix("sync-runner ").and_then(|said| said.split(' ').next()) else {
                continue;
            };
            let parts = command.split('-').filter_map(|part| part.split_at_checked(1));
            let variant: String = parts.map(|(first, rest)| first.to_uppercase() + rest).collect();
            if !cli.contains(&format!("    {variant}(")) {
                offences.insert(format!("{document}: sync-runner {command}"));
            }
        }
    }
    assert_none("no such command", offences);
}

#[test]
fn every_setting_the_readme_tells_about_is_in_the_documented_configuration() {
    let documented = read("sync-runner/sync.toml");
    let mut known = BTreeSet::new();
    let mut section = String::new();
    for line in documented.lines().map(|line| line.trim_start_matches("# ")) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.replace("indexes.jobs", "indexes.NAME").replace("hosts.one", "hosts.NAME");
        } else if let Some((key, _)) = line.split_once(" = ") {
            known.insert(format!("{section}.{key}"));
        }
    }
    let readme = read("README.md");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let settings: Vec<_> = rows.filter(|row| row.contains('.') && !row.contains(['(', '/'])).collect();
    assert!(settings.len() >= 10, "{settings:?}");
    let unknown = settings.into_iter().filter(|setting| !known.contains(*setting));
    assert_none("no such setting", unknown.map(str::to_owned));
}

#[test]
fn every_sql_function_the_documents_call_is_in_the_migrations() {
    let migrations: String = below("migrations").iter().map(|path| read(path)).collect();
    let mut offences = BTreeSet::new();
    for document in documents() {
        let text = read(&document);
        for (at, _) in text.match_indices("outbox.") {
            let name = &text[at..];
            let end = name.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '.')).unwrap_or(name.len());
            let (name, behind) = name.split_at(end);
            if behind.starts_with('(') && !migrations.contains(&format!("create function {name}(")) {
                offences.insert(format!("{document}: {name}"));
            }
        }
    }
    assert_none("no such function", offences);
}

#[test]
fn every_metric_is_documented_with_its_kind_and_in_the_same_words_and_nothing_else_is() {
    let text = read("docs/operations.md");
    let section = text.split_once("## Metrics").expect("a section of metrics").1;
    let documented: Vec<_> = section.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect();
    let row = |metric: &Metric| {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        format!("| `{}` | {kind} | {} |", metric.exported(), metric.what)
    };
    assert_eq!(documented, ALL.iter().map(row).collect::<Vec<_>>());
}

/// What of a text may be the name of a metric, without what Prometheus adds to the name of a histogram.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let first: BTreeSet<_> = ALL.iter().filter_map(|metric| metric.name.split('.').next()).collect();
    let is_one = |word: &&str| word.split_once('_').is_some_and(|(begin, _)| first.contains(begin));
    let histogram = |word: &str| {
        ["_bucket", "_count", "_sum"].iter().find_map(|end| {
            let name = word.strip_suffix(end)?;
            ALL.iter()
                .any(|metric| metric.exported() == name && metric.kind == MetricKind::Histogram)
                .then(|| name.to_owned())
        })
    };
    words.filter(is_one).map(|word| histogram(word).unwrap_or_else(|| word.to_owned())).collect()
}

#[test]
fn rules_and_dashboard_use_only_metrics_that_there_are_and_the_dashboard_shows_all() {
    let all: BTreeSet<_> = ALL.iter().map(Metric::exported).collect();
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/sync-runner.json")).unwrap();
    let shown = metrics_in(&expressions(&dashboard).join("\n"));
    assert_eq!(shown, all);
    let rules = read("deploy/prometheus/alerts.yml");
    let used: BTreeSet<_> = metrics_in(&rules).into_iter().filter(|word| !all.contains(word)).collect();
    assert_none("alerts.yml names what is no metric", used);
}

fn expressions(json: &Value) -> Vec<&str> {
    match json {
        Value::Object(fields) => {
            let own = fields.get("expr").and_then(Value::as_str).into_iter();
            own.chain(fields.values().flat_map(expressions)).collect()
        }
        Value::Array(all) => all.iter().flat_map(expressions).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

#[test]
fn every_alert_has_its_section_in_the_runbook_and_every_condition_its_rule() {
    let (rules, runbook) = (read("deploy/prometheus/alerts.yml"), read("docs/runbook.md"));
    let alerts: BTreeSet<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let sections: BTreeSet<_> =
        runbook.lines().filter_map(|line| line.strip_prefix("## ")).filter(|name| !name.contains(' ')).collect();
    assert_eq!(alerts, sections);
    let conditions = Condition::ALL.iter().map(|condition| condition.name());
    assert_none("a condition without a rule", conditions.filter(|name| !alerts.contains(name)).map(str::to_owned));
}
