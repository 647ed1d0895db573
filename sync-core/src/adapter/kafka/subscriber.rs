//! Reading a topic as a group.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::error::RDKafkaErrorCode::{GroupAuthorizationFailed, TopicAuthorizationFailed, UnknownTopicOrPartition};
use rdkafka::metadata::Metadata;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::assignment::Membership;
use super::client::{Reporter, aside, ask};
use super::config::KafkaConfig;
use super::consumer::KafkaConsumer;
use super::error::{leader_is_moving, translate};
use super::topics;
use crate::error::{Error, ErrorKind};
use crate::event::written_at;
use crate::port::{Consumer, Partition, PartitionLag, Subscriber};

/// How long brokers may take to answer before that counts as an outage.
const PATIENCE: Duration = Duration::from_secs(10);

/// What `kafka.properties` may say otherwise.
const DEFAULTS: &[(&str, &str)] = &[
    // How long the partitions of a process that died lie idle.
    ("session.timeout.ms", "20000"),
    // How long members take to notice that one has come or gone.
    ("heartbeat.interval.ms", "1000"),
    // What waits in memory; librdkafka's defaults are four times as much.
    ("queued.max.messages.kbytes", "16384"),
    ("queued.min.messages", "20000"),
    // What one answer may hold, compressed; unpacked it can be several times as much.
    ("fetch.max.bytes", "4194304"),
    // With a short queue, the default of a second would be spent waiting beside room.
    ("fetch.queue.backoff.ms", "10"),
    // How long a commit may wait for others to go with it.
    ("auto.commit.interval.ms", "250"),
];

/// What the guarantees rest on.
const FIXED: &[(&str, &str)] = &[
    // Of what was stored as done, and only of that: a commit the brokers refuse, as they do while members come and go,
    // is made again at the next interval. One made directly is not, and nothing tells that it was refused.
    ("enable.auto.commit", "true"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "earliest"),
    ("isolation.level", "read_committed"),
    ("group.protocol", "classic"),
    ("partition.assignment.strategy", "cooperative-sticky"),
];

/// One group's way to one topic.
///
/// Members share the partitions cooperatively: those that stay are read on while others move. A message whose header
/// has a name that is not UTF-8 comes without that header.
pub struct KafkaSubscriber {
    config: KafkaConfig,
    client: ClientConfig,
    topic: Arc<str>,
    /// Kept from one question about lag to the next.
    observer: Mutex<Option<Arc<Observer>>>,
}

impl fmt::Debug for KafkaSubscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSubscriber")
            .field("config", &self.config)
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

impl KafkaSubscriber {
    /// What members of `group` use to read `topic`. Connects to nothing.
    ///
    /// With a `group_instance_id`, which must be of one process only, a process that restarts within the session
    /// time-out keeps its partitions; without one, they move at once when it leaves.
    ///
    /// # Errors
    /// `Configuration`, naming the setting.
    pub fn new(config: &KafkaConfig, group: &str, topic: &str, group_instance_id: Option<&str>) -> Result<Self, Error> {
        let mut client = config.client_with(DEFAULTS, FIXED)?;
        if group.is_empty() {
            return Err(Error::new(ErrorKind::Configuration, "kafka: the group of a subscriber needs a name"));
        }
        client.set("group.id", group);
        if let Some(id) = group_instance_id {
            client.set("group.instance.id", id);
        }
        Ok(Self { config: config.clone(), client, topic: topic.into(), observer: Mutex::new(None) })
    }

    fn observer(&self) -> Result<Arc<Observer>, Error> {
        let mut observer = self.observer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(observer) = &*observer {
            return Ok(Arc::clone(observer));
        }
        let mut client = self.client.clone();
        // It belongs to no group; it only asks about one.
        client.remove("group.instance.id");
        // To tell a message from a mark of a transaction, at once.
        client.set("enable.partition.eof", "true").set("fetch.wait.max.ms", "10");
        // Of each partition one message is looked at.
        client.set("queued.min.messages", "1").set("max.partition.fetch.bytes", "16384");
        let consumer = client.create_with_context(Reporter::default());
        let consumer = consumer.map_err(|error| translate("kafka: cannot make a client", error))?;
        let made = Observer {
            consumer: Some(consumer),
            asking: Mutex::default(),
            brokers: self.config.brokers.clone(),
            topic: Arc::clone(&self.topic),
            may_create: self.config.topics.create,
        };
        Ok(Arc::clone(observer.insert(Arc::new(made))))
    }
}

#[async_trait]
impl Subscriber for KafkaSubscriber {
    async fn subscribe(&self) -> Result<Box<dyn Consumer>, Error> {
        topics::ensure(&self.config, vec![self.topic.to_string()], PATIENCE).await?;
        let consumer: StreamConsumer<Membership> = self
            .client
            .create_with_context(Membership::default())
            .map_err(|error| translate("kafka: cannot make a consumer", error))?;
        let subscribed = consumer.subscribe(&[&self.topic]);
        subscribed.map_err(|error| translate(format!("kafka: cannot subscribe to {:?}", self.topic), error))?;
        Ok(Box::new(KafkaConsumer::new(consumer, self.config.brokers.clone(), Arc::clone(&self.topic))))
    }

    async fn lag(&self) -> Result<Vec<PartitionLag>, Error> {
        let observer = self.observer()?;
        let asked = tokio::task::spawn_blocking(move || observer.lag()).await;
        asked.map_err(|panic| Error::new(ErrorKind::Internal, "kafka: asking for the lag failed").with_source(panic))?
    }
}

/// How long looking whether there are messages may take, all partitions together.
const LOOKING: Duration = Duration::from_secs(3);
const SHORT: Duration = Duration::from_millis(20);
/// Who leads a partition of a topic that was just made, or whose broker just went, is known a moment later.
const MOVING: Duration = Duration::from_millis(50);

/// Asks about a group without being a member.
struct Observer {
    /// Set until dropped.
    consumer: Option<BaseConsumer<Reporter>>,
    /// One at a time asks: looking at a message takes the partition from whoever looks at another one.
    asking: Mutex<()>,
    brokers: String,
    topic: Arc<str>,
    may_create: bool,
}

impl Drop for Observer {
    fn drop(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            aside(move || drop(consumer));
        }
    }
}

impl Observer {
    /// Blocks.
    fn lag(&self) -> Result<Vec<PartitionLag>, Error> {
        let Some(consumer) = &self.consumer else { return Ok(Vec::new()) };
        let _asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let (topic, deadline) = (Some(&*self.topic), Instant::now() + PATIENCE);
        let counted = loop {
            let metadata =
                ask(consumer, &self.brokers, deadline, |consumer, patience| consumer.fetch_metadata(topic, patience))?;
            match self.count(consumer, &metadata) {
                Err(error) if leader_is_moving(&error) && Instant::now() < deadline => std::thread::sleep(MOVING),
                counted => break counted,
            }
        };
        counted.or_else(|error| match error.rdkafka_error_code() {
            // It is about to be created, empty.
            Some(UnknownTopicOrPartition) if self.may_create => Ok(Vec::new()),
            Some(UnknownTopicOrPartition) => Err(self.unknown("the topic does not exist", error)),
            Some(TopicAuthorizationFailed | GroupAuthorizationFailed) => {
                Err(self.unknown("grant Describe on the topic and on the group", error))
            }
            Some(_) | None => Err(self.unknown("try again", error)),
        })
    }

    fn unknown(&self, mend: &str, error: KafkaError) -> Error {
        translate(format!("kafka: cannot tell the lag of topic {:?}; {mend}", self.topic), error)
    }

    fn count(&self, consumer: &BaseConsumer<Reporter>, metadata: &Metadata) -> Result<Vec<PartitionLag>, KafkaError> {
        let mut all = TopicPartitionList::new();
        for topic in metadata.topics() {
            if let Some(error) = topic.error() {
                return Err(KafkaError::MetadataFetch(error.into()));
            }
            for partition in topic.partitions() {
                all.add_partition(topic.name(), partition.id());
            }
        }
        // Read committed, as the consumers do: the end is before the first transaction that is still open.
        let at = |place: Offset| -> Result<TopicPartitionList, KafkaError> {
            let mut asked = all.clone();
            asked.set_all_offsets(place)?;
            consumer.offsets_for_times(asked, PATIENCE)
        };
        let (begin, end) = (at(Offset::Beginning)?, at(Offset::End)?);
        let committed = consumer.committed_offsets(all.clone(), PATIENCE)?;
        let mut lags: Vec<_> = all
            .elements()
            .iter()
            .map(|partition| {
                let number = partition.partition();
                let committed = offset_of(&committed, &self.topic, number);
                let (begin, end) = (offset_of(&begin, &self.topic, number), offset_of(&end, &self.topic, number));
                let next = committed.max(begin).unwrap_or(0);
                let behind = u64::try_from(end.unwrap_or(next) - next).unwrap_or(0);
                let partition = Partition { topic: Arc::clone(&self.topic), number };
                PartitionLag { partition, committed, behind, oldest: None }
            })
            .collect();
        lags.sort_unstable_by_key(|lag| lag.partition.number);
        let deadline = Instant::now() + LOOKING;
        for lag in lags.iter_mut().filter(|lag| lag.behind > 0) {
            let next = offset_of(&end, &self.topic, lag.partition.number).unwrap_or_default();
            let next = next.saturating_sub_unsigned(lag.behind);
            match self.first(consumer, lag.partition.number, next, deadline)? {
                First::Of(came) => lag.oldest = came,
                First::None => lag.behind = 0,
                First::Unknown => {}
            }
        }
        consumer.unassign()?;
        Ok(lags)
    }

    /// The first message from `next` on. Transactions leave marks and what was taken back, which no consumer gets and
    /// whose offsets none commits.
    fn first(
        &self,
        consumer: &BaseConsumer<Reporter>,
        number: i32,
        next: i64,
        deadline: Instant,
    ) -> Result<First, KafkaError> {
        let mut place = TopicPartitionList::new();
        place.add_partition_offset(&self.topic, number, Offset::Offset(next))?;
        consumer.assign(&place)?;
        while Instant::now() < deadline {
            match consumer.poll(SHORT) {
                // One of the partition before may still have been on its way.
                Some(Ok(message)) if message.partition() == number => {
                    let came = || message.timestamp().to_millis().and_then(|at| Timestamp::from_millisecond(at).ok());
                    return Ok(First::Of(
                        message.payload().and_then(|value| written_at(value, Timestamp::now())).or_else(came),
                    ));
                }
                Some(Ok(_)) => {}
                Some(Err(KafkaError::PartitionEOF(ended))) if ended == number => return Ok(First::None),
                // Passing, or said of another partition before.
                Some(Err(_)) | None => {}
            }
        }
        Ok(First::Unknown)
    }
}

/// The first message that waits in a partition.
enum First {
    /// It was written then, or came onto the bus, where that is known.
    Of(Option<Timestamp>),
    None,
    /// It was not looked for long enough.
    Unknown,
}

/// An offset the brokers named; `None` where they named none.
fn offset_of(list: &TopicPartitionList, topic: &str, number: i32) -> Option<i64> {
    match list.find_partition(topic, number)?.offset() {
        Offset::Offset(offset) => Some(offset),
        Offset::Beginning | Offset::End | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_) => None,
    }
}
