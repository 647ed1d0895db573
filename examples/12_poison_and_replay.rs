//! One document the index will never take as it is: it becomes a dead letter with its reason, and holds up nobody. Once its row is
//! mended, it is tried again.
//!
//! `SYNC__POSTGRES__URL=postgres://… cargo run --example 12_poison_and_replay`

use std::error::Error;
use std::sync::Arc;

use sync_core::adapter::local_index::{LocalDirectory, LocalSink};
use sync_core::adapter::postgres::ProjectionConfig;
use sync_core::pipeline::Pipeline;
use sync_core::port::{DeadLetters, LetterSelection, Sink};
use sync_core::repair::Replayed;
use sync_examples::{database_of_books, execute, index, until_indexed};
use tokio_util::sync::CancellationToken;

/// Whatever people write into `details` goes into the document.
const PROJECTION: &str =
    "select isbn as key, to_jsonb(b) - 'details' || coalesce(details, '{}') as document from books as b";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let database = database_of_books().await?;
    execute(&database, "alter table books add details jsonb").await?;
    let directory = tempfile::tempdir()?;
    let sink = LocalSink::new(&LocalDirectory::new(directory.path()), index())?;
    let projection = ProjectionConfig::new("books", "books", PROJECTION);
    let pipeline = Pipeline::builder(&database).index(projection, Arc::new(sink.clone())).build()?;
    let letters = pipeline.dead_letters();
    let shutdown = CancellationToken::new();
    let story = async {
        execute(&database, r#"insert into books (isbn, title, details) values ('1', 'Dune', '{"year": 1965}'), ('2', 'Emma', '{"year": "long ago"}')"#).await?;
        until_indexed(&pipeline).await?;
        println!("{} document", sink.count().await?);
        let parked = letters.list(&LetterSelection::default(), 0, 10).await?;
        for kept in &parked {
            println!("dead letter of {}: {}", kept.letter.key.as_deref().unwrap_or("no key"), kept.letter.error);
        }

        execute(&database, r#"update books set details = '{"year": 1815}' where isbn = '2'"#).await?;
        for kept in &parked {
            match pipeline.replay(kept).await? {
                Replayed::Done => println!("replayed"),
                Replayed::Refused(error) => println!("refused again: {error}"),
            }
        }
        println!(
            "{} documents, {} dead letters",
            sink.count().await?,
            letters.count(&LetterSelection::default()).await?.letters
        );
        shutdown.cancel();
        Ok(())
    };
    tokio::try_join!(pipeline.run(shutdown.clone()), story)?;
    Ok(())
}
