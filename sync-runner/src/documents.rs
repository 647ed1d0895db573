//! What the documents show of this program is what it takes: command lines, configuration, JSON. Tests only.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;

use crate::cli::Cli;
use crate::config::{Config, Sources};

/// A block of a document.
struct Block {
    document: PathBuf,
    language: String,
    text: String,
}

fn blocks(language: &str) -> Vec<Block> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut blocks = Vec::new();
    for document in docs.chain([root.join("README.md"), root.join("examples/README.md")]) {
        let text = fs::read_to_string(&document).unwrap();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(language) = line.strip_prefix("```") {
                let text = lines.by_ref().take_while(|line| *line != "```").collect::<Vec<_>>().join("\n");
                blocks.push(Block { document: document.clone(), language: language.to_owned(), text });
            }
        }
    }
    blocks.retain(|block| block.language == language);
    assert!(blocks.len() > 2, "only {} blocks of {language} were found", blocks.len());
    blocks
}

#[test]
fn every_command_line_the_documents_show_is_understood() {
    let mut understood = 0;
    for Block { document, text, .. } in blocks("sh") {
        for line in text.lines() {
            let Some((_, command)) = line.split_once("sync-runner ").filter(|(before, _)| {
                before.is_empty() || before.ends_with("-- ") || before.ends_with("exec sync-runner ")
            }) else {
                continue;
            };
            // A shell's comments and pipes are none of ours.
            let command = command.split(" #").next().unwrap().split(" |").next().unwrap();
            let arguments = ["sync-runner"].into_iter().chain(command.split_whitespace());
            if let Err(error) = Cli::try_parse_from(arguments) {
                panic!("{}: {line}\n{error}", document.display());
            }
            understood += 1;
        }
    }
    assert!(understood > 40, "only {understood} command lines were found");
}

#[test]
fn every_setting_the_documents_show_is_known_and_has_a_value_of_its_kind() {
    for Block { document, text, .. } in blocks("toml") {
        let sources = Sources { file: Some((document.clone(), text.clone())), ..Sources::default() };
        let problems = Config::read(&sources).map_or_else(|problems| problems.problems, |_| Vec::new());
        // A block shows a part: files it names are elsewhere, and so is the rest of a section.
        let is_of_the_block =
            |told: &str| ["is missing", "cannot read ", "needs a mapping"].iter().all(|rest| !told.contains(rest));
        let told: Vec<_> =
            problems.iter().map(|problem| &problem.message).filter(|told| is_of_the_block(told)).collect();
        assert!(told.is_empty(), "{}: {told:?}\n{text}", document.display());
    }
}

#[test]
fn every_answer_the_documents_show_is_json() {
    for Block { document, text, .. } in blocks("json") {
        if let Err(error) = serde_json::from_str::<serde_json::Value>(&text) {
            panic!("{}: {error}\n{text}", document.display());
        }
    }
}
