//! What the settings of the library say.

use std::collections::BTreeSet;

use super::code::Source;
use super::{assert_none, sources};

/// What `new` takes has no default.
const TAKEN: [(&str, &[&str]); 12] = [
    ("ElasticsearchSearcherConfig", &["alias"]),
    ("FieldNames", &["key"]),
    ("IndexConfig", &["name", "mapping"]),
    ("LocalIndexConfig", &["name", "mapping"]),
    ("MemorySource", &["database"]),
    ("OtlpConfig", &["endpoint"]),
    ("PostgresSearcherConfig", &["index", "topic", "sql"]),
    ("ProjectionConfig", &["index", "topic", "sql"]),
    ("ReindexesConfig", &["holder"]),
    ("RunsConfig", &["holder"]),
    ("WebhookConfig", &["url"]),
    ("WorkspaceStatements", &["known"]),
];

/// Of each struct that others set: its name, and what is between its braces.
fn settings(source: &Source) -> impl Iterator<Item = (&str, &str)> {
    let structs = source.text.split("#[non_exhaustive]\npub struct ").skip(1);
    structs.filter_map(move |text| {
        let (name, rest) = text.split_once(" {\n")?;
        let (fields, _) = rest.split_once("\n}")?;
        let is_set = name.ends_with("Config") || source.text.contains(&format!("setters! {{\n    {name} {{"));
        is_set.then_some((name, fields))
    })
}

#[test]
fn every_setting_of_the_library_says_its_default() {
    let mut count = 0;
    let mut silent = BTreeSet::new();
    for (name, fields) in sources("sync-core/src").flat_map(settings) {
        count += 1;
        let mut said = String::new();
        for line in fields.lines().map(str::trim) {
            if let Some(words) = line.strip_prefix("///") {
                said += words;
                continue;
            }
            let field = line.strip_prefix("pub ").and_then(|line| line.split_once(": "));
            if let Some((field, _)) = field.filter(|_| !said.contains(" unless said")) {
                silent.insert(format!("{name}::{field}"));
            }
            said.clear();
        }
    }
    assert!(count >= 30, "only {count} structs of settings were found");
    let taken = TAKEN.iter().flat_map(|(name, fields)| fields.iter().map(move |field| format!("{name}::{field}")));
    let taken: BTreeSet<_> = taken.collect();
    assert_none("say the default as others do: `…; 8 unless said`", silent.difference(&taken).cloned());
    assert_none("`new` takes it: it is there, and has no default", taken.difference(&silent).cloned());
}
