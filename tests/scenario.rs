//! What users do, and what goes wrong around them.

mod alerts;
mod bad_input;
mod dead_letters;
mod documents;
mod elasticsearch_answers;
mod embedded;
mod encodings;
mod examples;
mod indexer;
mod kafka_wire;
mod lease;
mod outbox_sql;
mod pipeline;
mod poison;
mod relay;
mod retries;
mod search;
mod silence;
mod tombstones;
mod watch;
mod windows;
mod workspaces;
