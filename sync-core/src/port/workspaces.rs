//! Whether workspaces are there, by the database.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::error::{Error, ErrorKind};

/// What the database says of a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkspaceState {
    /// It is there, or somebody works on it.
    Live,
    /// It has failed or was deleted, and nobody works on it.
    Gone,
    /// There is none. It may be one whose transaction has not committed yet.
    Missing,
}

/// What one look at the database saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Of each workspace that was asked for, in the same order.
    pub states: Vec<WorkspaceState>,
    /// All transactions below this number are over: what they did is seen.
    pub over_below: u64,
    /// Transactions from this number on had not begun to write when it was looked.
    pub unbegun_from: u64,
}

/// Tells which workspaces are there. It only looks: by several at once, again and again, and dropped half-way nothing happened.
#[async_trait]
pub trait Workspaces: Debug + Send + Sync + 'static {
    /// Looks at these workspaces, all at one moment. There may be none.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`, `Contract`. Whatever it is, nothing is known of any of them.
    async fn look(&self, workspaces: &[String]) -> Result<Sighting, Error>;

    /// Whether things may be made for this workspace: it is written, under exactly this id, and nobody has had it deleted.
    ///
    /// # Errors
    /// `Refused` when they may not; as for [`look`](Self::look).
    async fn check(&self, workspace: &str) -> Result<(), Error>;
}

/// Whether containers and files can be named after a workspace of this id.
///
/// # Errors
/// `Refused` when they cannot, saying what an id may hold.
pub fn check_workspace_id(workspace: &str) -> Result<(), Error> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if (1..=200).contains(&workspace.len()) && workspace.chars().all(is_fine) {
        return Ok(());
    }
    let what = format!(
        "{workspace:?} cannot be part of the name of a container or a file: letters, digits, `_`, `.` and `-`, 200 at most"
    );
    Err(Error::new(ErrorKind::Refused, what))
}
