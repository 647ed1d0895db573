//! Everything that needs more than one room, or a real server. `scripts/test` brings the servers up.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test, a panic is the verdict")]
#![allow(unreachable_pub, reason = "the modules of one binary, each public to the others")]

mod chaos;
mod conformance;
mod property;
mod scenario;
mod support;
mod tidy;
