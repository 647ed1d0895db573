//! Topics: whether they exist, making them, and their settings.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::metadata::Metadata;
use tokio::task;

use super::client::{Reporter, aside, ask};
use super::config::KafkaConfig;
use super::error::{code_of, kind_of, translate};
use super::topic::{Shape, Topic, setting};
use crate::error::{Error, ErrorKind};

/// The least an admin request gets, however late it is: the brokers have just answered another one.
const LEAST: Duration = Duration::from_millis(250);
/// How long to wait between two looks at a topic that is being created.
const PAUSE: Duration = Duration::from_millis(20);

/// How long a broker may not have heard of a topic that another one knows.
const HEARSAY: Duration = Duration::from_secs(5);
/// How long to wait before asking for settings again.
const SETTINGS_PAUSE: Duration = Duration::from_millis(100);

/// Looks the topics up, creating those that are missing where that is allowed.
///
/// Dropped half-way, a topic may still be created.
///
/// # Errors
/// `Configuration` when one is missing and may not be created, or cannot be as configured; `Denied`; `Unavailable`
/// after `patience`.
pub(super) async fn ensure(
    config: &KafkaConfig,
    names: Vec<String>,
    patience: Duration,
) -> Result<BTreeMap<String, Topic>, Error> {
    let (topics, impossible) = ensure_possible(config, names, patience).await?;
    impossible.into_values().next().map_or(Ok(topics), Err)
}

/// The same, and the names under which there can be no topic, with why.
///
/// # Errors
/// As [`ensure`], but for those names.
pub(super) async fn ensure_possible(
    config: &KafkaConfig,
    names: Vec<String>,
    patience: Duration,
) -> Result<(BTreeMap<String, Topic>, BTreeMap<String, Error>), Error> {
    let config = config.clone();
    blocking(move || {
        let inquiry = Inquiry::open(config, patience, KEPT)?;
        let (mut shapes, mut impossible) = (BTreeMap::new(), BTreeMap::new());
        for name in names {
            match inquiry.shape_or_make(&name) {
                Ok(shape) => drop(shapes.insert(name, shape)),
                Err(error) if is_no_name(&error) => drop(impossible.insert(name, error)),
                Err(error) => return Err(error),
            }
        }
        Ok((inquiry.with_settings(shapes)?, impossible))
    })
    .await
}

/// Looks up a topic of one partition in which only the newest message of each key counts, creating it where that is
/// allowed.
///
/// # Errors
/// As [`ensure`]; `Configuration` when it is there and forgets by age.
pub(super) async fn ensure_compacted(config: &KafkaConfig, name: String, patience: Duration) -> Result<(), Error> {
    let mut config = config.clone();
    config.topics.partitions = 1;
    blocking(move || {
        let inquiry = Inquiry::open(config, patience, COMPACTED)?;
        if inquiry.shape(&name)?.is_none() {
            inquiry.make(&name)?;
        }
        inquiry.refuse_what_forgets(&name)
    })
    .await
}

/// The same without creating it: whether it is there, or whether the brokers would create it.
///
/// # Errors
/// As [`ensure_compacted`].
pub(super) async fn inspect_compacted(config: &KafkaConfig, name: String, patience: Duration) -> Result<bool, Error> {
    let mut config = config.clone();
    config.topics.partitions = 1;
    blocking(move || {
        let may_create = config.topics.create;
        let inquiry = Inquiry::open(config, patience, COMPACTED)?;
        if inquiry.shape(&name)?.is_some() {
            return inquiry.refuse_what_forgets(&name).map(|()| true);
        }
        if !may_create {
            return inquiry.make(&name).map(|_| false);
        }
        inquiry.create(&name, true).map(|()| false)
    })
    .await
}

/// The names of all topics that may be seen.
///
/// # Errors
/// `Denied`, `Configuration`, `Unavailable`.
pub(super) async fn names(config: &KafkaConfig, patience: Duration) -> Result<Vec<String>, Error> {
    let config = config.clone();
    blocking(move || {
        let metadata = Inquiry::open(config, patience, KEPT)?.metadata(None)?;
        Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
    })
    .await
}

/// Looks the topics up; `None` for one that is missing and that [`ensure`] could create: the brokers were asked.
///
/// # Errors
/// As [`ensure`], except that a missing topic that may not be created is an error only there.
pub(super) async fn inspect(
    config: &KafkaConfig,
    names: Vec<String>,
    patience: Duration,
) -> Result<BTreeMap<String, Option<Topic>>, Error> {
    let config = config.clone();
    blocking(move || {
        let may_create = config.topics.create;
        let inquiry = Inquiry::open(config, patience, KEPT)?;
        inquiry.reach()?;
        let mut found = BTreeMap::new();
        let mut missing = BTreeMap::new();
        for name in names {
            match inquiry.shape(&name)? {
                Some(shape) => drop(found.insert(name, shape)),
                None => {
                    if may_create {
                        inquiry.create(&name, true)?;
                    }
                    missing.insert(name, None);
                }
            }
        }
        let found = inquiry.with_settings(found)?.into_iter().map(|(name, topic)| (name, Some(topic)));
        Ok(found.chain(missing).collect())
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let done = task::spawn_blocking(work).await;
    done.map_err(|panic| Error::new(ErrorKind::Internal, "kafka: looking up topics failed").with_source(panic))?
}

/// What waits for a stopped partition must not be deleted by age; how long to keep what is done is the
/// administrator's to say.
const KEPT: &[(&str, &str)] = &[("retention.ms", "-1")];

/// Whoever reads it reads all of it, so it must stay small.
const COMPACTED: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("segment.bytes", "16777216"),
    ("segment.ms", "3600000"),
    ("min.cleanable.dirty.ratio", "0.1"),
];

/// A connection to ask with. Everything about it blocks.
struct Inquiry {
    config: KafkaConfig,
    deadline: Instant,
    /// Of a topic that is created.
    settings: &'static [(&'static str, &'static str)],
    /// Set until dropped. The admin client says nothing about why it gets no answer, so another one goes before it.
    clients: Option<(BaseConsumer<Reporter>, AdminClient<DefaultClientContext>)>,
}

impl Drop for Inquiry {
    fn drop(&mut self) {
        if let Some(clients) = self.clients.take() {
            aside(move || drop(clients));
        }
    }
}

impl Inquiry {
    fn open(
        config: KafkaConfig,
        patience: Duration,
        settings: &'static [(&'static str, &'static str)],
    ) -> Result<Self, Error> {
        let client = config.client()?;
        let probe = client.create_with_context(Reporter::default());
        let probe = probe.map_err(|error| translate("kafka: cannot make a client", error))?;
        let admin = client.create().map_err(|error| translate("kafka: cannot make a client", error))?;
        Ok(Self { config, deadline: Instant::now() + patience, settings, clients: Some((probe, admin)) })
    }

    fn clients(&self) -> Result<&(BaseConsumer<Reporter>, AdminClient<DefaultClientContext>), Error> {
        self.clients.as_ref().ok_or_else(|| Error::new(ErrorKind::Internal, "kafka: asked after the end"))
    }

    fn is_late(&self) -> bool {
        Instant::now() >= self.deadline
    }

    fn remaining(&self) -> AdminOptions {
        let remaining = self.deadline.saturating_duration_since(Instant::now()).max(LEAST);
        AdminOptions::new().request_timeout(Some(remaining)).operation_timeout(Some(remaining))
    }

    /// What the brokers say of one topic, or of all.
    fn metadata(&self, name: Option<&str>) -> Result<Metadata, Error> {
        let (probe, _) = self.clients()?;
        ask(probe, &self.config.brokers, self.deadline, |probe, patience| probe.fetch_metadata(name, patience))
    }

    /// Whether any broker answers at all.
    fn reach(&self) -> Result<(), Error> {
        self.metadata(None).map(drop)
    }

    /// The partitions and replicas of a topic, `None` when it does not exist; waits while it has no leaders.
    fn shape(&self, name: &str) -> Result<Option<Shape>, Error> {
        loop {
            let metadata = self.metadata(Some(name))?;
            let Some(topic) = metadata.topics().first() else { return Ok(None) };
            match topic.error().map(Code::from) {
                None => {
                    let partitions = topic.partitions();
                    if partitions.iter().all(|partition| partition.leader() >= 0) || self.is_late() {
                        let replication = partitions.iter().map(|partition| partition.replicas().len()).min();
                        return Ok(Some(Shape {
                            partitions: i32::try_from(partitions.len()).unwrap_or(i32::MAX),
                            replication: replication.unwrap_or_default(),
                            brokers: metadata.brokers().len(),
                        }));
                    }
                }
                Some(Code::UnknownTopicOrPartition) => return Ok(None),
                Some(Code::LeaderNotAvailable) if !self.is_late() => {}
                Some(code) => return Err(of_topic(name, "cannot be looked up", code)),
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn shape_or_make(&self, name: &str) -> Result<Shape, Error> {
        match self.shape(name)? {
            Some(shape) => Ok(shape),
            None => self.make(name),
        }
    }

    /// Creates a topic, or says that it may not be.
    fn make(&self, name: &str) -> Result<Shape, Error> {
        if !self.config.topics.create {
            let mend = "create it, or set kafka.topics.create = true";
            return Err(Error::new(ErrorKind::Configuration, format!("kafka: topic {name:?} does not exist; {mend}")));
        }
        self.create(name, false)?;
        loop {
            // Brokers learn of a new topic one after the other.
            if let Some(shape) = self.shape(name)? {
                return Ok(shape);
            }
            if self.is_late() {
                let what = format!("kafka: topic {name:?} was created, but the brokers do not know it yet");
                return Err(Error::new(ErrorKind::Unavailable, what));
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn create(&self, name: &str, only_try: bool) -> Result<(), Error> {
        let wanted = self.config.topics;
        let replication = TopicReplication::Fixed(i32::from(wanted.replication));
        let mut topic = NewTopic::new(name, wanted.partitions, replication);
        for (setting, value) in self.settings {
            topic = topic.set(setting, value);
        }
        if wanted.replication >= 3 {
            topic = topic.set("min.insync.replicas", "2");
        }
        let (_, admin) = self.clients()?;
        let answers = block_on(admin.create_topics([&topic], &self.remaining().validate_only(only_try)));
        let answers = answers.map_err(|error| translate(format!("kafka: cannot create topic {name:?}"), error))?;
        match answers.into_iter().next() {
            None | Some(Ok(_) | Err((_, Code::TopicAlreadyExists))) => Ok(()),
            Some(Err((_, Code::InvalidReplicationFactor))) => {
                let (copies, mend) =
                    (wanted.replication, "the cluster has fewer brokers; lower kafka.topics.replication");
                let what = format!("kafka: cannot create topic {name:?} with {copies} copies: {mend}");
                Err(Error::new(ErrorKind::Configuration, what))
            }
            Some(Err((_, code))) => Err(of_topic(name, "cannot be created", code)),
        }
    }

    /// The settings of topics that are there, in the order of the names.
    ///
    /// Any broker may answer, and one that has not heard of a new topic answers like one that may not tell: without
    /// entries. So that is asked again for a while.
    fn settings<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
        doing: impl Fn() -> String,
    ) -> Result<Vec<Result<ConfigResource, Code>>, Error> {
        let asked: Vec<_> = names.map(ResourceSpecifier::Topic).collect();
        let (_, admin) = self.clients()?;
        let until = (Instant::now() + HEARSAY).min(self.deadline);
        loop {
            let answers = block_on(admin.describe_configs(&asked, &self.remaining()));
            let answers = answers.map_err(|error| translate(doing(), error))?;
            let is_told = |answer: &Result<ConfigResource, Code>| match answer {
                Ok(resource) => !resource.entries.is_empty(),
                Err(code) => *code != Code::UnknownTopicOrPartition,
            };
            if answers.iter().all(is_told) || Instant::now() >= until {
                return Ok(answers);
            }
            std::thread::sleep(SETTINGS_PAUSE);
        }
    }

    fn refuse_what_forgets(&self, name: &str) -> Result<(), Error> {
        let doing = || format!("kafka: cannot read the settings of topic {name:?}");
        let answers = self.settings(std::iter::once(name), doing)?;
        let Some(answer) = answers.into_iter().next() else { return Ok(()) };
        let answer = answer.map_err(|code| of_topic(name, "cannot be described", code))?;
        match setting(&answer, "cleanup.policy") {
            Some("compact") => Ok(()),
            Some(other) => {
                let what = format!(
                    "kafka: topic {name:?} holds positions and has cleanup.policy={other}: it would forget them by age; \
                     set it to compact"
                );
                Err(Error::new(ErrorKind::Configuration, what))
            }
            // An answer without entries is how a missing permission shows.
            None => {
                let what =
                    format!("kafka: may not read the settings of topic {name:?}; grant DescribeConfigs on the topic");
                Err(Error::new(ErrorKind::Denied, what))
            }
        }
    }

    fn with_settings(&self, shapes: BTreeMap<String, Shape>) -> Result<BTreeMap<String, Topic>, Error> {
        if shapes.is_empty() {
            return Ok(BTreeMap::new());
        }
        let doing = || "kafka: cannot read the topics' settings".to_owned();
        let answers = self.settings(shapes.keys().map(String::as_str), doing)?;
        // Answers come in the order of the questions.
        let topic = |((name, shape), answer): ((String, Shape), Result<ConfigResource, Code>)| {
            let settings = answer.map_err(|code| of_topic(&name, "cannot be described", code))?;
            let topic = Topic::of(&name, shape, &settings)?;
            Ok((name, topic))
        };
        shapes.into_iter().zip(answers).map(topic).collect()
    }
}

fn of_topic(name: &str, what: &str, code: Code) -> Error {
    let kind = kind_of(code);
    let why = if kind == ErrorKind::Denied {
        "; grant Describe, DescribeConfigs, Read and Write on the topic, and Create if it is to be created"
    } else if code == Code::InvalidTopic {
        ": Kafka takes no such name, or has a topic whose name differs from it by `.` and `_` only"
    } else {
        ""
    };
    Error::new(kind, format!("kafka: topic {name:?} {what}{why}")).with_source(KafkaError::AdminOp(code))
}

/// Whether it says that no topic can have this name.
fn is_no_name(error: &Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<KafkaError>());
    cause.and_then(code_of) == Some(Code::InvalidTopic)
}
