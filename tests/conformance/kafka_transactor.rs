//! Transactions on a real broker.

use std::sync::Arc;

use sync_core::adapter::kafka::{KafkaConfig, KafkaSubscriber, KafkaTransactor, TopicConfig, TransactorConfig};
use sync_core::testkit::conformance::transactions::{Harness, transactions};

use crate::support::servers;

async fn harness() -> Harness {
    let topic = servers::unique("transactions");
    let config = KafkaConfig::new(servers::kafka()).topics(TopicConfig::default().partitions(3));
    let names = TransactorConfig::default().positions(format!("{topic}-positions"));
    Harness {
        subscriber: Arc::new(KafkaSubscriber::new(&config, &topic, &topic, None).unwrap()),
        transactor: Arc::new(KafkaTransactor::new(&config, names).unwrap()),
        topic,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kafka_transactor_keeps_every_promise_of_a_transactor() {
    transactions(harness).await;
}
