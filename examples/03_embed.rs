//! All of it in one process: a PostgreSQL is all there has to be. The index is a directory; with an `ElasticsearchSink` in the
//! place of the `LocalSink` it is a cluster's.
//!
//! `SYNC__POSTGRES__URL=postgres://… cargo run --example 03_embed`

use std::error::Error;
use std::sync::Arc;

use sync_core::adapter::local_index::{LocalDirectory, LocalIndexConfig, LocalSearcher, LocalSink};
use sync_core::adapter::postgres::{Postgres, PostgresConfig, ProjectionConfig};
use sync_core::pipeline::Pipeline;
use sync_core::port::Searcher;
use sync_core::query::{FieldNames, Fields, Query};
use sync_examples::{fresh_database, until_indexed};
use tokio_util::sync::CancellationToken;

const TABLES: &str = "
create table books (isbn text primary key, title text not null);
select outbox.watch('books', 'books');
insert into books values ('1', 'Dune'), ('2', 'Emma'), ('3', 'Ulysses');
update books set title = 'Emma, again' where isbn = '2';
delete from books where isbn = '3';";

const PROJECTION: &str = "select isbn as key, to_jsonb(books) as document from books";

const MAPPING: &str = r#"{"mappings":{"properties":{"isbn":{"type":"keyword"},"title":{"type":"text"}}}}"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let database = Postgres::new(&PostgresConfig::new(fresh_database().await?))?;
    let directory = tempfile::tempdir()?;
    let indexes = LocalDirectory::new(directory.path());
    let index = LocalIndexConfig::new("books", MAPPING);
    let pipeline = Pipeline::builder(&database)
        .index(ProjectionConfig::new("books", "books", PROJECTION), Arc::new(LocalSink::new(&indexes, index.clone())?))
        .build()?;

    pipeline.migrate().await?;
    database.client().await?.batch_execute(TABLES).await?;

    let shutdown = CancellationToken::new();
    let until_done = async {
        until_indexed(&pipeline).await?;
        shutdown.cancel();
        Ok(())
    };
    tokio::try_join!(pipeline.run(shutdown.clone()), until_done)?;

    let fields = Arc::new(Fields::of_mapping(MAPPING, &FieldNames::new("isbn").text(["title"]))?);
    let searcher = LocalSearcher::new(&indexes, index, Arc::clone(&fields))?;
    for text in ["again", "ulysses", ""] {
        let found = searcher.search(&Query::parse(text, &fields)?).await?;
        let documents: Vec<_> = found.hits.into_iter().map(|hit| hit.document).collect();
        println!("{text:?} finds {documents:?}");
    }
    Ok(())
}
