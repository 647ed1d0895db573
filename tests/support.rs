//! Servers, databases and pipelines for the tests.

pub mod pipeline;
pub mod postgres;
pub mod servers;
