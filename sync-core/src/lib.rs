//! Keeps a search index true to its database.
//!
//! ```text
//!  app transaction ──▶ outbox.events ──▶ relay ──▶ bus ──▶ indexer ──▶ index
//!    (same commit)      Source             │     Publisher     │ Projection: the current rows
//!                       windows between    │     Subscriber    ▼
//!                       two snapshots      └─ position       Sink: the newer version wins
//! ```
//!
//! In the order the data flows:
//!
//! - [`event`], [`version`], [`query`], [`error`]: what travels, the guard, what is searched for, and what goes wrong;
//! - [`port`]: what the rooms need of the world, as traits;
//! - [`policy`]: decisions without doing;
//! - [`relay`]: outbox → bus;
//! - `applier`: rows → index, for the two below;
//! - [`indexer`]: bus → index;
//! - [`repair`]: does the index agree with the database? And how one is made anew;
//! - [`search`]: index → whoever searches; the database when the index is away;
//! - [`alerts`]: dead letters, and how the pipeline stands → people;
//! - [`saga`]: work of several steps, done as a whole or taken back;
//! - [`workspace`]: containers with an address and a name, by sagas; what is left of them is cleaned up;
//! - `pipeline` (feature `postgres`): the rooms put together in one process, without a broker;
//! - [`telemetry`]: what the rooms tell of themselves;
//! - [`adapter`]: the world, behind features `postgres`, `kafka`, `elasticsearch`, `local-index`, `webhook`, `otlp`, `docker`;
//!   memory, direct, the log and a directory of hosts files always;
//! - `testkit` (feature): conformance suites, scripted faults, an oracle, for tests of rooms and adapters.
//!
//! Rooms know ports, never an adapter and never each other; `pipeline` alone knows both.
//!
//! What may change: versions follow semantic versioning, and before 1.0 a new minor version may break what a patch does not. A
//! setting more, a counter more, a kind of error more are no break: such structs and enums are `#[non_exhaustive]`, settings
//! are made by `new` or `default` and methods of their names. What others make, or handle as a whole, is exhaustive, so that a
//! compiler says what is missing: [`port`], [`query`], [`Event`], [`Outgoing`], [`Action`], [`Remedy`], how something ended, what
//! alerts are judged by, and what rooms are given to work with. Types of other crates are seen in this one's: those of tokio-util
//! (its `CancellationToken`), jiff, bytes, and, with their features, tokio-postgres and deadpool-postgres; a new major version of
//! one is a break, too. The schema `outbox` is reached by its functions;
//! its tables may change with any migration. Rust 1.92 is the oldest this is compiled with; a later one is asked for by a minor
//! version only.

#[macro_use]
mod setters;

pub mod adapter;
pub mod alerts;
mod applier;
pub mod error;
pub mod event;
pub mod indexer;
#[cfg(feature = "postgres")]
pub mod pipeline;
pub mod policy;
pub mod port;
pub mod query;
pub mod relay;
pub mod repair;
pub mod saga;
pub mod search;
pub mod telemetry;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod version;
pub mod workspace;

pub use error::{Error, ErrorKind, Remedy};
pub use event::{Action, Encoding, Event, Header, Outgoing};
pub use version::Version;

// What the README shows compiles.
#[cfg(all(doctest, feature = "elasticsearch", feature = "postgres"))]
#[doc = include_str!("../../README.md")]
struct ReadmeDoctests;
