//! What is wrong with a configuration: every problem at once, each with the key, where it was set and the mend.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// Where a value came from. A later one wins over an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// A line of the configuration file, from one.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A `--set` on the command line.
    Flag,
}

impl Origin {
    /// Whether both were set in the same place, so that neither wins over the other.
    pub(super) fn same_layer(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{} line {line}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag => f.write_str("--set"),
        }
    }
}

/// One thing that is wrong. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Problem {
    /// The key it is about; empty for the file as a whole.
    pub(crate) key: String,
    /// Where the value was set, in words.
    pub(crate) origin: Option<String>,
    /// What is wrong and how to mend it, key and origin included.
    pub(crate) message: String,
}

/// All that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Problems {
    /// At least one.
    pub(crate) problems: Vec<Problem>,
}

impl Problems {
    /// A single problem that belongs to no value.
    pub(crate) fn one(key: &str, message: impl Into<String>) -> Self {
        Self { problems: vec![Problem { key: key.to_owned(), origin: None, message: message.into() }] }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [one] => f.write_str(&one.message),
            many => {
                write!(f, "{} problems in the configuration", many.len())?;
                many.iter().try_for_each(|problem| write!(f, "\n  {}", problem.message))
            }
        }
    }
}

impl Error for Problems {}
