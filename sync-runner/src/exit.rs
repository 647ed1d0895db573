//! How the process ends, and the words for it when nobody has said them yet.

use std::fmt;
use std::process::ExitCode;

use sync_core::{Error, ErrorKind};

use crate::config::Problems;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Done.
    Success,
    /// Something failed at run time: 1.
    Failed,
    /// Something is wrong with the configuration, credentials included: 2.
    Configuration,
}

impl Exit {
    /// How a process ends that met an error of this kind.
    pub(crate) const fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Configuration | ErrorKind::Denied => Self::Configuration,
            ErrorKind::Unavailable
            | ErrorKind::Blocked
            | ErrorKind::Fenced
            | ErrorKind::TooLarge
            | ErrorKind::Unexplained
            | ErrorKind::Refused
            | ErrorKind::Contract
            | ErrorKind::History
            | ErrorKind::Internal
            | _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Success => Self::SUCCESS,
            Exit::Failed => Self::FAILURE,
            Exit::Configuration => Self::from(2),
        }
    }
}

/// Why a command could not do what it was asked, not yet told to anybody.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The configuration was refused.
    Configuration(Problems),
    /// The engine said no.
    Engine(Error),
}

impl Failure {
    /// How the process ends by it.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Configuration(_) => Exit::Configuration,
            Self::Engine(error) => Exit::of(error.kind()),
        }
    }

    /// The failure as an object for scripts.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Configuration(problems) => {
                serde_json::json!({ "error": { "kind": "configuration", "message": problems.to_string(),
                                               "problems": problems.problems } })
            }
            Self::Engine(error) => {
                serde_json::json!({ "error": { "kind": error.kind().name(), "message": error.to_string() } })
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(problems) => problems.fmt(f),
            Self::Engine(error) => error.fmt(f),
        }
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Configuration(problems)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_credentials_end_like_any_other_wrong_setting() {
        assert_eq!(Exit::of(ErrorKind::Denied), Exit::Configuration);
        assert_eq!(Exit::of(ErrorKind::Unavailable), Exit::Failed);
    }
}
