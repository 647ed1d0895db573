//! What the demo tells on standard output.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sync_core::Error;
use sync_core::indexer::IndexerCounts;
use sync_core::port::{Found, Hit};
use sync_core::relay::RelayCounts;
use sync_core::repair::Comparison;

use super::scene::Scene;
use super::workload::{Tally, WRITERS};
use crate::config::{Bus, Sink};
use crate::render;

pub(super) fn scene(scene: &Scene) -> Result<(), Error> {
    let servers = if scene.is_private() { "a server of the demo's own" } else { scene.config.postgres.url.shown() };
    render::text(&format!(
        "PostgreSQL      {servers}: outbox migrated, tables jobs and workspaces watched\n\
         {}\n\
         {}",
        match scene.bus() {
            Bus::Kafka => format!("Kafka           {}: topic {}", scene.config.kafka.brokers.join(","), scene.name),
            Bus::Direct => "no Kafka        relay and indexer are joined by the direct bus".to_owned(),
        },
        match scene.config.indexer.sink {
            Sink::Elasticsearch => {
                format!("Elasticsearch   {}: index {}", scene.config.elasticsearch.urls.join(","), scene.name)
            }
            Sink::Local => format!("local index     {}", scene.config.local_index.directory.display()),
        }
    ))
}

pub(super) fn running(scene: &Scene) -> Result<(), Error> {
    let by = match scene.bus() {
        Bus::Kafka => "Kafka",
        Bus::Direct => "the direct bus",
    };
    let to = index_word(scene);
    render::text(&format!(
        "\nRelay and indexer run: outbox -> {by} -> {to}.\n\
         {WRITERS} connections write; every tenth transaction is rolled back; one more begins first and commits last."
    ))
}

pub(super) fn progress(
    elapsed: Duration,
    tally: &Tally,
    relay: RelayCounts,
    indexer: IndexerCounts,
) -> Result<(), Error> {
    render::text(&format!(
        "  {:4.0} s   committed {:6} rows in {:5} transactions   published {:6} events   indexed {:6}   deleted {:5}",
        elapsed.as_secs_f64(),
        tally.rows.load(Ordering::Relaxed),
        tally.committed.load(Ordering::Relaxed),
        relay.published,
        indexer.applied,
        indexer.deleted,
    ))
}

pub(super) fn written(tally: &Tally, elapsed: Duration) -> Result<(), Error> {
    render::text(&format!(
        "Written: {} rows in {} transactions, {} more rolled back, in {:.1} s. The long transaction is committed.",
        tally.rows.load(Ordering::Relaxed),
        tally.committed.load(Ordering::Relaxed),
        tally.rolled_back.load(Ordering::Relaxed),
        elapsed.as_secs_f64()
    ))
}

pub(super) fn equal(scene: &Scene, comparison: &Comparison, after: Duration, count: u64) -> Result<(), Error> {
    let of = index_word(scene);
    render::text(&format!(
        "\nCompared: {} documents of PostgreSQL with {count} of {of}, key by key, version by version and \
         content by content: equal, {:.2} s after the last commit.",
        comparison.documents,
        after.as_secs_f64()
    ))
}

pub(super) fn differs(scene: &Scene, comparison: &Comparison, after: Duration) -> Result<(), Error> {
    let mut told = format!(
        "\nNOT EQUAL {} s after the last commit: {} documents in PostgreSQL, {} in {}, {} equal.",
        after.as_secs(),
        comparison.documents,
        comparison.indexed,
        index_word(scene),
        comparison.equal
    );
    for difference in &comparison.differences {
        told = format!("{told}\n  {} {:?}", difference.key, difference.kind);
    }
    render::text(&told)
}

pub(super) fn found(text: &str, by: &str, found: &Found) -> Result<(), Error> {
    render::text(&format!("\nSearch for {text}, {} found by {by}:", found.total.value))?;
    for Hit { key, version, document } in &found.hits {
        let document: serde_json::Value = serde_json::from_str(document).unwrap_or_default();
        render::text(&format!("  {key}  {}  {}  version {version}", document["title"], document["status"]))?;
    }
    Ok(())
}

pub(super) fn staying(scene: &Scene) -> Result<(), Error> {
    render::text(&format!(
        "\nSearch it at http://{}/ while a job is written every second. An interruption (Ctrl-C) ends it.",
        scene.config.search.listen
    ))
}

pub(super) fn end(scene: &Scene, elapsed: Duration) -> Result<(), Error> {
    render::text(&format!("\nDone in {:.1} s. {}", elapsed.as_secs_f64(), left(scene)))
}

pub(super) fn cut_short(scene: &Scene) -> Result<(), Error> {
    render::text(&format!("\nNot done. {}", left(scene)))
}

fn left(scene: &Scene) -> String {
    match &scene.stays()[..] {
        [] => "Nothing of it stays.".to_owned(),
        some => format!("What stays on your servers is called {}: {}.", scene.name, some.join(", ")),
    }
}

fn index_word(scene: &Scene) -> &'static str {
    match scene.config.indexer.sink {
        Sink::Elasticsearch => "Elasticsearch",
        Sink::Local => "the local index",
    }
}
