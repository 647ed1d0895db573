//! A topic, as someone who only counts what arrives in it.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::time::sleep;

use crate::Outcome;
use crate::program::Program;

/// As many as the runner makes.
pub(crate) const PARTITIONS: i32 = 6;

/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the ends of the partitions are asked for.
const BETWEEN: Duration = Duration::from_millis(5);

/// A topic that exists until the end of the benchmark.
pub(crate) struct Topic {
    pub(crate) name: String,
    consumer: BaseConsumer,
}

impl Topic {
    pub(crate) async fn new(brokers: &str, name: &str) -> Outcome<Self> {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", brokers);
        let topic = Self { name: name.to_owned(), consumer: client.create()? };
        let new = NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(-1)).set("retention.ms", "-1");
        let admin: AdminClient<DefaultClientContext> = client.create()?;
        for result in admin.create_topics([&new], &AdminOptions::new()).await? {
            result.map_err(|(name, code)| format!("topic {name} cannot be created: {code}"))?;
        }
        Ok(topic)
    }

    /// Messages that were ever stored. Marks of transactions count, six or so a transaction.
    pub(crate) fn end(&self) -> Outcome<u64> {
        let mut sum = 0;
        for partition in 0..PARTITIONS {
            let (_, end) = self.consumer.fetch_watermarks(&self.name, partition, PATIENCE)?;
            sum += u64::try_from(end)?;
        }
        Ok(sum)
    }

    /// When the topic held `wanted` messages, while `program` lives.
    pub(crate) async fn until_holds(&self, wanted: u64, program: &mut Program, within: Duration) -> Outcome<Instant> {
        let began = Instant::now();
        loop {
            let end = self.end()?;
            if end >= wanted {
                return Ok(Instant::now());
            }
            program.is_alive()?;
            if began.elapsed() > within {
                return Err(format!("after {within:?} there are {end} messages in {}, not {wanted}", self.name).into());
            }
            sleep(BETWEEN).await;
        }
    }
}

/// Deletes the topics whose names begin like this.
pub(crate) async fn delete_all(brokers: &str, beginning: &str) -> Outcome<()> {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", brokers);
    let admin: AdminClient<DefaultClientContext> = client.create()?;
    let metadata = admin.inner().fetch_metadata(None, PATIENCE)?;
    let names: Vec<_> = metadata.topics().iter().map(|topic| topic.name()).collect();
    let ours: Vec<_> = names.into_iter().filter(|name| name.starts_with(beginning)).collect();
    if !ours.is_empty() {
        admin.delete_topics(&ours, &AdminOptions::new()).await?;
    }
    Ok(())
}
