//! Processes killed at random moments, servers out of reach, more at once than fits into memory, and all together.

mod backlog;
mod campaign;
mod exactly_once;
mod failover;
mod kill;
mod outage;
mod reindex;
mod replicas;
mod search;
mod shutdown;
mod topic;
mod volume;
mod workspaces;
mod writers;
