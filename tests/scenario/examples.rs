//! The example programs do what their expected output says.

use std::path::{Path, PathBuf};

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
        .env("SYNC__ELASTICSEARCH__URL", servers::elasticsearch())
        .output()
        .await
        .expect("cargo test --workspace builds the examples");
    let printed = String::from_utf8(output.stdout).unwrap();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complained}");
    assert_eq!(printed.trim_end(), expected.trim_end(), "{complained}");
}

#[tokio::test]
async fn the_example_in_memory_prints_what_it_promises() {
    assert_prints("01_in_memory", include_str!("../../examples/expected/01_in_memory.out")).await;
}

#[tokio::test]
async fn the_example_that_emits_prints_what_it_promises() {
    assert_prints("02_emit", include_str!("../../examples/expected/02_emit.out")).await;
}

#[tokio::test]
async fn the_example_that_embeds_prints_what_it_promises() {
    assert_prints("03_embed", include_str!("../../examples/expected/03_embed.out")).await;
}

#[tokio::test]
async fn the_example_of_sagas_prints_what_it_promises() {
    assert_prints("04_saga", include_str!("../../examples/expected/04_saga.out")).await;
}
