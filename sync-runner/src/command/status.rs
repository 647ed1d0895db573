//! `status`: how far each stage is behind. A stage that cannot be asked is told with its error, beside the others.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use sync_core::port::{DeadLetters, ReindexOf, Reindexes, Reindexing, Selection, Source};
use sync_core::{Error, ErrorKind};
use tokio::time::{sleep, timeout};

use crate::cli::StatusArgs;
use crate::config::{Bus, Config, Index, show_duration};
use crate::exit::{Exit, Failure};
use crate::outbox::{self, Retained, Subscription};
use crate::render;
use crate::wire::Wire;

/// Pause between two reports of `--watch`.
const EVERY: Duration = Duration::from_secs(2);

/// How long one stage may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a stage said, or why it said nothing.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Told<T> {
    Said(T),
    Failed { error: Refusal },
}

#[derive(Debug, Serialize)]
struct Refusal {
    kind: &'static str,
    message: String,
    #[serde(skip)]
    exit: Exit,
}

#[derive(Debug, Serialize)]
struct Report {
    outbox: Told<Outbox>,
    /// By index; empty where no broker stands between the roles.
    bus: BTreeMap<String, Told<Queue>>,
    indexes: BTreeMap<String, Told<Documents>>,
    /// By index; those that are made anew, or were and can be taken back.
    reindexes: Told<BTreeMap<String, Reindex>>,
    retained: Told<Retained>,
    dead_letters: Told<Letters>,
}

/// Outbox to relay.
#[derive(Debug, Serialize)]
struct Outbox {
    subscription: String,
    /// Nothing before its relay ran for the first time.
    #[serde(flatten)]
    reading: Option<Reading>,
}

#[derive(Debug, Serialize)]
struct Reading {
    /// Committed events that are not published; a million means at least that. Where the position follows the one in
    /// Kafka, some of them may be.
    events_behind: u64,
    /// Age of the oldest of them.
    seconds_behind: f64,
    #[serde(flatten)]
    place: Subscription,
}

/// Bus to indexer.
#[derive(Debug, Serialize)]
struct Queue {
    topic: String,
    messages_behind: u64,
    /// Messages that failed and wait to be tried again.
    waiting_for_retry: u64,
    partitions: Vec<Partition>,
}

#[derive(Debug, Serialize)]
struct Partition {
    number: i32,
    committed: Option<i64>,
    messages_behind: u64,
}

#[derive(Debug, Serialize)]
struct Documents {
    alias: String,
    /// None while there is no index.
    documents: Option<u64>,
}

/// An index that takes the place of another one.
#[derive(Debug, Serialize)]
struct Reindex {
    phase: &'static str,
    old: String,
    new: String,
    began_at: Timestamp,
    /// Why it did not go on when it last ended.
    problem: Option<String>,
}

/// What could not be applied, and waits for a person.
#[derive(Debug, Serialize)]
struct Letters {
    letters: u64,
    /// When the oldest was parked.
    oldest: Option<Timestamp>,
}

/// Prints the report, once or again and again.
pub(super) async fn status(config: &Config, args: &StatusArgs) -> Result<Exit, Failure> {
    let wire = Wire::new(config)?;
    loop {
        let report = ask(config, &wire).await;
        if args.output.json {
            render::json(&report)?;
        } else {
            if args.watch {
                render::fresh_screen()?;
            }
            render::text(&lines(&report))?;
        }
        if !args.watch {
            return Ok(report.exit());
        }
        sleep(EVERY).await;
    }
}

async fn ask(config: &Config, wire: &Wire<'_>) -> Report {
    let queues = config.indexes.iter().filter(|_| config.relay.bus == Bus::Kafka);
    let queues = queues.map(async |(name, index)| (name.clone(), in_time(queue(wire, name, index)).await));
    let documents =
        config.indexes.iter().map(async |(name, index)| (name.clone(), in_time(documents(wire, index)).await));
    let (outbox, queues, documents, reindexes, retained, dead_letters) = tokio::join!(
        in_time(outbox(config, wire)),
        futures::future::join_all(queues),
        futures::future::join_all(documents),
        in_time(reindexes(config, wire)),
        in_time(outbox::retained(wire.database(), config.relay.retention)),
        in_time(letters(wire))
    );
    let (bus, indexes) = (queues.into_iter().collect(), documents.into_iter().collect());
    Report { outbox, bus, indexes, reindexes, retained, dead_letters }
}

async fn in_time<T>(stage: impl Future<Output = Result<T, Error>>) -> Told<T> {
    let answer = timeout(PATIENCE, stage).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Unavailable, format!("no answer within {}", show_duration(PATIENCE))))
    });
    match answer {
        Ok(said) => Told::Said(said),
        Err(error) => {
            let exit = Exit::of(error.kind());
            Told::Failed { error: Refusal { kind: error.kind().name(), message: error.to_string(), exit } }
        }
    }
}

async fn outbox(config: &Config, wire: &Wire<'_>) -> Result<Outbox, Error> {
    let subscription = config.relay.subscription.clone();
    let reading = match outbox::subscription(wire.database(), &subscription).await? {
        Some(place) => {
            let lag = wire.source().lag().await?;
            Some(Reading { events_behind: lag.events, seconds_behind: lag.age.as_secs_f64(), place })
        }
        None => None,
    };
    Ok(Outbox { subscription, reading })
}

async fn queue(wire: &Wire<'_>, name: &str, index: &Index) -> Result<Queue, Error> {
    let subscribers = wire.indexers(name, index)?.subscribers().await?;
    let lags = subscribers.iter().map(async |subscriber| subscriber.lag().await);
    let mut lags = futures::future::try_join_all(lags).await?.into_iter();
    let own = lags.next().into_iter().flatten();
    let mut partitions: Vec<_> = own
        .map(|lag| Partition { number: lag.partition.number, committed: lag.committed, messages_behind: lag.behind })
        .collect();
    partitions.sort_by_key(|partition| partition.number);
    let messages_behind = partitions.iter().map(|partition| partition.messages_behind).sum();
    let waiting_for_retry = lags.flatten().map(|lag| lag.behind).sum();
    Ok(Queue { topic: index.topic.clone(), messages_behind, waiting_for_retry, partitions })
}

async fn letters(wire: &Wire<'_>) -> Result<Letters, Error> {
    let count = wire.dead_letters().count(&Selection::default()).await?;
    Ok(Letters { letters: count.letters, oldest: count.oldest })
}

async fn reindexes(config: &Config, wire: &Wire<'_>) -> Result<BTreeMap<String, Reindex>, Error> {
    let (all, mut unfinished) = (wire.reindexes(), BTreeMap::new());
    for name in config.indexes.keys() {
        if let Some(Reindexing { about, phase, problem, began_at, .. }) = all.unfinished(name).await? {
            let ReindexOf { old, new, .. } = about;
            unfinished.insert(name.clone(), Reindex { phase: phase.name(), old, new, began_at, problem });
        }
    }
    Ok(unfinished)
}

async fn documents(wire: &Wire<'_>, index: &Index) -> Result<Documents, Error> {
    let documents = wire.sink(index)?.documents().await?;
    Ok(Documents { alias: index.alias.clone(), documents })
}

impl Report {
    /// How the process ends after this report.
    fn exit(&self) -> Exit {
        fn of<T>(told: &Told<T>) -> Exit {
            match told {
                Told::Said(_) => Exit::Success,
                Told::Failed { error } => error.exit,
            }
        }
        let stages = [of(&self.outbox), of(&self.reindexes), of(&self.retained), of(&self.dead_letters)].into_iter();
        let stages = stages.chain(self.bus.values().map(of)).chain(self.indexes.values().map(of));
        stages.max().unwrap_or(Exit::Success)
    }
}

fn lines(report: &Report) -> String {
    let mut rows = vec![row("outbox to relay".to_owned(), &report.outbox, Outbox::cells)];
    rows.extend(report.bus.iter().map(|(name, queue)| row(format!("bus to indexer of {name}"), queue, Queue::cells)));
    rows.extend(report.indexes.iter().map(|(name, index)| row(format!("index {name}"), index, Documents::cells)));
    match &report.reindexes {
        Told::Said(all) => rows.extend(all.iter().map(|(name, reindex)| {
            let [behind, state] = reindex.cells();
            [format!("re-index of {name}"), behind, state]
        })),
        Told::Failed { .. } => rows.push(row("re-indexes".to_owned(), &report.reindexes, |_| Default::default())),
    }
    rows.push(row("outbox kept".to_owned(), &report.retained, retained_cells));
    rows.push(row("dead letters".to_owned(), &report.dead_letters, Letters::cells));
    render::table(["STAGE", "BEHIND", "STATE"], rows)
}

/// What a stage is behind, and how it stands; or why that is not known.
fn row<T>(stage: String, told: &Told<T>, cells: impl Fn(&T) -> [String; 2]) -> [String; 3] {
    let [behind, state] = match told {
        Told::Said(said) => cells(said),
        Told::Failed { error } => ["unknown".to_owned(), error.message.clone()],
    };
    [stage, behind, state]
}

impl Outbox {
    fn cells(&self) -> [String; 2] {
        let Some(reading) = &self.reading else {
            return ["all".to_owned(), format!("subscription {:?}: no relay has run yet", self.subscription)];
        };
        let behind = format!("{}, {:.1} s", render::counted(reading.events_behind, "event"), reading.seconds_behind);
        let holder = reading.place.holder.as_ref().map_or_else(
            || "no relay runs".to_owned(),
            |holder| format!("{holder} holds the lease, term {}", reading.place.term),
        );
        let kept = if reading.place.mirrored { " (it follows the one in Kafka)" } else { "" };
        let position = &reading.place.position;
        [behind, format!("subscription {:?}: {holder}, position {position}{kept}", self.subscription)]
    }
}

impl Queue {
    /// Of the partitions those that are behind, by number; all others are done.
    fn cells(&self) -> [String; 2] {
        let behind: Vec<_> = self
            .partitions
            .iter()
            .filter(|partition| partition.messages_behind > 0)
            .map(|partition| format!("{}: {}", partition.number, partition.messages_behind))
            .collect();
        let topic = format!("topic {}, {}", self.topic, render::counted(self.partitions.len() as u64, "partition"));
        let mut state = if behind.is_empty() {
            format!("{topic}, all done")
        } else {
            format!("{topic}, behind in {}", behind.join(", "))
        };
        if self.waiting_for_retry > 0 {
            state.push_str(&format!(", {} to be tried again", self.waiting_for_retry));
        }
        [render::counted(self.messages_behind, "message"), state]
    }
}

impl Documents {
    fn cells(&self) -> [String; 2] {
        let state = match self.documents {
            Some(documents) => format!("{} in {:?}", render::counted(documents, "document"), self.alias),
            None => format!("no index {:?} yet: the indexer makes it when it first runs", self.alias),
        };
        [String::new(), state]
    }
}

impl Reindex {
    fn cells(&self) -> [String; 2] {
        let Self { phase, old, new, began_at, problem } = self;
        let mut state = format!("{phase}: {new} in the place of {old}, begun {began_at:.0}");
        if let Some(problem) = problem {
            state.push_str(&format!("; it ended: {problem}"));
        }
        [String::new(), state]
    }
}

/// What is kept, and a warning where a subscription keeps more than is wanted.
fn retained_cells(retained: &Retained) -> [String; 2] {
    let size = |bytes: i64| format!("{:.1} MB", bytes as f64 / 1e6);
    let mut state = format!("{}, {}", render::counted(retained.days as u64, "day"), size(retained.bytes));
    for (subscription, bytes) in &retained.held_back {
        let mend = match subscription.strip_prefix("reindex ") {
            Some(_) => "that re-index goes on when its command is run again, and --abort gives it up".to_owned(),
            None => format!("run its relay, or select outbox.forget_subscription('{subscription}')"),
        };
        let held = size(*bytes);
        state.push_str(&format!(
            "; subscription {subscription:?} holds back {held} longer than relay.retention: {mend}"
        ));
    }
    [String::new(), state]
}

impl Letters {
    fn cells(&self) -> [String; 2] {
        let state = match self.oldest {
            Some(oldest) => format!("{}, the oldest since {oldest:.0}", render::counted(self.letters, "letter")),
            None => "none".to_owned(),
        };
        [String::new(), state]
    }
}
