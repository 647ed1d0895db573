//! Processes killed at random moments, servers out of reach, and more at once than fits into memory.

mod backlog;
mod exactly_once;
mod failover;
mod kill;
mod outage;
mod shutdown;
mod topic;
mod volume;
mod writers;
