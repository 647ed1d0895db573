//! Each port's promises, kept by the adapters of real servers.

mod debezium;
mod docker;
mod elasticsearch_sink;
mod host_names;
mod kafka_bus;
mod kafka_transactor;
mod local_index;
mod postgres;
mod searchers;
