//! How fast a backlog is published at least once and exactly once, taking turns in one run.
//!
//! On the servers of `SYNC__POSTGRES__URL` and `SYNC__KAFKA__BROKERS`, in a database and a topic of its own:
//! `cargo bench --workspace --all-features --bench delivery`

use std::env;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sync_core::adapter::kafka::{KafkaConfig, KafkaPublisher, KafkaTransactor, TransactorConfig};
use sync_core::adapter::postgres::{Postgres, PostgresConfig, PostgresSource, SourceConfig, migrate};
use sync_core::relay::{Relay, RelayConfig};
use tokio_util::sync::CancellationToken;

const EVENTS: u64 = 100_000;
const ROUNDS: u32 = 5;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Delivery {
    AtLeastOnce,
    ExactlyOnce,
}

struct Stage {
    database: Postgres,
    kafka: KafkaConfig,
    name: String,
}

impl Stage {
    async fn new() -> Result<Self, Box<dyn Error>> {
        let server = env::var("SYNC__POSTGRES__URL")?;
        let kafka = KafkaConfig { brokers: env::var("SYNC__KAFKA__BROKERS")?, ..KafkaConfig::default() };
        let name = format!("delivery_{:016x}", rand::random::<u64>());
        let connect = |url: &str| Postgres::new(&PostgresConfig { url: url.to_owned(), ..PostgresConfig::default() });
        connect(&server)?.client().await?.batch_execute(&format!("create database {name}")).await?;
        let (base, _) = server.rsplit_once('/').ok_or("the URL names a database")?;
        let database = connect(&format!("{base}/{name}"))?;
        let mut client = database.client().await?;
        migrate(&mut client).await?;
        for portion in 0..EVENTS / 1_000 {
            let keys = format!("array(select 'job-{portion}-' || n from generate_series(1, 1000) n)");
            client.batch_execute(&format!("select outbox.emit_many('{name}', {keys})")).await?;
        }
        client.batch_execute("vacuum analyze outbox.events").await?;
        drop(client);
        Ok(Self { database, kafka, name })
    }

    /// Events a second once the relay is at work: over the last nine tenths of the backlog.
    async fn drain(&self, delivery: Delivery) -> Result<f64, Box<dyn Error>> {
        // A subscription that never read anything begins at the beginning.
        let subscription = format!("bench-{:016x}", rand::random::<u64>());
        let config = SourceConfig { subscription, ..SourceConfig::default() };
        let source = Arc::new(PostgresSource::new(self.database.clone(), config));
        let relay = match delivery {
            Delivery::AtLeastOnce => {
                Relay::new(source, Arc::new(KafkaPublisher::new(&self.kafka)?), RelayConfig::default())
            }
            Delivery::ExactlyOnce => {
                let names =
                    TransactorConfig { positions: format!("{}-positions", self.name), ..TransactorConfig::default() };
                Relay::exactly_once(source, Arc::new(KafkaTransactor::new(&self.kafka, names)?), RelayConfig::default())
            }
        };
        let (progress, shutdown) = (relay.progress(), CancellationToken::new());
        let measuring = async {
            let published_from = async |least: u64| {
                while progress.counts().published < least {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                (progress.counts().published, Instant::now())
            };
            let (first, began) = published_from(EVENTS / 10).await;
            let (last, ended) = published_from(EVENTS).await;
            shutdown.cancel();
            (last - first) as f64 / (ended - began).as_secs_f64()
        };
        let (outcome, rate) = tokio::join!(relay.run(shutdown.clone()), measuring);
        outcome?;
        Ok(rate)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let stage = Stage::new().await?;
    // The first run creates the topic and warms what there is to warm.
    stage.drain(Delivery::AtLeastOnce).await?;
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let plain = stage.drain(Delivery::AtLeastOnce).await?;
        let exact = stage.drain(Delivery::ExactlyOnce).await?;
        println!("round {round}: at least once {plain:.0}/s, exactly once {exact:.0}/s, ratio {:.2}", exact / plain);
        ratios.push(exact / plain);
    }
    ratios.sort_by(f64::total_cmp);
    let (least, middle, most) = (ratios[0], ratios[ratios.len() / 2], ratios[ratios.len() - 1]);
    println!("exactly once / at least once: median {middle:.2}, from {least:.2} to {most:.2}");
    Ok(())
}
