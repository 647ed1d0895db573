//! What people use instead, configured for throughput.

pub(crate) mod poller;
