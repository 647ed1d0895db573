//! Both ends of the bus.

use std::sync::Arc;

use sync_core::Error;
use sync_core::adapter::direct::DirectBus;
use sync_core::adapter::kafka::{self, KafkaConfig, KafkaPublisher, KafkaSubscriber};
use sync_core::port::{Publisher, Subscriber};

/// What messages travel by, connected to nothing yet.
#[derive(Clone, Debug)]
pub(super) enum BusEnds {
    /// A cluster, and the name of this process for static membership.
    Kafka(Box<KafkaConfig>, Option<String>),
    /// Nothing between the roles.
    Direct(DirectBus),
}

impl BusEnds {
    /// A publisher of its own.
    pub(super) fn publisher(&self) -> Result<Arc<dyn Publisher>, Error> {
        match self {
            Self::Kafka(config, _) => Ok(Arc::new(KafkaPublisher::new(config)?)),
            Self::Direct(bus) => Ok(Arc::new(bus.clone())),
        }
    }

    /// The messages of a topic as a group reads them.
    pub(super) fn subscriber(&self, group: &str, topic: &str) -> Result<Arc<dyn Subscriber>, Error> {
        match self {
            Self::Kafka(config, instance) => {
                Ok(Arc::new(KafkaSubscriber::new(config, group, topic, instance.as_deref())?))
            }
            Self::Direct(bus) => Ok(Arc::new(bus.subscriber(topic)?)),
        }
    }

    /// Retry topics that are there, whatever is configured now.
    pub(super) async fn retry_topics(&self, topic: &str) -> Result<Vec<String>, Error> {
        match self {
            Self::Kafka(config, _) => kafka::retry_topics(config, topic).await,
            // In memory, it knows of no earlier settings.
            Self::Direct(_) => Ok(Vec::new()),
        }
    }

    /// Whether a note of each dead letter goes to a topic.
    pub(super) fn notes_letters(&self) -> bool {
        matches!(self, Self::Kafka(..))
    }
}
