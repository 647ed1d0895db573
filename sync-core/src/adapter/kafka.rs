//! The Kafka bus.
//!
//! In the order the data flows: [`KafkaPublisher`] writes with an idempotent, gapless producer, [`KafkaSubscriber`]
//! reads as a member of a consumer group; [`check()`] says beforehand whether both would work.
//!
//! What the guarantees rest on is not configurable: see `REFUSED` in `config/properties.rs`.

mod assignment;
mod check;
mod client;
mod config;
mod consumer;
mod delivery;
mod error;
mod publisher;
mod record;
mod subscriber;
mod topics;

pub use self::check::{TopicReport, TopicState, check};
pub use self::config::{KafkaConfig, Sasl, SaslMechanism, Security, TopicConfig};
pub use self::publisher::KafkaPublisher;
pub use self::subscriber::KafkaSubscriber;
pub use crate::adapter::partition::partition_for;
