//! Each port's promises, kept by the adapters of real servers.

mod elasticsearch_sink;
mod kafka_bus;
mod kafka_transactor;
mod postgres;
mod searchers;
