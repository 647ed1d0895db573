//! What a file is like.

use std::collections::BTreeSet;

use super::code::{Source, tokens};
use super::{SOURCES, assert_none, below, read};

/// Where a file probably holds two ideas.
const LONG: usize = 400;

/// Words in the name of a test, below which it says no sentence.
const SENTENCE: usize = 3;

#[test]
fn every_rust_file_begins_with_a_line_that_says_what_it_is() {
    let silent = |source: &Source| {
        let words = source.text.lines().next().and_then(|line| line.strip_prefix("//! "));
        words.is_none_or(|words| words.trim().is_empty()).then(|| source.path.clone())
    };
    assert_none("the first line is `//! ` and what the file is", SOURCES.iter().filter_map(silent));
}

#[test]
fn a_module_is_the_file_beside_its_folder() {
    let paths: BTreeSet<_> = SOURCES.iter().map(|source| source.path.as_str()).collect();
    assert_none("not mod.rs", paths.iter().filter(|path| path.ends_with("/mod.rs")).map(|path| (*path).to_owned()));
    let orphans = SOURCES.iter().filter_map(|source| {
        let (folder, _) = source.path.rsplit_once('/')?;
        let roots = ["lib.rs", "main.rs"].map(|root| format!("{folder}/{root}"));
        let is_root = !folder.contains('/') || roots.iter().any(|root| paths.contains(root.as_str()));
        (!is_root && !paths.contains(format!("{folder}.rs").as_str())).then(|| source.path.clone())
    });
    // Programs in examples stand for themselves.
    assert_none("a folder without its file", orphans.filter(|path| !path.starts_with("examples/")));
}

#[test]
fn no_code_is_left_to_be_written_or_to_be_debugged() {
    let unfinished = |source: &Source| {
        let tokens = tokens(&source.code);
        let found = tokens.windows(2).filter(|two| two[1] == "!" && ["todo", "unimplemented", "dbg"].contains(&two[0]));
        found.map(|two| format!("{}: {}!", source.path, two[0])).collect::<Vec<_>>()
    };
    assert_none("finished or not there", SOURCES.iter().flat_map(unfinished));
}

#[test]
fn no_file_of_production_code_is_longer_than_four_hundred_lines() {
    let code = SOURCES.iter().map(|source| (source.path.clone(), source.production.trim_end().lines().count()));
    let others = ["migrations", "scripts"].into_iter().flat_map(below);
    let others = others.map(|path| (path.clone(), read(&path).lines().count()));
    let long = code.chain(others).filter(|(_, lines)| *lines > LONG);
    assert_none("probably two ideas", long.map(|(path, lines)| format!("{path}: {lines} lines")));
}

#[test]
fn the_name_of_every_test_is_a_sentence() {
    let mut count = 0;
    let mut offences = Vec::new();
    for source in SOURCES.iter() {
        let tokens = tokens(&source.code);
        for (at, _) in tokens.windows(2).enumerate().filter(|(_, two)| *two == ["test", "]"] || *two == ["test", "("]) {
            // `#[test]`, `#[tokio::test]`, `#[tokio::test(…)]`
            if !matches!(tokens[..at], [.., "[", "tokio", "::"] | [.., "#", "["]) {
                continue;
            }
            let Some(name) = tokens[at..].iter().skip_while(|token| **token != "fn").nth(1) else { continue };
            count += 1;
            if name.split('_').count() < SENTENCE {
                offences.push(format!("{}: {name}", source.path));
            }
        }
    }
    assert!(count > 100, "only {count} tests were found");
    assert_none("the name of a test is a promise in words", offences);
}

#[test]
fn migrations_are_numbered_from_one_without_a_gap() {
    let number = |path: &String| -> Option<usize> {
        let (number, name) = path.strip_prefix("migrations/V")?.strip_suffix(".sql")?.split_once("__")?;
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        is_name.then(|| number.parse().ok())?
    };
    let files = below("migrations");
    assert_none("not V<number>__<name>.sql", files.iter().filter(|path| number(path).is_none()).cloned());
    let mut numbers: Vec<_> = files.iter().filter_map(number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=files.len()).collect::<Vec<_>>());
}
