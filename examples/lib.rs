//! What the examples stand on: a database of their own, on the server that `SYNC__POSTGRES__URL` names, with a table of books.

use std::time::Duration;

use sync_core::adapter::local_index::LocalIndexConfig;
use sync_core::adapter::postgres::{Postgres, PostgresConfig, ProjectionConfig};
use sync_core::pipeline::Pipeline;
use sync_core::{Error, ErrorKind};
use tokio_util::sync::CancellationToken;

/// The table, and the watch that writes an event for whatever changes in it.
pub const BOOKS: &str = "
create table books (isbn text primary key, title text not null, year int);
select outbox.watch('books', 'books');";

/// What its documents are.
pub const MAPPING: &str = r#"{"mappings":{"dynamic":"strict","properties":{
    "isbn":{"type":"keyword"},"title":{"type":"text"},"year":{"type":"integer"}}}}"#;

/// What they are made of.
#[must_use]
pub fn projection() -> ProjectionConfig {
    ProjectionConfig::new("books", "books", "select isbn as key, to_jsonb(books) as document, title, year from books")
}

/// The index they are in.
#[must_use]
pub fn index() -> LocalIndexConfig {
    LocalIndexConfig::new("books", MAPPING)
}

/// Makes a database that nobody else has, and returns its URL. The role has to be allowed to.
///
/// # Errors
/// `Configuration` when the variable is not set; what the server says.
pub async fn fresh_database() -> Result<String, Error> {
    let wrong = |what: &str| Error::new(ErrorKind::Configuration, what);
    let server = std::env::var("SYNC__POSTGRES__URL").map_err(|error| {
        wrong("SYNC__POSTGRES__URL: set it to a server, such as postgres://postgres@localhost/postgres")
            .with_source(error)
    })?;
    let name = format!("example_{}", uuid::Uuid::new_v4().simple());
    let client = Postgres::new(&PostgresConfig::new(&server))?.client().await?;
    let created = client.batch_execute(&format!("create database {name}")).await;
    created.map_err(|error| wrong("SYNC__POSTGRES__URL: creating a database").with_source(error))?;
    let (server, _) = server.rsplit_once('/').unwrap_or((&server, ""));
    Ok(format!("{server}/{name}"))
}

/// Such a database with the outbox and the table.
///
/// # Errors
/// As for [`fresh_database`].
pub async fn database_of_books() -> Result<Postgres, Error> {
    let database = Postgres::new(&PostgresConfig::new(fresh_database().await?))?;
    database.migrate().await?;
    execute(&database, BOOKS).await?;
    Ok(database)
}

/// Runs statements, as an application does.
///
/// # Errors
/// What the server says.
pub async fn execute(database: &Postgres, sql: &str) -> Result<(), Error> {
    let executed = database.client().await?.batch_execute(sql).await;
    executed.map_err(|error| Error::new(ErrorKind::Configuration, "a statement of the example").with_source(error))
}

/// Runs a pipeline until whatever is committed is in the indexes, and ends it.
///
/// # Errors
/// What ends it; what the server says.
pub async fn run_until_indexed(pipeline: &Pipeline) -> Result<(), Error> {
    let shutdown = CancellationToken::new();
    let until_done = async {
        until_indexed(pipeline).await?;
        shutdown.cancel();
        Ok(())
    };
    tokio::try_join!(pipeline.run(shutdown.clone()), until_done).map(drop)
}

/// Waits until whatever is committed is in the indexes.
///
/// # Errors
/// What the server says.
pub async fn until_indexed(pipeline: &Pipeline) -> Result<(), Error> {
    // Before it runs for the first time, there is nobody whose lag it would be.
    while pipeline.relay().counts().published == 0 || pipeline.lag().await?.events > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
