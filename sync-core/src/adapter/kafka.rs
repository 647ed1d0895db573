//! The Kafka bus.
//!
//! In the order the data flows: [`KafkaPublisher`] writes with an idempotent, gapless producer, [`KafkaSubscriber`]
//! reads as a member of a consumer group; [`KafkaTransactor`] writes messages and the relay's position in one
//! transaction; [`check()`] and [`check_transactions()`] say beforehand whether they would work.
//!
//! What the guarantees rest on is not configurable: see `REFUSED` in `config/properties.rs`.

mod assignment;
mod check;
mod client;
mod config;
mod consumer;
mod delivery;
mod error;
mod known_partitions;
mod producing;
mod publisher;
mod record;
mod subscriber;
mod topic;
mod topics;
mod transactor;

pub use self::check::{TopicReport, TopicState, TransactionReport, check, check_transactions, retry_topics};
pub use self::config::{KafkaConfig, Sasl, SaslMechanism, Security, TopicConfig};
pub use self::publisher::KafkaPublisher;
pub use self::subscriber::KafkaSubscriber;
pub use self::topic::Topic;
pub use self::transactor::{KafkaTransactor, TransactorConfig};
