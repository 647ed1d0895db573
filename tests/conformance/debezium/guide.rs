//! The steps of docs/from-debezium.md, as they stand there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::Path;
use std::time::Duration;

use futures::FutureExt;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::{sleep, timeout};
use tokio_postgres::{Client, SimpleQueryMessage};
use tokio_util::sync::CancellationToken;

use super::messages::{Message, make_topics, read};
use crate::support::connect::{Connector, Worker, debezium};
use crate::support::postgres::{connect, fresh_database};
use crate::support::runner::{Runner, command, output_of};
use crate::support::servers;

const GUIDE: &str = include_str!("../../../docs/from-debezium.md");
const BOUND: Duration = Duration::from_secs(120);

/// Keys that the application writes by turns.
const KEYS: usize = 5;

/// As Debezium's documentation has it.
const TABLE: &str = "create table public.outbox (id uuid primary key, aggregatetype varchar(255) not null,
    aggregateid varchar(255) not null, type varchar(255) not null, payload jsonb)";

/// The blocks of one language below a heading.
fn blocks(heading: &str, language: &str) -> Vec<&'static str> {
    let (_, section) = GUIDE.split_once(&format!("{heading}\n")).unwrap_or_else(|| panic!("{heading} is no heading"));
    let section = section.split("\n#").next().unwrap();
    let fence = format!("```{language}\n");
    let blocks: Vec<_> = section.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!blocks.is_empty(), "{heading} has no block of {language}");
    blocks
}

/// Somebody else's application, somebody's Debezium or what stands in for it, and our runner.
struct Switch {
    client: Client,
    url: String,
    slot: String,
    aggregate: String,
    directory: TempDir,
    debezium: Option<Worker>,
}

impl Switch {
    async fn new(debezium: Option<&Path>) -> Self {
        let (client, url) = fresh_database().await;
        client.batch_execute(TABLE).await.unwrap();
        let slot = servers::unique("guide").replace('-', "_");
        let aggregate = servers::unique("order");
        make_topics(&[format!("outbox.event.{aggregate}")]).await;
        let name = url.rsplit_once('/').unwrap().1;
        let settings = blocks("## The switch", "properties")[0].to_owned();
        let connector = Connector { name: "guide".to_owned(), slot: slot.clone(), settings };
        let debezium = debezium.map(|debezium| Worker::new(debezium, name, vec![connector]));
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("sync.toml"), blocks("### 1. Install the outbox", "toml")[0]).unwrap();
        Self { client, url, slot, aggregate, directory, debezium }
    }

    /// Where the guide names one slot, this test has another: slots are the cluster's.
    async fn sql(&self, sql: &str) -> Option<String> {
        let said = self.client.simple_query(&sql.replace("'debezium'", &format!("'{}'", self.slot))).await;
        let rows = said.unwrap_or_else(|error| panic!("{error:?}: {sql}")).into_iter();
        rows.filter_map(|row| if let SimpleQueryMessage::Row(row) = row { row.get(0).map(str::to_owned) } else { None })
            .last()
    }

    /// The runner with the configuration of the guide, at the servers there are.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(&self.directory.path().join("sync.toml"), arguments);
        command.args(["--set", &format!("postgres.url={}", self.url)]);
        command.args(["--set", &format!("kafka.brokers={}", servers::kafka()), "--set", "admin.listen=127.0.0.1:0"]);
        command
    }

    async fn run(&self, arguments: &[&str]) {
        let output = self.command(arguments).output().await.unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    /// Unless nobody has subscribed yet.
    async fn behind(&self) -> Option<u64> {
        output_of(self.command(&["status", "--json"])).await["outbox"]["events_behind"].as_u64()
    }

    async fn until_behind_at_most(&self, events: u64) {
        let near = async {
            while self.behind().await.is_none_or(|behind| behind > events) {
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(BOUND, near).await.expect("the relay catches up");
    }

    /// Begins what Debezium does, or only its slot.
    async fn start_debezium(&mut self) {
        match &mut self.debezium {
            Some(worker) => worker.start(&self.client).await,
            None => {
                let made = "select pg_create_logical_replication_slot('debezium', 'pgoutput')
                             where not exists (select from pg_replication_slots where slot_name = 'debezium')";
                self.sql(made).await;
            }
        }
    }

    fn stop_debezium(&mut self) {
        if let Some(worker) = &mut self.debezium {
            tokio::task::block_in_place(|| worker.stop());
        }
    }

    /// Every step, and the way back, while the application writes. Gives the ids of all rows.
    async fn walk(&mut self) -> BTreeSet<String> {
        self.start_debezium().await;
        let (done, url, aggregate) = (CancellationToken::new(), self.url.clone(), self.aggregate.clone());
        let application = tokio::spawn({
            let done = done.clone();
            async move { write(&url, &aggregate, &done).await }
        });

        self.run(&["migrate"]).await;
        self.run(&["check", "--roles", "relay"]).await;
        self.sql(blocks("### 2. Route the table", "sql")[0]).await;
        let drained = async {
            while self
                .sql(blocks("### 3. Wait until Debezium has published what was there before", "sql")[0])
                .await
                .unwrap()
                != "t"
            {
                if self.debezium.is_none() {
                    self.sql("select pg_replication_slot_advance('debezium', pg_current_wal_lsn())").await;
                }
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(BOUND, drained).await.expect("Debezium confirms what it has published");
        let mut relay =
            Runner::new(self.command(&["run", "--roles", "relay"]), self.directory.path().join("relay.log"));
        relay.start();
        self.until_behind_at_most(100).await;
        self.stop_debezium();
        sleep(Duration::from_secs(1)).await;

        self.start_debezium().await;
        let back = blocks("## Back to Debezium", "sql");
        self.sql(back[0]).await;
        self.until_behind_at_most(0).await;
        assert_eq!(relay.stop().await.code, Some(0));
        assert_eq!(self.sql(back[1]).await.as_deref(), Some("t"));
        sleep(Duration::from_secs(1)).await;
        done.cancel();
        application.await.unwrap()
    }

    /// What is in the topic once `wanted` have come.
    async fn published(&self, wanted: BTreeSet<String>) -> Vec<Message> {
        let topics = [format!("outbox.event.{}", self.aggregate)];
        let is_enough = move |messages: &[Message]| {
            let seen: BTreeSet<_> = messages.iter().map(Message::id).collect();
            wanted.iter().all(|id| seen.contains(id.as_str()))
        };
        tokio::task::spawn_blocking(move || read("outbox.event.", &topics, is_enough)).await.unwrap()
    }

    /// Walks the whole way, and cleans up whatever came of it: a slot that is left keeps the log of a server that others use.
    async fn through(&mut self, wanted: impl AsyncFnOnce(&Self, BTreeSet<String>) -> BTreeSet<String>) -> Published {
        let walked = async {
            let written = self.walk().await;
            let wanted = wanted(self, written).await;
            (self.published(wanted.clone()).await, wanted)
        };
        let outcome = AssertUnwindSafe(walked).catch_unwind().await;
        self.stop_debezium();
        self.sql(blocks("### 6. Clean up", "sql")[0]).await;
        outcome.unwrap_or_else(|panic| resume_unwind(panic))
    }
}

/// Messages, and the ids that were wanted among them.
type Published = (Vec<Message>, BTreeSet<String>);

/// Inserts rows until it is told to stop, deletes every other at once, and gives their ids.
async fn write(url: &str, aggregate: &str, done: &CancellationToken) -> BTreeSet<String> {
    let (client, mut ids) = (connect(url).await, BTreeSet::new());
    while !done.is_cancelled() {
        let (number, id) = (ids.len(), uuid::Uuid::now_v7().to_string());
        let delete = if number % 2 == 0 { "" } else { "delete from public.outbox;" };
        let insert = format!(
            "begin; insert into public.outbox values ('{id}', '{aggregate}', 'key {}', 'sort', '{{\"n\": {}}}'); {delete} commit",
            number % KEYS,
            number / KEYS,
        );
        client.batch_execute(&insert).await.unwrap();
        ids.insert(id);
        sleep(Duration::from_millis(3)).await;
    }
    ids
}

/// Numbers of each key, each when it came first.
fn first_occurrences(messages: &[Message]) -> BTreeMap<&[u8], Vec<u64>> {
    let (mut seen, mut numbers) = (BTreeSet::new(), BTreeMap::<_, Vec<_>>::new());
    for message in messages.iter().filter(|message| seen.insert(message.id())) {
        assert_eq!(message.headers["eventType"].as_deref(), Some("sort"));
        let value: serde_json::Value = serde_json::from_str(message.text().unwrap()).unwrap();
        numbers.entry(message.key.as_deref().unwrap()).or_default().push(value["n"].as_u64().unwrap());
    }
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn the_switch_from_debezium_and_the_way_back_lose_nothing_and_keep_the_order_of_each_key() {
    let Some(debezium) = debezium() else { return };
    let mut switch = Switch::new(Some(&debezium)).await;
    let (messages, written) = switch.through(async |_, written| written).await;
    let ids: BTreeSet<_> = messages.iter().map(|message| message.id().to_owned()).collect();
    assert_eq!(ids, written, "and nothing that was not written");
    let numbers = first_occurrences(&messages);
    assert_eq!(numbers.len(), KEYS);
    for (key, numbers) in numbers {
        let gapless: Vec<_> = (0..numbers.len() as u64).collect();
        assert_eq!(numbers, gapless, "of {:?}", String::from_utf8_lossy(key));
    }
    let ours = messages.iter().filter(|message| !message.headers.keys().any(|name| name.starts_with("__debezium.")));
    assert!((1..messages.len()).contains(&ours.count()), "both have published");
    assert!(messages.len() > written.len(), "what both have published came twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_and_setting_of_the_guide_is_taken_as_it_stands_there() {
    let mut switch = Switch::new(None).await;
    let of_events = async |switch: &Switch, _| {
        let events = switch.client.query("select headers ->> 'id' from outbox.events", &[]).await.unwrap();
        events.iter().map(|row| row.get(0)).collect()
    };
    let (messages, events) = switch.through(of_events).await;
    assert!(events.len() > 100, "only {}", events.len());
    assert_eq!(messages.len(), events.len(), "each once");
    for numbers in first_occurrences(&messages).into_values() {
        assert!(numbers.is_sorted(), "{numbers:?}");
    }
}
