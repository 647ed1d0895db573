//! The example programs do what their expected output says.

use std::fs;
use std::path::{Path, PathBuf};

use futures::future::join_all;
use tokio::process::Command;

use crate::support::servers;

/// Beside this test's own binary, where `cargo test` has built them.
fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent().and_then(Path::parent).unwrap().join("examples").join(name)
}

async fn assert_prints(name: &str, expected: &str) {
    let output = Command::new(program(name))
        .env("SYNC__POSTGRES__URL", servers::postgres())
        .output()
        .await
        .expect("cargo test --workspace builds the examples");
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {complained}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "{name}: {complained}");
}

#[tokio::test]
async fn every_example_prints_what_it_promises() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples"));
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let numbered = |path: &PathBuf| path.extension().is_some_and(|end| end == "rs") && !path.ends_with("lib.rs");
    let names: Vec<_> =
        files.filter(numbered).map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    assert!(names.len() >= 13, "{names:?}");
    let of = |name: String| async move {
        let expected = fs::read_to_string(folder.join(format!("expected/{name}.out")));
        assert_prints(&name, &expected.unwrap_or_else(|error| panic!("{name}: {error}"))).await;
    };
    join_all(names.into_iter().map(of)).await;
}
