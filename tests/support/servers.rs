//! Where the servers are. `scripts/test` starts them and says so in the environment.

use std::env;

fn address(variable: &str) -> String {
    env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run scripts/test, or eval \"$(scripts/stack env)\""))
}

/// A PostgreSQL URL of a role that may create databases.
pub fn postgres() -> String {
    address("SYNC__POSTGRES__URL")
}

/// Kafka's bootstrap servers.
pub fn kafka() -> String {
    address("SYNC__KAFKA__BROKERS")
}

/// Elasticsearch's URL.
pub fn elasticsearch() -> String {
    address("SYNC__ELASTICSEARCH__URL")
}

/// Where a Docker engine listens; `None` where none could be started, which takes root.
pub fn docker() -> Option<String> {
    let given = env::var("SYNC_STACK_DOCKER").ok().filter(|given| !given.is_empty());
    if given.is_none() {
        eprintln!("no Docker engine (SYNC_STACK_DOCKER is not set): skipped");
    }
    given
}

/// How much larger than the everyday size campaigns are.
pub fn scale() -> u64 {
    env::var("SYNC_TEST_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1)
}

/// A name nobody else has, usable as database, topic and index.
pub fn unique(what: &str) -> String {
    format!("{what}-{}", uuid::Uuid::now_v7().simple())
}
