//! Promises of the binary, kept by running it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod admin;
mod alerts;
mod backfill;
mod blocks;
mod configuration;
mod dead_letters;
mod embedded;
mod guides;
mod http;
mod outage;
mod page;
mod privileges;
mod reconcile;
mod reindex;
mod replay;
mod retention;
mod runner;
mod search;
mod secrets;
mod servers;
mod snippets;
mod traces;
mod workspace;
