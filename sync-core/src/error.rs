//! One error for every port: what went wrong, what was being done, and what to do about it.

use std::error::Error as StdError;

/// What the rooms do about an error. There will be no other: whoever matches on it decides for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Wait in place and try the same again, for as long as it takes. No attempt is counted.
    Retry,
    /// One event or document failed, and nobody knows why. Try it again later, a few times, then park it.
    TryLater,
    /// One event or document is at fault. It is parked as a dead letter.
    Park,
    /// Nothing gets better by trying: a person has to mend something first. Nothing is skipped meanwhile.
    Halt,
}

/// What went wrong, in the words of the engine. Only an adapter's `error.rs` translates a foreign error into one of
/// these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A system cannot be reached, is starting, is full, or did not answer in time. Whether a request was carried out
    /// is unknown.
    Unavailable,
    /// One index takes no writes for now (read-only, closed, out of disk).
    Blocked,
    /// The lease, or the partition, belongs to somebody else.
    Fenced,
    /// A request as a whole is larger than the other side takes; the same in smaller parts may pass.
    TooLarge,
    /// One event or document failed for a reason that is not known; the others beside it did not.
    Unexplained,
    /// One event or document is refused as it is. Or what somebody asks for is wrong, and asking again changes nothing: a
    /// query that cannot be read or asked, a cursor that is none, a host name that is none or is taken, a container that
    /// cannot run or is not there. Whoever answers HTTP can take it for the caller's fault.
    Refused,
    /// Credentials are wrong or a permission is missing.
    Denied,
    /// A setting is wrong, or something it names does not exist.
    Configuration,
    /// Data contradicts what this engine was promised: a key that is none, two rows for one key, an answer without what was
    /// asked for. Or the database, or the application in it, does not take what it is given: a value that a statement cannot
    /// read, a broken constraint, an exception that is raised, a saga that was begun with other params, a dead letter whose
    /// event is gone.
    Contract,
    /// The database is not the one the position was taken in (restored from a dump, another cluster).
    History,
    /// A bug: something that cannot happen did.
    Internal,
}

impl ErrorKind {
    /// What to do about it.
    #[must_use]
    pub const fn remedy(self) -> Remedy {
        match self {
            Self::Unavailable | Self::Blocked | Self::Fenced => Remedy::Retry,
            Self::Unexplained => Remedy::TryLater,
            Self::TooLarge | Self::Refused | Self::Contract => Remedy::Park,
            Self::Denied | Self::Configuration | Self::History | Self::Internal => Remedy::Halt,
        }
    }

    /// The word for it in logs and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Blocked => "blocked",
            Self::Fenced => "fenced",
            Self::TooLarge => "too_large",
            Self::Unexplained => "unexplained",
            Self::Refused => "refused",
            Self::Denied => "denied",
            Self::Configuration => "configuration",
            Self::Contract => "contract",
            Self::History => "history",
            Self::Internal => "internal",
        }
    }
}

/// An error of the engine: its kind, what was being done, and the cause.
///
/// Displays as one line that holds the cause's own words too, because it is logged once, where it is handled.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.told())]
pub struct Error {
    kind: ErrorKind,
    action: String,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error without a foreign cause. `action` is a sentence for a person: what failed, and how to mend it where
    /// that is known.
    #[must_use]
    pub fn new(kind: ErrorKind, action: impl Into<String>) -> Self {
        Self { kind, action: action.into(), source: None }
    }

    /// The same, with the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What went wrong.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What to do about it.
    #[must_use]
    pub const fn remedy(&self) -> Remedy {
        self.kind.remedy()
    }

    fn told(&self) -> String {
        let mut told = self.action.clone();
        let mut cause = self.source.as_deref().map(|source| source as &dyn StdError);
        while let Some(error) = cause {
            let said = error.to_string();
            // Many crates repeat their cause's words in their own; say them once.
            if !told.contains(&said) {
                told = format!("{told}: {said}");
            }
            cause = error.source();
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_the_words_of_its_cause_once() {
        let cause = std::io::Error::other("connection refused");
        let error = Error::new(ErrorKind::Unavailable, "postgres.url: cannot connect").with_source(cause);
        assert_eq!(error.to_string(), "postgres.url: cannot connect: connection refused");
        assert_eq!(error.remedy(), Remedy::Retry);
    }
}
