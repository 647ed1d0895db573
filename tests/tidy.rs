//! The rules of the house, held against the sources: who may know whom, what a file is like, what the documents say.

mod code;
mod documents;
mod files;
mod rooms;
mod settings;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use self::code::Source;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below a folder of the repository, by its path from the root.
fn below(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap_or_else(|error| panic!("{folder}: {error}")) {
            let entry = entry.unwrap();
            let path = format!("{folder}/{}", entry.file_name().into_string().unwrap());
            if entry.file_type().unwrap().is_dir() {
                // What cargo makes, where a workspace was built in its own folder, nobody wrote.
                if entry.file_name() != "target" {
                    folders.push(path);
                }
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Every Rust file of the repository.
static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
    let folders = ["sync-core", "sync-runner", "examples", "benches", "tests"];
    let files = folders.into_iter().flat_map(below).filter(|path| path.ends_with(".rs"));
    files.map(|path| Source::new(&path, read(&path))).collect()
});

/// Those whose path begins like this.
fn sources(folder: &str) -> impl Iterator<Item = &'static Source> {
    let mut sources = SOURCES.iter().filter(move |source| source.path.starts_with(folder)).peekable();
    assert!(sources.peek().is_some(), "no Rust file in {folder}");
    sources
}

/// Fails with one line for each offence.
#[track_caller]
fn assert_none(rule: &str, offences: impl IntoIterator<Item = String>) {
    let offences: Vec<_> = offences.into_iter().collect();
    assert!(offences.is_empty(), "{rule}:\n  {}", offences.join("\n  "));
}
