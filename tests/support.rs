//! Servers, databases, pipelines and runners for the tests.

pub mod broker;
pub mod certificates;
pub mod clock;
pub mod cluster;
pub mod connect;
pub mod disk;
pub mod domain;
pub mod engine;
pub mod index_proxy;
pub mod node;
pub mod pipeline;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod runner;
pub mod searched;
pub mod servers;
pub mod workplace;
