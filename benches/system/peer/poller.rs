//! The outbox everyone writes by hand: a poller that publishes rows, flags them, and deletes what is flagged.

use std::env;
use std::time::{Duration, Instant};

use clap::Args;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, ThreadedProducer};
use tokio::process::Command;
use tokio_postgres::{Client, NoTls, Statement};

use crate::Outcome;
use crate::counted::Counted;
use crate::program::Program;
use crate::stage::Stage;

/// Its table.
pub(crate) const TABLE: &str = include_str!("../../data/poller.sql");

/// Rows of one poll.
const PAGE: i64 = 1_000;
/// How long it waits when there is nothing.
const IDLE: Duration = Duration::from_millis(10);
/// How often it looks whether a page is stored. Flushing, the client would look ten times a second.
const LOOK: Duration = Duration::from_millis(1);
/// How often what is flagged is deleted.
const DELETES: Duration = Duration::from_secs(1);

const SELECT: &str = "select id, topic, key, payload::text from public.hand_outbox
                       where not published order by id limit $1 for update skip locked";
const UPDATE: &str = "update public.hand_outbox set published = true where id = any ($1)";

/// What the child process is told.
#[derive(Debug, Args)]
pub(crate) struct Poller {
    /// The database with the table.
    #[arg(long)]
    url: String,
    /// The brokers.
    #[arg(long)]
    brokers: String,
}

/// Starts one in a process of its own.
pub(crate) fn start(stage: &Stage) -> Outcome<Program> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["poller", "--url", &stage.url, "--brokers", &stage.brokers]);
    Program::start("the poller", command)
}

impl Poller {
    /// Polls until it is ended.
    pub(crate) async fn run(&self) -> Outcome<()> {
        let (mut client, connection) = tokio_postgres::connect(&self.url, NoTls).await?;
        tokio::spawn(connection);
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("enable.idempotence", "true").set("compression.type", "lz4");
        config.set("linger.ms", "1").set("partitioner", "murmur2_random");
        let (producer, counted) = Counted::producer(&config)?;
        let select = client.prepare(SELECT).await?;
        let update = client.prepare(UPDATE).await?;
        let mut deleted = Instant::now();
        loop {
            if deleted.elapsed() > DELETES {
                client.execute("delete from public.hand_outbox where published", &[]).await?;
                deleted = Instant::now();
            }
            if page(&mut client, &select, &update, &producer, &counted).await? == 0 {
                tokio::time::sleep(IDLE).await;
            }
        }
    }
}

/// Publishes the oldest rows and flags them, in one transaction.
async fn page(
    client: &mut Client,
    select: &Statement,
    update: &Statement,
    producer: &ThreadedProducer<Counted>,
    counted: &Counted,
) -> Outcome<u64> {
    let transaction = client.transaction().await?;
    let rows = transaction.query(select, &[&PAGE]).await?;
    let mut ids: Vec<i64> = Vec::with_capacity(rows.len());
    let before = counted.stored()?;
    for row in &rows {
        let (topic, key, payload): (&str, &str, &str) = (row.get(1), row.get(2), row.get(3));
        producer.send(BaseRecord::to(topic).key(key).payload(payload)).map_err(|(error, _)| error)?;
        ids.push(row.get(0));
    }
    let count = ids.len() as u64;
    while counted.stored()? < before + count {
        tokio::time::sleep(LOOK).await;
    }
    transaction.execute(update, &[&ids]).await?;
    transaction.commit().await?;
    Ok(count)
}
