//! Who a process is.

use jiff::Timestamp;
use serde::Serialize;

use crate::cli::RoleName;

/// Who a process is.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Process {
    /// As leases name it.
    pub(crate) name: String,
    /// Of the program.
    pub(crate) version: &'static str,
    /// What it does.
    pub(crate) roles: Vec<&'static str>,
    /// Since when.
    pub(crate) started_at: Timestamp,
}

impl Process {
    /// This one, with these roles.
    pub(crate) fn new(name: &str, roles: &[RoleName]) -> Self {
        let roles = roles.iter().map(|role| role.name()).collect();
        Self { name: name.to_owned(), version: env!("CARGO_PKG_VERSION"), roles, started_at: Timestamp::now() }
    }

    /// Whether it has this role.
    pub(crate) fn has(&self, role: RoleName) -> bool {
        self.roles.contains(&role.name())
    }
}
