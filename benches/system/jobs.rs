//! The table everyone takes documents from, and its index.

use std::fs;
use std::path::Path;

use sync_core::adapter::local_index::{LocalDirectory, LocalIndexConfig, LocalSink};
use tokio_postgres::Client;

use crate::Outcome;
use crate::stage::Stage;

/// Its columns.
const TABLE: &str = include_str!("../data/jobs.sql");
/// What of it is in the index.
pub(crate) const PROJECTION: &str = include_str!("../data/projection.sql");
/// How the index keeps it.
pub(crate) const MAPPING: &str = include_str!("../data/mapping.json");

/// Makes the table and fills it with `rows` rows of some 300 bytes of JSON each, without writing events.
pub(crate) async fn fill(stage: &Stage, client: &Client, rows: u64) -> Outcome<()> {
    client.batch_execute(TABLE).await?;
    client
        .execute(
            "insert into public.jobs (id, title, description, status, salary)
             select gen_random_uuid(), 'Job number ' || n,
                    (select string_agg(word, ' ')
                       from (select 'word' || (n * 31 + place * place * 7919) % 5000 as word
                               from generate_series(1, 14) place) as words),
                    (array['CREATED', 'RUNNING', 'COMPLETED', 'FAILED'])[1 + n % 4], n % 90000
               from generate_series(1, $1::int8) n",
            &[&rows.cast_signed()],
        )
        .await?;
    client.batch_execute("vacuum analyze public.jobs").await?;
    fs::write(stage.files().join("jobs.sql"), PROJECTION)?;
    fs::write(stage.files().join("jobs.json"), MAPPING)?;
    Ok(())
}

/// Settings of the runner that keep an index of this table.
pub(crate) fn settings(topic: &str, alias: &str) -> Vec<String> {
    vec![
        format!("indexes.jobs.topic={topic}"),
        format!("indexes.jobs.alias={alias}"),
        "indexes.jobs.projection=jobs.sql".to_owned(),
        "indexes.jobs.mapping=jobs.json".to_owned(),
    ]
}

/// Settings that have it in this directory instead of the cluster.
pub(crate) fn in_directory(directory: &Path) -> [String; 2] {
    ["indexer.sink=local".to_owned(), format!("local_index.directory={}", directory.display())]
}

/// What the runner has there.
pub(crate) fn local_index(directory: &Path, alias: &str) -> Outcome<LocalSink> {
    let config = LocalIndexConfig::new("jobs", MAPPING).alias(alias);
    Ok(LocalSink::new(&LocalDirectory::new(directory), config)?)
}
