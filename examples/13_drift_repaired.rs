//! Somebody edits the index by hand. No message will ever tell; a reconciliation compares, tells and mends.
//!
//! `SYNC__POSTGRES__URL=postgres://… cargo run --example 13_drift_repaired`

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use sync_core::Version;
use sync_core::adapter::local_index::{LocalDirectory, LocalSink};
use sync_core::adapter::postgres::PostgresProjection;
use sync_core::pipeline::Pipeline;
use sync_core::port::{Sink, Write};
use sync_core::repair::{ReconcileConfig, ReconcileScope, compare};
use sync_examples::{database_of_books, execute, index, projection, run_until_indexed};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let database = database_of_books().await?;
    let directory = tempfile::tempdir()?;
    let sink = LocalSink::new(&LocalDirectory::new(directory.path()), index())?;
    let pipeline = Pipeline::builder(&database).index(projection(), Arc::new(sink.clone())).build()?;
    execute(&database, "insert into books select n::text, 'book ' || n from generate_series(1, 50) n").await?;
    run_until_indexed(&pipeline).await?;

    // By hand: one edited, one deleted, one that no row has.
    let held = sink.fetch(&["1".to_owned(), "2".to_owned()]).await?;
    let later = |stored: &sync_core::port::Stored| Version::from_external(stored.version.external() + 1);
    let versions: Vec<_> = held.iter().flatten().map(later).collect();
    let edited = r#"{"isbn":"1","title":"edited"}"#.to_owned();
    sink.apply(&[
        Write { key: "1".to_owned(), version: versions[0], document: Some(edited.clone()) },
        Write { key: "2".to_owned(), version: versions[1], document: None },
        Write { key: "nobody's".to_owned(), version: versions[0], document: Some(edited) },
    ])
    .await?;

    for dry_run in [true, false, true] {
        // What changed lately may be on its way; here nothing is.
        let config = ReconcileConfig::default().grace(Duration::ZERO);
        let reconcile = pipeline.reconcile("books", config)?;
        let scope = ReconcileScope::default().deep(true).dry_run(dry_run);
        reconcile.run(&scope, CancellationToken::new()).await?;
        let counts = reconcile.progress().counts();
        println!("{} {:?}, {} fixed", if dry_run { "found" } else { "mended" }, counts.differences, counts.fixed);
    }
    let rows = PostgresProjection::new(database.clone(), projection());
    println!("equal: {}", compare(&rows, &sink).await?.is_equal());
    Ok(())
}
