//! An index of your own: six methods, and the suite that says whether it is one. The guard is yours to keep: never an older state
//! over a newer, a deleted one included.
//!
//! `SYNC__POSTGRES__URL=postgres://… cargo run --example 06_own_sink`

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use sync_core::adapter::postgres::PostgresProjection;
use sync_core::pipeline::Pipeline;
use sync_core::port::{History, Outcome, Sink, Stored, Write};
use sync_core::testkit::conformance;
use sync_core::{Error, ErrorKind};
use sync_examples::{database_of_books, execute, projection, run_until_indexed};

/// Books on a shelf.
#[derive(Clone, Debug, Default)]
struct Shelf(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    /// The last write of each key; one without a document is remembered, too.
    held: BTreeMap<String, Write>,
    history: Option<History>,
}

impl Shelf {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What cannot be taken as it is, whatever is there already. `Refused` makes it a dead letter.
fn check(write: &Write) -> Result<(), Error> {
    let is_object = |text: &String| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok();
    if !(1..=512).contains(&write.key.len()) || !write.document.iter().all(is_object) {
        return Err(Error::new(ErrorKind::Refused, "a book has a key of 1 to 512 bytes and is a JSON object"));
    }
    Ok(())
}

#[async_trait]
impl Sink for Shelf {
    async fn prepare(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn apply(&self, writes: &[Write]) -> Result<Vec<Outcome>, Error> {
        let mut keys: Vec<_> = writes.iter().map(|write| &write.key).collect();
        keys.sort();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::new(ErrorKind::Internal, "a key is twice in one call"));
        }
        let mut content = self.content();
        let mut apply = |write: &Write| {
            if let Err(error) = check(write) {
                return Outcome::Failed(error);
            }
            let before = content.held.get(&write.key);
            if before.is_some_and(|before| before.version >= write.version) {
                return Outcome::Stale;
            }
            let changes = write.document.is_some() || before.is_some_and(|before| before.document.is_some());
            content.held.insert(write.key.clone(), write.clone());
            if changes { Outcome::Applied } else { Outcome::Stale }
        };
        Ok(writes.iter().map(&mut apply).collect())
    }

    async fn fetch(&self, keys: &[String]) -> Result<Vec<Option<Stored>>, Error> {
        let content = self.content();
        let stored = |key: &String| {
            let Write { version, document, .. } = content.held.get(key)?;
            Some(Stored { version: *version, document: document.clone()? })
        };
        Ok(keys.iter().map(stored).collect())
    }

    async fn history(&self) -> Result<Option<History>, Error> {
        Ok(self.content().history.clone())
    }

    async fn record(&self, history: &History) -> Result<(), Error> {
        self.content().history = Some(history.clone());
        Ok(())
    }

    async fn count(&self) -> Result<u64, Error> {
        Ok(self.content().held.values().filter(|write| write.document.is_some()).count() as u64)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let shelves: Mutex<BTreeMap<String, Shelf>> = Mutex::default();
    let named =
        |name: &str| shelves.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default().clone();
    conformance::sink(async |name: &str| Arc::new(named(name)) as Arc<dyn Sink>).await;
    println!("a shelf keeps every promise of a sink");

    let (database, shelf) = (database_of_books().await?, Shelf::default());
    let pipeline = Pipeline::builder(&database)
        .index_of(
            "books",
            "books",
            Arc::new(PostgresProjection::new(database.clone(), projection())),
            Arc::new(shelf.clone()),
        )
        .build()?;
    execute(&database, "insert into books values ('1', 'Dune', 1965), ('2', 'Emma', 1815)").await?;
    execute(&database, "delete from books where isbn = '2'").await?;
    run_until_indexed(&pipeline).await?;
    for Write { key, document, .. } in shelf.content().held.values() {
        println!("{key}: {}", document.as_deref().unwrap_or("was deleted"));
    }
    Ok(())
}
