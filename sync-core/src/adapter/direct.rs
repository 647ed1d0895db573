//! The direct bus: no broker at all, relay and indexer in one process, the outbox as the durable log.
//!
//! ```text
//!  publish ──▶ virtual partitions, by key, bounded ──▶ poll
//!     acknowledgement ◀────────────────────────────── commit
//! ```
//!
//! Nothing is stored: a batch is acknowledged once the consumer has committed past all its messages. When the consumer
//! goes away, what it had not committed is dropped and its acknowledgements fail with `Unavailable`; whoever published
//! it publishes it again.

mod bus;
mod consumer;
mod settlement;
mod topic;

pub use bus::{DirectBus, DirectSubscriber};
