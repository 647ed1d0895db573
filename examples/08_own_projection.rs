//! A projection of your own: what PostgreSQL says of a book, and what another service says of it.
//!
//! `SYNC__POSTGRES__URL=postgres://… cargo run --example 08_own_projection`

use std::error::Error as StdError;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};
use sync_core::adapter::memory::MemorySink;
use sync_core::adapter::postgres::PostgresProjection;
use sync_core::pipeline::Pipeline;
use sync_core::port::{Current, History, Projection, Sink};
use sync_core::{Error, ErrorKind};
use sync_examples::{database_of_books, execute, projection, run_until_indexed};

/// Rows, and what readers think of them.
#[derive(Debug)]
struct Rated {
    rows: PostgresProjection,
    ratings: Ratings,
}

/// Another service. When its answer changes, somebody has to `outbox.emit` the key.
#[derive(Debug)]
struct Ratings;

impl Ratings {
    async fn of(&self, isbn: &str) -> Result<f64, Error> {
        match isbn {
            "1" => Ok(4.5),
            // What is down is asked again, for as long as it takes; nothing is parked.
            "down" => Err(Error::new(ErrorKind::Unavailable, "the ratings do not answer")),
            _ => Ok(3.0),
        }
    }
}

impl Rated {
    async fn rated(&self, current: Current) -> Result<Current, Error> {
        let Some(document) = &current.document else { return Ok(current) };
        let contract = |error| Error::new(ErrorKind::Contract, "a document is no object").with_source(error);
        let mut document: Map<String, Value> = serde_json::from_str(document).map_err(contract)?;
        document.insert("rating".to_owned(), self.ratings.of(&current.key).await?.into());
        Ok(Current { document: Some(Value::Object(document).to_string()), ..current })
    }

    async fn all_rated(&self, all: Vec<Current>) -> Result<Vec<Current>, Error> {
        futures::future::try_join_all(all.into_iter().map(|current| self.rated(current))).await
    }
}

/// The version is the row's, read with it. Whatever is added may be newer than that, never older than the event.
#[async_trait]
impl Projection for Rated {
    async fn agree(&self, recorded: Option<&History>) -> Result<History, Error> {
        self.rows.agree(recorded).await
    }

    async fn load(&self, keys: &[String]) -> Result<Vec<Current>, Error> {
        self.all_rated(self.rows.load(keys).await?).await
    }

    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<Vec<Current>, Error> {
        self.all_rated(self.rows.scan(after, limit).await?).await
    }

    async fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, Error> {
        self.rows.keys(after, limit).await
    }

    async fn estimate(&self) -> Result<u64, Error> {
        self.rows.estimate().await
    }

    async fn count(&self) -> Result<u64, Error> {
        self.rows.count().await
    }

    async fn mark_synced(&self, keys: &[String]) -> Result<Vec<String>, Error> {
        self.rows.mark_synced(keys).await
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let (database, index) = (database_of_books().await?, MemorySink::new());
    let rated = Rated { rows: PostgresProjection::new(database.clone(), projection()), ratings: Ratings };
    let pipeline =
        Pipeline::builder(&database).index_of("books", "books", Arc::new(rated), Arc::new(index.clone())).build()?;
    execute(&database, "insert into books values ('1', 'Dune', 1965), ('2', 'Emma', 1815)").await?;
    run_until_indexed(&pipeline).await?;
    for stored in index.fetch(&["1".to_owned(), "2".to_owned()]).await?.into_iter().flatten() {
        println!("{}", stored.document);
    }
    Ok(())
}
