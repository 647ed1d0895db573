//! What reads bytes from outside, as functions of the bytes that arrive, and what it may never do. The configuration is tried beside
//! its code, in the program.
//!
//! Fuzzers begin from the examples: one among the property tests, which only changes them, and the one of `scripts/fuzz`,
//! which sees what code its changes reach.

mod docker;
mod elasticsearch;
mod message;
mod mutate;
mod query;

use std::panic::{AssertUnwindSafe, catch_unwind};

use sync_core::testkit::HttpReply;

use self::mutate::mutated;

/// Something that reads bytes from outside.
#[derive(Clone, Copy, Debug)]
pub struct FuzzTarget {
    /// Its name.
    pub name: &'static str,
    /// What it reads when nobody means harm.
    pub examples: &'static [&'static str],
    /// What it reads when something is wrong, and has to refuse.
    pub refused: &'static [&'static str],
    /// Reads the bytes, says whether they are something it takes, and panics where it does not keep its promises.
    pub run: fn(&[u8]) -> bool,
}

impl FuzzTarget {
    /// What changes begin from.
    #[must_use]
    pub fn seeds(&self) -> Vec<&'static str> {
        [self.examples, self.refused].concat()
    }
}

/// All of them.
pub const TARGETS: [FuzzTarget; 10] = [
    message::TARGET,
    query::TARGET,
    query::CURSOR,
    query::MAPPING,
    query::TRACE_CONTEXT,
    elasticsearch::BULK,
    elasticsearch::DOCUMENT,
    elasticsearch::ANSWER,
    elasticsearch::SETUP,
    docker::TARGET,
];

/// Reads so many changed examples. Panics with the bytes that broke a promise.
pub fn try_changed<T>(name: &str, examples: &[&str], count: u64, run: impl Fn(&[u8]) -> T) {
    let begins = rand::random::<u64>();
    for seed in 0..count {
        let bytes = mutated(examples, begins.wrapping_add(seed));
        if catch_unwind(AssertUnwindSafe(|| run(&bytes))).is_err() {
            panic!("{name} does not stand \"{}\"", bytes.escape_ascii());
        }
    }
}

/// Runs what has to be waited for, on this thread. Time passes when nobody has anything else to do.
fn wait<T>(doing: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    match runtime {
        Ok(runtime) => runtime.block_on(doing),
        Err(error) => panic!("a runtime: {error}"),
    }
}

/// An answer over HTTP of these bytes: the first says with which status, the rest is the body. From `~` on the rest is the
/// whole answer, as no web server would give it.
fn http_reply(bytes: &[u8]) -> HttpReply {
    const STATUSES: [u16; 8] = [200, 201, 304, 400, 404, 409, 429, 500];
    let Some((first, body)) = bytes.split_first() else { return HttpReply::Raw(Vec::new()) };
    if *first >= b'~' {
        return HttpReply::Raw(body.to_vec());
    }
    let status = STATUSES[usize::from(*first) % STATUSES.len()];
    let mut reply =
        format!("HTTP/1.1 {status} Scripted\r\ncontent-type: application/json\r\nx-elastic-product: Elasticsearch\r\n")
            .into_bytes();
    reply.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    reply.extend_from_slice(body);
    HttpReply::Raw(reply)
}
