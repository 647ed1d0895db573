//! HTTP: searches for users, and what operators want of a process.

mod admin;
mod answer;
mod metrics;
mod search;
mod server;

pub(crate) use self::admin::AdminServer;
pub(crate) use self::metrics::Metrics;
pub(crate) use self::search::{SearchServer, SearchedIndex};
