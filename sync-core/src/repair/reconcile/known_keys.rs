//! Keys the database has, remembered while it is scanned: a document of one of them is nobody's orphan.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Keys that are remembered, eight bytes each; of further ones the database is asked again.
const MOST: usize = 1 << 24;

/// Digests of keys. An orphan shares one with ten million keys with a chance of one in 10^12. It is then passed over, and
/// found by the next run, whose digests are others.
#[derive(Debug, Default)]
pub(super) struct KnownKeys {
    digests: Mutex<Vec<u64>>,
    hasher: RandomState,
}

impl KnownKeys {
    pub(super) fn add<'a>(&self, keys: impl Iterator<Item = &'a str>) {
        let mut digests = self.lock();
        let room = MOST.saturating_sub(digests.len());
        digests.extend(keys.take(room).map(|key| self.hasher.hash_one(key)));
    }

    /// From now on it is asked.
    pub(super) fn sort(&self) {
        self.lock().sort_unstable();
    }

    /// Leaves out those that were seen, once it is sorted.
    pub(super) fn unknown(&self, mut keys: Vec<String>) -> Vec<String> {
        let digests = self.lock();
        keys.retain(|key| digests.binary_search(&self.hasher.hash_one(key)).is_err());
        keys
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u64>> {
        self.digests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_left_out_and_nothing_else() {
        let known = KnownKeys::default();
        known.add(["c", "a"].into_iter());
        known.add(["b"].into_iter());
        known.sort();
        assert_eq!(known.unknown(["a", "d", "b", "e", "c"].map(str::to_owned).into()), ["d", "e"]);
    }
}
