//! Each port's promises, kept by the adapters of real servers.

mod elasticsearch_sink;
mod kafka_bus;
mod postgres;
