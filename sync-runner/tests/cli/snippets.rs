//! What the documents show for a shell, run as it is written. The first steps and the guides are followed by tests of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sync_core::testkit::ElasticsearchScratch;

use crate::blocks::{blocks, commands};
use crate::runner::{BOUND, Runner, closed_port};

/// Who runs, or reads, what a document shows that begins so; of all documents where none is named.
const RUN_BY: [(&str, &str, &str); 15] = [
    ("", "sync-runner ", "sync-runner/src/documents.rs"),
    ("", "scripts/", HERE),
    ("README.md", "cargo install ", "scripts/test.d/package.sh"),
    ("README.md", "cargo add ", HERE),
    ("README.md", "curl ", GUIDES),
    ("docs/from-listener.md", "curl ", GUIDES),
    ("docs/from-pgsync.md", "curl ", GUIDES),
    ("docs/search.md", "curl ", HERE),
    ("docs/runbook.md", "curl ", HERE),
    ("docs/opensearch.md", "curl ", HERE),
    ("docs/deployment.md", "psql ", "tests/scenario/documents.rs"),
    ("docs/deployment.md", "cp ", DEPLOYMENT),
    ("docs/deployment.md", "docker ", DEPLOYMENT),
    ("docs/deployment.md", "kubectl ", DEPLOYMENT),
    ("examples/README.md", "SYNC__POSTGRES__URL=", "tests/scenario/examples.rs"),
];

const HERE: &str = "sync-runner/tests/cli/snippets.rs";
const GUIDES: &str = "sync-runner/tests/cli/guides.rs";
const DEPLOYMENT: &str = "scripts/test.d/deploy.sh";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// All commands that are shown, with the document each is in.
fn shown() -> Vec<(PathBuf, String)> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let own = ["README.md", "ARCHITECTURE.md", "examples/README.md"].map(|name| root().join(name));
    let documents = docs.chain(own).filter(|path| path.extension().is_some_and(|end| end == "md"));
    let mut shown = Vec::new();
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        let shells = blocks(&text, &[]).into_iter().filter(|block| block.language == "sh");
        shown.extend(shells.flat_map(|block| commands(&block.text)).map(|command| (document.clone(), command)));
    }
    shown
}

/// Those of one document that contain this.
fn shown_in(document: &str, what: &str) -> Vec<String> {
    let of_it = shown().into_iter().filter(|(path, command)| path.ends_with(document) && command.contains(what));
    let commands: Vec<_> = of_it.map(|(_, command)| command).collect();
    assert!(!commands.is_empty(), "{document} shows no {what}");
    commands
}

fn sh(script: &str, folder: &Path, variables: &[(&str, &str)]) -> Output {
    let variables = variables.iter().copied();
    Command::new("sh").args(["-ec", script]).current_dir(folder).envs(variables).output().unwrap()
}

#[track_caller]
fn done(script: &str, ended: &Output) -> String {
    assert!(ended.status.success(), "{script}: {ended:?}");
    String::from_utf8_lossy(&ended.stdout).into_owned()
}

#[test]
fn the_documents_show_no_command_that_nobody_runs_or_reads() {
    let shown = shown();
    let is_of = |(document, begin, _): &(&str, &str, &str), (path, command): &(PathBuf, String)| {
        command.starts_with(begin) && (document.is_empty() || path.strip_prefix(root()).unwrap() == Path::new(document))
    };
    for one in &shown {
        let by = RUN_BY.iter().find(|by| is_of(by, one));
        let (_, _, by) = by.unwrap_or_else(|| panic!("{}: nothing runs: {}", one.0.display(), one.1));
        assert!(root().join(by).exists(), "{by}");
    }
    let unused = RUN_BY.iter().find(|by| !shown.iter().any(|one| is_of(by, one)));
    assert_eq!(unused, None);
    // Of README the first steps are followed, and they alone.
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, behind) = readme.split_once("## Use it from any language").unwrap().1.split_once("### ").unwrap();
    assert!(!behind.contains("\ncurl "), "nobody follows README there");
}

#[test]
fn a_script_knows_every_option_that_is_shown() {
    let mut options = 0;
    for (document, command) in shown().into_iter().filter(|(_, command)| command.starts_with("scripts/")) {
        let mut words = command.split_whitespace();
        let script = root().join(words.next().unwrap());
        let help = done(&command, &Command::new(&script).arg("--help").output().unwrap());
        for option in words.filter(|word| word.starts_with("--")) {
            assert!(help.contains(option), "{}: {command}: not in its help:\n{help}", document.display());
            options += 1;
        }
    }
    assert!(options > 1, "only {options} options were found");
}

/// The program itself is compiled as documentation of the library.
#[test]
fn what_the_readme_adds_to_a_crate_is_all_that_its_program_needs() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let program = blocks(&readme, &[]).into_iter().find(|block| block.text.contains("Pipeline::builder")).unwrap().text;
    let folder = tempfile::tempdir().unwrap();
    let service = folder.path().join("service");
    fs::create_dir_all(service.join("src")).unwrap();
    std::os::unix::fs::symlink(root(), folder.path().join("sync")).unwrap();
    fs::write(service.join("Cargo.toml"), "[package]\nname = \"service\"\nedition = \"2024\"\n[workspace]\n").unwrap();
    fs::write(service.join("src/main.rs"), &program).unwrap();
    // What was built was downloaded before.
    fs::copy(root().join("Cargo.lock"), service.join("Cargo.lock")).unwrap();
    let offline = [("CARGO_NET_OFFLINE", "true")];
    for command in shown_in("README.md", "cargo add") {
        done(&command, &sh(&command, &service, &offline));
    }
    let told = done("cargo metadata", &sh("cargo metadata --format-version 1 --no-deps", &service, &offline));
    let told: Value = serde_json::from_str(&told).unwrap();
    let packages = told["packages"].as_array().unwrap();
    let added =
        packages.iter().find(|package| package["name"] == "service").unwrap()["dependencies"].as_array().unwrap();
    let of = |name: &str| added.iter().find(|one| one["name"] == name.replace('_', "-"));
    let used = program.lines().filter_map(|line| line.strip_prefix("use ")?.split("::").next());
    for name in used.chain(["tokio"]).filter(|name| *name != "std") {
        assert!(of(name).is_some(), "{name} is not added");
    }
    let features = of("sync_core").unwrap()["features"].as_array().unwrap();
    let adapters = program.lines().filter_map(|line| line.strip_prefix("use sync_core::adapter::")?.split("::").next());
    let adapters: Vec<_> = adapters.collect();
    assert!(adapters.len() > 1, "{adapters:?}");
    for adapter in adapters {
        assert!(features.contains(&json!(adapter.replace('_', "-"))), "the feature of {adapter} is not added");
    }
}

#[test]
fn the_example_that_is_shown_is_one_whose_output_is_checked() {
    for command in shown_in("examples/README.md", "--example") {
        let name = command.split_whitespace().last().unwrap();
        assert!(root().join(format!("examples/expected/{name}.out")).exists(), "{command}");
    }
}

#[test]
fn the_search_of_the_chapter_about_searching_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let port = closed_port();
    let runner = Runner::new("")
        .variable("PATH", &std::env::var("PATH").unwrap())
        .variable("TMPDIR", folder.path().to_str().unwrap());
    let running =
        runner.start(&["demo", "--jobs", "300", "--stay", "--set", &format!("search.listen=127.0.0.1:{port}")]);
    for command in shown_in("search.md", "curl") {
        let command = command.replace("127.0.0.1:8080", &format!("127.0.0.1:{port}"));
        let by = Instant::now() + BOUND;
        // At first nobody answers, then the database alone does.
        loop {
            let answer = sh(&command, folder.path(), &[]).stdout;
            let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
            if answer["hits"].is_array() && answer["degraded"] == false {
                break;
            }
            assert!(Instant::now() < by, "{command}: {answer}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    // It may have been asked before it had shown everything.
    running.signal("TERM");
    assert!(matches!(running.end().0, Some(0 | 1)));
}

#[test]
fn what_the_runbook_asks_the_cluster_is_answered() {
    let scratch = ElasticsearchScratch::new();
    // One node has no place for the copy, which is what is to be explained.
    let settings = r#"{"settings": {"number_of_replicas": 1}}"#;
    assert_eq!(scratch.request("PUT", &format!("/{}", scratch.name("copied")), settings).0, 200);
    for command in shown_in("runbook.md", "$ELASTICSEARCH") {
        let answer = done(&command, &sh(&command, root(), &[("ELASTICSEARCH", &scratch.url())]));
        let told = if command.contains("explain") { "\"allocate_explanation\"" } else { "disk.avail" };
        assert!(answer.contains(told), "{command}: {answer}");
    }
}

/// A setting of the cluster, which is put back.
struct Setting<'a>(&'a ElasticsearchScratch, Value);

impl<'a> Setting<'a> {
    fn now(scratch: &'a ElasticsearchScratch) -> Self {
        let settings = scratch.request("GET", "/_cluster/settings?flat_settings=true", "").1;
        let before = settings["persistent"]["action.auto_create_index"].clone();
        // That of such a test that is under way is nobody's.
        Self(scratch, if before.to_string().contains("scratch-") { Value::Null } else { before })
    }
}

impl Drop for Setting<'_> {
    fn drop(&mut self) {
        let put_back = json!({ "persistent": { "action.auto_create_index": self.1 } }).to_string();
        let (status, answer) = self.0.request("PUT", "/_cluster/settings", &put_back);
        if status != 200 {
            eprintln!("the setting was not put back: {answer}");
        }
    }
}

#[test]
fn the_setting_shown_for_opensearch_keeps_others_from_making_an_index_by_a_write() {
    let scratch = ElasticsearchScratch::new();
    let taken = |name: &str| scratch.request("POST", &format!("/{name}/_doc?refresh=true"), "{}").0;
    let alias = scratch.name("jobs");
    let _setting = Setting::now(&scratch);
    for command in shown_in("opensearch.md", "$OPENSEARCH") {
        let own = command.replace("jobs", &alias);
        assert_ne!(own, command);
        done(&own, &sh(&own, root(), &[("OPENSEARCH", &scratch.url())]));
    }
    let answers = [&alias, &format!("{alias}-000001"), &scratch.name("other")].map(|name| taken(name));
    assert_eq!(answers, [404, 404, 201]);
}
