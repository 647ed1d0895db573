//! The index in a directory.

use std::path::Path;
use std::sync::Arc;

use sync_core::adapter::local_index::{LocalDirectory, LocalIndexConfig, LocalIndexes, LocalSink};
use sync_core::port::{Inventory, Outcome, Sink, Write};
use sync_core::testkit::conformance::{self, Behind};
use sync_core::{ErrorKind, Version};
use tempfile::TempDir;

use crate::support::disk::Disk;

const MAPPING: &str = r#"{"mappings":{"enabled":false}}"#;

fn config(alias: &str, mapping: &str) -> LocalIndexConfig {
    LocalIndexConfig::new("jobs", mapping).alias(alias)
}

/// As a process of its own has it: only the files are shared.
fn sink(directory: &Path, alias: &str) -> Arc<LocalSink> {
    Arc::new(LocalSink::new(&LocalDirectory::new(directory), config(alias, MAPPING)).unwrap())
}

fn write(key: &str, version: i64, document: Option<&str>) -> Write {
    let version = Version::new(0, version).unwrap();
    Write { key: key.to_owned(), version, document: document.map(str::to_owned) }
}

#[tokio::test]
async fn an_index_in_a_directory_keeps_every_promise_of_a_sink() {
    let files = TempDir::new().unwrap();
    conformance::sink(async |name: &str| sink(files.path(), name) as Arc<dyn Sink>).await;
}

#[tokio::test]
async fn an_index_in_a_directory_keeps_every_promise_of_an_inventory() {
    let files = TempDir::new().unwrap();
    conformance::inventory(async |name: &str| sink(files.path(), name) as Arc<dyn Inventory>).await;
}

#[tokio::test]
async fn the_indexes_of_a_directory_keep_every_promise_of_concrete_indexes() {
    let files = TempDir::new().unwrap();
    let indexes = LocalDirectory::new(files.path());
    let make = async || Behind {
        indexes: Arc::new(LocalIndexes::new(&indexes, config("anew", MAPPING)).unwrap()),
        searched: sink(files.path(), "anew"),
    };
    conformance::concrete_indexes(make, |name| {
        Arc::new(LocalSink::of_concrete(&indexes, config("anew", MAPPING), name).unwrap()) as Arc<dyn Sink>
    })
    .await;
}

#[tokio::test]
async fn writers_that_share_a_directory_never_let_an_older_state_win() {
    let files = TempDir::new().unwrap();
    let writers: Vec<_> = (0..4).map(|_| sink(files.path(), "shared")).collect();
    let tasks = writers.into_iter().zip(0..).map(|(writer, number)| {
        tokio::spawn(async move {
            for round in 0..10 {
                let version = 1 + (round * 7 + number * 3) % 40;
                let document = format!(r#"{{"n":{version}}}"#);
                writer.apply(&[write("a", version, Some(&document))]).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let largest = (0..10).flat_map(|round| (0..4).map(move |number| 1 + (round * 7 + number * 3) % 40)).max().unwrap();
    let held = sink(files.path(), "shared").fetch(&["a".to_owned()]).await.unwrap().remove(0).unwrap();
    assert_eq!((held.version.external(), held.document), (largest as u64, format!(r#"{{"n":{largest}}}"#)));
}

#[tokio::test]
async fn what_was_deleted_is_remembered_by_whoever_opens_the_directory_next() {
    let files = TempDir::new().unwrap();
    sink(files.path(), "kept").apply(&[write("a", 1, Some("{}"))]).await.unwrap();
    sink(files.path(), "kept").apply(&[write("a", 5, None)]).await.unwrap();
    let outcomes = sink(files.path(), "kept").apply(&[write("a", 4, Some("{}"))]).await.unwrap();
    assert!(matches!(outcomes[..], [Outcome::Stale]), "{outcomes:?}");
    assert_eq!(sink(files.path(), "kept").count().await.unwrap(), 0);
}

#[tokio::test]
async fn an_index_made_of_other_fields_is_refused_with_what_to_do() {
    let files = TempDir::new().unwrap();
    let of = |mapping| LocalSink::new(&LocalDirectory::new(files.path()), config("jobs", mapping)).unwrap();
    of(MAPPING).prepare().await.unwrap();
    of(r#"{"settings":{"number_of_shards":2},"mappings":{"enabled":false}}"#).prepare().await.unwrap();
    let error = of(r#"{"mappings":{"properties":{"a":{"type":"text"}}}}"#).prepare().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("sync-runner reindex jobs"), "{error}");
}

#[tokio::test]
async fn an_index_that_is_deleted_at_work_is_made_again() {
    let files = TempDir::new().unwrap();
    let index = sink(files.path(), "gone");
    index.apply(&[write("a", 9, Some("{}"))]).await.unwrap();
    std::fs::remove_dir_all(files.path().join("gone")).unwrap();
    index.apply(&[write("b", 1, Some("{}"))]).await.unwrap();
    assert_eq!(index.count().await.unwrap(), 1);
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_or_read_is_told_by_its_setting() {
    let files = TempDir::new().unwrap();
    std::fs::write(files.path().join("file"), "").unwrap();
    let error = sink(&files.path().join("file"), "jobs").prepare().await.unwrap_err();
    assert!(error.to_string().starts_with("local_index.directory: "), "{error}");
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let index = sink(files.path(), "garbled");
    index.prepare().await.unwrap();
    std::fs::write(files.path().join("garbled/garbled-000001/index/meta.json"), "{").unwrap();
    let error = sink(files.path(), "garbled").prepare().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Configuration && error.to_string().contains("backfill"), "{error}");
    for alias in ["", "..", "a/b", ".hidden"] {
        let error = LocalSink::new(&LocalDirectory::new(files.path()), config(alias, MAPPING)).unwrap_err();
        assert!(error.to_string().starts_with("indexes.jobs.alias: "), "{error}");
    }
}

#[tokio::test]
async fn a_disk_that_is_full_is_an_outage_and_what_was_applied_before_stays() {
    let Some(disk) = Disk::of(8 << 20) else {
        eprintln!("only root can mount a disk: this tests nothing");
        return;
    };
    let index = sink(disk.path(), "full");
    index.prepare().await.unwrap();
    let long = format!(r#"{{"text":"{}"}}"#, "word ".repeat(400));
    let writes = |keys: std::ops::Range<u32>, version| -> Vec<_> {
        keys.map(|key| write(&format!("key-{key}"), version, Some(&long))).collect()
    };
    index.apply(&writes(0..100, 1)).await.unwrap();
    disk.fill();
    for batch in [1, 50, 2_000] {
        let error = index.apply(&writes(0..batch, 2)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{batch}: {error:?}");
        let held = index.fetch(&["key-0".to_owned()]).await.unwrap();
        assert_eq!(held[0].as_ref().map(|stored| stored.version), Version::new(0, 1).ok(), "{batch}");
    }
    disk.make_room();
    for index in [index, sink(disk.path(), "full")] {
        index.apply(&writes(0..100, 3)).await.unwrap();
        assert_eq!(index.count().await.unwrap(), 100);
    }
}
