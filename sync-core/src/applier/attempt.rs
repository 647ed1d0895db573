//! What became of some keys in one try.

use crate::error::{Error, ErrorKind, Remedy};
use crate::port::{Outcome, Write};

/// What became of some keys in one try.
#[derive(Debug, Default)]
pub(crate) struct Attempt {
    /// What the sink said of the writes.
    pub(crate) written: Written,
    /// How many documents the index has now.
    pub(crate) taken: u64,
    /// By their own fault, each with its reason.
    pub(crate) failed: Vec<(String, Error)>,
    /// Taken, and not noted at the source.
    pub(crate) unnoted: Vec<String>,
    /// Not by their own fault: they are to be tried again.
    pub(crate) waiting: Vec<String>,
    /// Why they wait.
    pub(crate) error: Option<Error>,
}

/// Writes, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Documents the index took.
    pub(crate) applied: u64,
    /// Deletes the index took.
    pub(crate) deleted: u64,
    /// Writes that were not newer than what the index had.
    pub(crate) stale: u64,
}

impl Written {
    pub(crate) fn add(&mut self, other: Self) {
        let Self { applied, deleted, stale } = other;
        self.applied += applied;
        self.deleted += deleted;
        self.stale += stale;
    }
}

impl Attempt {
    /// What became of the rest of the keys.
    pub(super) fn add(&mut self, other: Self) {
        self.written.add(other.written);
        self.failed.extend(other.failed);
        if let Some(error) = other.error {
            self.wait(other.waiting, error);
        }
    }

    pub(super) fn count(&mut self, writes: Vec<Write>, outcomes: Vec<Outcome>) {
        for (write, outcome) in writes.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Applied if write.document.is_some() => self.written.applied += 1,
                Outcome::Applied => self.written.deleted += 1,
                Outcome::Stale => self.written.stale += 1,
                Outcome::Failed(error) => self.judge(vec![write.key], error),
            }
        }
    }

    /// A call failed for these keys: is it the fault of the one key that was in it?
    pub(super) fn judge(&mut self, mut keys: Vec<String>, error: Error) {
        match (error.remedy(), keys.pop()) {
            (Remedy::TryLater | Remedy::Park, Some(key)) if keys.is_empty() => self.failed.push((key, error)),
            (Remedy::Retry | Remedy::TryLater | Remedy::Park | Remedy::Halt, last) => {
                self.wait(keys.into_iter().chain(last), error);
            }
        }
    }

    /// Of several reasons, one that a person has to mend is kept.
    pub(super) fn wait(&mut self, keys: impl IntoIterator<Item = String>, error: Error) {
        self.waiting.extend(keys);
        let graver = self.error.as_ref().is_none_or(|earlier| earlier.remedy() == Remedy::Retry);
        if graver {
            self.error = Some(error);
        }
    }
}

/// What to tell when nothing of a batch was taken.
pub(crate) fn alike(failed: &[(String, Error)]) -> Error {
    let count = failed.len();
    let first = failed.first().map(|(key, error)| format!("key {key:?}: {error}")).unwrap_or_default();
    let what = format!(
        "all {count} keys of a batch failed, which looks like a wrong mapping or projection rather than like bad \
         documents; mend it, and it goes on (indexer.suspicious says from how many on this is suspected). The first was {first}"
    );
    Error::new(ErrorKind::Configuration, what)
}
