//! A bus of your own: messages are lines of files, one file a partition, and how far the group is stands beside them. The suite says
//! whether it is a bus.
//!
//! `cargo run --example 07_own_bus`

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as StdError;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sync_core::adapter::memory::{MemoryDatabase, MemoryDeadLetters, MemorySink, MemorySource};
use sync_core::adapter::{SystemClock, partition_for};
use sync_core::indexer::{Indexer, Parking};
use sync_core::port::{
    Acknowledgement, Consumer, Incoming, OffsetCommit, Partition, PartitionLag, Polled, Publisher, Subscriber,
};
use sync_core::relay::Relay;
use sync_core::repair::compare;
use sync_core::testkit::conformance::bus::{Harness, Traits, bus};
use sync_core::{Error, ErrorKind, Outgoing};
use tokio_util::sync::CancellationToken;

const PARTITIONS: i32 = 3;

/// One topic in a directory, read by one group.
#[derive(Clone, Debug)]
struct Files {
    directory: PathBuf,
    topic: Arc<str>,
}

/// What is on a line. A value is text here; a bus for any bytes would write them otherwise.
type Line = (String, Option<String>, Vec<(String, String)>);

fn failed(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Unavailable, "the files of the bus").with_source(error)
}

impl Files {
    fn new(directory: PathBuf, topic: &str) -> Self {
        Self { directory, topic: topic.into() }
    }

    fn lines(&self, partition: i32) -> Result<Vec<String>, Error> {
        let text = match fs::read_to_string(self.directory.join(format!("{partition}.jsonl"))) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read.map_err(failed)?,
        };
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        Ok(whole.lines().map(str::to_owned).collect())
    }

    fn committed(&self) -> Result<BTreeMap<i32, i64>, Error> {
        match fs::read_to_string(self.directory.join("group.json")) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            read => serde_json::from_str(&read.map_err(failed)?).map_err(failed),
        }
    }
}

#[async_trait]
impl Publisher for Files {
    async fn publish(&self, batch: Vec<Outgoing>) -> Result<Acknowledgement, Error> {
        for Outgoing { topic, key, value, headers } in batch {
            if *topic != *self.topic {
                return Err(Error::new(ErrorKind::Configuration, format!("there is no topic {topic}")));
            }
            let headers = headers.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
            let path = self.directory.join(format!("{}.jsonl", partition_for(key.as_bytes(), PARTITIONS)));
            let line: Line = (key, value, headers);
            let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
            writeln!(file, "{}", serde_json::to_string(&line).map_err(failed)?).map_err(failed)?;
            file.sync_all().map_err(failed)?;
        }
        Ok(Box::pin(async { Ok(()) }))
    }
}

#[async_trait]
impl Subscriber for Files {
    async fn subscribe(&self) -> Result<Box<dyn Consumer>, Error> {
        let membership = File::create(self.directory.join("member")).map_err(failed)?;
        match membership.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(failed("somebody else reads them")),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let next = self.committed()?;
        Ok(Box::new(Member {
            files: self.clone(),
            _membership: membership,
            told: false,
            next,
            paused: BTreeSet::new(),
        }))
    }

    async fn lag(&self) -> Result<Vec<PartitionLag>, Error> {
        let committed = self.committed()?;
        let lag = |number| {
            let partition = Partition { topic: Arc::clone(&self.topic), number };
            let committed = committed.get(&number).copied();
            let behind = self.lines(number)?.len() as u64 - committed.unwrap_or_default().unsigned_abs();
            Ok(PartitionLag { partition, committed, behind, oldest: None })
        };
        (0..PARTITIONS).map(lag).collect()
    }
}

/// Whoever reads, one at a time: the lock goes with it.
#[derive(Debug)]
struct Member {
    files: Files,
    _membership: File,
    told: bool,
    next: BTreeMap<i32, i64>,
    paused: BTreeSet<i32>,
}

impl Member {
    fn own(&self, partition: &Partition, kind: ErrorKind) -> Result<i32, Error> {
        let is_own = partition.topic == self.files.topic && (0..PARTITIONS).contains(&partition.number);
        if is_own { Ok(partition.number) } else { Err(Error::new(kind, format!("{partition} is somebody else's"))) }
    }

    fn read(&mut self) -> Result<Vec<Incoming>, Error> {
        let mut messages = Vec::new();
        for number in (0..PARTITIONS).filter(|number| !self.paused.contains(number)) {
            let next = self.next.entry(number).or_default();
            for line in self.files.lines(number)?.iter().skip(usize::try_from(*next).unwrap_or(usize::MAX)) {
                let (key, value, headers): Line = serde_json::from_str(line).map_err(failed)?;
                messages.push(Incoming {
                    partition: Partition { topic: Arc::clone(&self.files.topic), number },
                    offset: *next,
                    key: Some(key.into()),
                    value: value.map(Into::into),
                    headers: headers.into_iter().map(|(name, value)| (name, value.into())).collect(),
                });
                *next += 1;
            }
        }
        Ok(messages)
    }
}

#[async_trait]
impl Consumer for Member {
    async fn poll(&mut self) -> Result<Polled, Error> {
        if !self.told {
            self.told = true;
            let partition = |number| Partition { topic: Arc::clone(&self.files.topic), number };
            return Ok(Polled::Assigned((0..PARTITIONS).map(partition).collect()));
        }
        loop {
            let messages = self.read()?;
            if !messages.is_empty() {
                return Ok(Polled::Messages(messages));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn is_over(&self) -> bool {
        false
    }

    fn pause(&mut self, partition: &Partition) -> Result<(), Error> {
        self.paused.insert(self.own(partition, ErrorKind::Internal)?);
        Ok(())
    }

    fn resume(&mut self, partition: &Partition) -> Result<(), Error> {
        self.paused.remove(&self.own(partition, ErrorKind::Internal)?);
        Ok(())
    }

    fn commit(&mut self, done: &[OffsetCommit]) -> Result<(), Error> {
        let mut committed = self.files.committed()?;
        for OffsetCommit { partition, next } in done {
            let place = committed.entry(self.own(partition, ErrorKind::Fenced)?).or_default();
            *place = (*place).max(*next);
        }
        let [new, old] = ["group.new", "group.json"].map(|name| self.files.directory.join(name));
        fs::write(&new, serde_json::to_string(&committed).map_err(failed)?).map_err(failed)?;
        fs::rename(new, old).map_err(failed)
    }

    async fn close(self: Box<Self>) -> Result<(), Error> {
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let scratch = tempfile::tempdir()?;
    let fresh = |number: usize| {
        let directory = scratch.path().join(number.to_string());
        fs::create_dir(&directory).map(|()| Files::new(directory, "jobs"))
    };
    let made = std::sync::atomic::AtomicUsize::new(0);
    bus(async || {
        let number = made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let files = Arc::new(fresh(number).unwrap_or_else(|error| panic!("{error}")));
        let traits = Traits { stores: true, shares: false };
        let (topic, partitions) = ("jobs".to_owned(), PARTITIONS);
        Harness { topic, partitions, publisher: Arc::<Files>::clone(&files), subscriber: files, traits, stranger: None }
    })
    .await;
    println!("files keep every promise of a bus");

    let (database, index, files) = (MemoryDatabase::default(), MemorySink::new(), Arc::new(fresh(usize::MAX)?));
    for number in 0..100 {
        let mut transaction = database.begin("jobs");
        transaction.put(&format!("job-{}", number % 10), &format!(r#"{{"n":{number}}}"#));
        transaction.commit();
    }
    let source = MemorySource::new(database.clone()).batch_events(30);
    let relay = Relay::builder("search", Arc::new(source), Arc::<Files>::clone(&files)).build();
    let parking = Parking::new("jobs", "jobs", Arc::new(MemoryDeadLetters::new()), Arc::new(SystemClock));
    let (rows, target) = (Arc::new(database.clone()), Arc::new(index.clone()));
    let indexer = Indexer::builder(Arc::<Files>::clone(&files), rows, target, parking).build();
    let shutdown = CancellationToken::new();
    let until_done = async {
        while indexer.progress().counts().messages < 100 || files.lag().await?.iter().any(|lag| lag.behind > 0) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        shutdown.cancel();
        Ok(())
    };
    tokio::try_join!(relay.run(shutdown.clone()), indexer.run(shutdown.clone()), until_done)?;
    let comparison = compare(&database, &index).await?;
    println!("100 messages in files, {} of {} documents equal", comparison.equal, comparison.documents);
    Ok(())
}
