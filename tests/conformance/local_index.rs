//! The index in a directory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sync_core::adapter::local_index::{LocalDirectory, LocalIndexConfig, LocalIndexes, LocalSearcher, LocalSink};
use sync_core::port::{Inventory, Outcome, Searcher, Sink, Write};
use sync_core::query::{FieldNames, Fields, Query};
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
    std::fs::write(files_of(&files.path().join("garbled/garbled-000001")).join("meta.json"), "{").unwrap();
    told_as_damaged(&sink(files.path(), "garbled").prepare().await.unwrap_err(), files.path(), "garbled");
    for alias in ["", "..", "a/b", ".hidden"] {
        let error = LocalSink::new(&LocalDirectory::new(files.path()), config(alias, MAPPING)).unwrap_err();
        assert!(error.to_string().starts_with("indexes.jobs.alias: "), "{error}");
    }
}

/// What to delete and what to run then is in the error.
fn told_as_damaged(error: &sync_core::Error, directory: &Path, alias: &str) {
    let told = error.to_string();
    let delete = format!("delete {}", directory.join(alias).join(format!("{alias}-000001")).display());
    assert_eq!(error.kind(), ErrorKind::Configuration, "{alias}: {error:?}");
    assert!(told.contains(&delete) && told.contains("`sync-runner backfill jobs`"), "{told}");
}

/// Where an index has its files.
fn files_of(index: &Path) -> PathBuf {
    let mut found = std::fs::read_dir(index).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let files = found.next().expect("a directory of files");
    assert_eq!(found.next(), None, "there is one");
    files
}

/// The names of the files of segments in an index: those that are there, and those of the segments it is of.
fn segments(index: &Path) -> (BTreeSet<String>, BTreeSet<String>) {
    let there = std::fs::read_dir(index).unwrap().filter_map(|file| {
        let name = file.unwrap().file_name().into_string().unwrap();
        let segment = name.split('.').next()?;
        (segment.len() == 32 && segment.chars().all(|sign| sign.is_ascii_hexdigit())).then(|| segment.to_owned())
    });
    let meta = std::fs::read_to_string(index.join("meta.json")).unwrap();
    let meta: serde_json::Value = serde_json::from_str(&meta).unwrap();
    let known = meta["segments"].as_array().unwrap().iter();
    let known = known.map(|segment| segment["segment_id"].as_str().unwrap().replace('-', ""));
    (there.collect(), known.collect())
}

#[tokio::test]
async fn what_two_processes_write_by_turns_leaves_no_files_behind() {
    let files = TempDir::new().unwrap();
    let processes = [sink(files.path(), "turns"), sink(files.path(), "turns")];
    for version in 1..=40 {
        for (process, turn) in processes.iter().zip(0..) {
            process.apply(&[write("a", version * 2 + turn, Some("{}"))]).await.unwrap();
        }
    }
    let (there, known) = segments(&files_of(&files.path().join("turns/turns-000001")));
    assert_eq!(there, known);
}

#[tokio::test]
async fn a_part_of_an_index_that_is_missing_or_broken_is_told_with_what_to_do() {
    let files = TempDir::new().unwrap();
    for alias in ["mapping", "meta", "all"] {
        sink(files.path(), alias).apply(&[write("a", 1, Some("{}"))]).await.unwrap();
        let directory = files.path().join(alias).join(format!("{alias}-000001"));
        match alias {
            "mapping" => std::fs::remove_file(directory.join("mapping.json")).unwrap(),
            "meta" => std::fs::remove_file(files_of(&directory).join("meta.json")).unwrap(),
            _ => std::fs::remove_dir_all(files_of(&directory)).unwrap(),
        }
        for error in [
            sink(files.path(), alias).prepare().await.unwrap_err(),
            sink(files.path(), alias).count().await.unwrap_err(),
            sink(files.path(), alias).apply(&[write("a", 2, Some("{}"))]).await.unwrap_err(),
        ] {
            told_as_damaged(&error, files.path(), alias);
        }
    }
    for (alias, broken) in [("empty", ""), ("garbled", "x".repeat(1_000).as_str())] {
        sink(files.path(), alias).apply(&[write("a", 1, Some("{}"))]).await.unwrap();
        let index = files_of(&files.path().join(alias).join(format!("{alias}-000001")));
        let (there, _) = segments(&index);
        std::fs::write(index.join(format!("{}.term", there.first().unwrap())), broken).unwrap();
        told_as_damaged(&sink(files.path(), alias).count().await.unwrap_err(), files.path(), alias);
    }
}

#[tokio::test]
async fn the_name_of_the_index_that_is_searched_has_to_be_one_of_ours() {
    let files = TempDir::new().unwrap();
    sink(files.path(), "named").apply(&[write("a", 1, Some("{}"))]).await.unwrap();
    let searched = files.path().join("named/searched");
    std::fs::write(&searched, "named-000001\n").unwrap();
    assert_eq!(sink(files.path(), "named").count().await.unwrap(), 1);
    for name in ["", "../other", "other-000001", "named"] {
        std::fs::write(&searched, name).unwrap();
        let error = sink(files.path(), "named").count().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        let told = format!("local_index.directory: {} names no index of named", searched.display());
        assert!(error.to_string().starts_with(&told), "{error}");
    }
}

#[tokio::test]
async fn who_opens_the_files_and_stands_still_holds_up_nobody_for_ever() {
    let files = TempDir::new().unwrap();
    let index = sink(files.path(), "stopped");
    index.apply(&[write("a", 1, Some("{}"))]).await.unwrap();
    let lock = files_of(&files.path().join("stopped/stopped-000001")).join(".tantivy-meta.lock");
    let held = std::fs::File::options().create(true).append(true).open(lock).unwrap();
    held.lock().unwrap();
    let error = sink(files.path(), "stopped").count().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let error = index.apply(&[write("a", 2, Some("{}"))]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    drop(held);
    index.apply(&[write("a", 2, Some("{}"))]).await.unwrap();
}

#[tokio::test]
async fn a_phrase_in_one_text_field_can_be_excluded() {
    let files = TempDir::new().unwrap();
    let mapping = r#"{"mappings":{"properties":{"id":{"type":"keyword"},"t":{"type":"text"}}}}"#;
    let directory = LocalDirectory::new(files.path());
    let index = LocalSink::new(&directory, config("one", mapping)).unwrap();
    let texts = ["the first draft", "the draft, first of all", "first", "a draft", "nothing"];
    let documents: Vec<_> = (0..40).map(|key| format!(r#"{{"id":"{key}","t":"{}"}}"#, texts[key % 5])).collect();
    let writes: Vec<_> =
        documents.iter().enumerate().map(|(key, document)| write(&key.to_string(), 1, Some(document))).collect();
    index.apply(&writes).await.unwrap();
    let fields = Arc::new(Fields::of_mapping(mapping, &FieldNames::new("id").text(["t"])).unwrap());
    let searcher = LocalSearcher::new(&directory, config("one", mapping), Arc::clone(&fields)).unwrap();
    for (text, found) in
        [(r#"-"first draft""#, 32), (r#"first -"first draft""#, 16), (r#"-"the first" -"draft first""#, 24)]
    {
        let answer = searcher.search(&Query::parse(text, &fields).unwrap()).await.unwrap();
        assert_eq!(answer.total.value, found, "{text}");
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
