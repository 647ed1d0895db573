//! The version guard's number: which of two states of one key is newer.

use std::fmt;

use crate::error::{Error, ErrorKind};

/// Bits of a version that count changes; the bits above them hold the epoch.
const LOCAL_BITS: u32 = 48;

/// A version as the index compares it: `(epoch << 48) | local`.
///
/// `local` is the per-key logical clock of the outbox (`outbox.versions`), `epoch` grows each time the database's
/// history changes (a promotion, a restore), so that a version handed out twice by two histories is still ordered.
/// The whole number is at most `2^63 − 1`, the largest external version Elasticsearch takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// The largest epoch: with it the whole number is still a positive signed 64-bit integer.
    pub const MAX_EPOCH: i32 = (1 << 15) - 1;
    /// The largest local version.
    pub const MAX_LOCAL: i64 = (1 << LOCAL_BITS) - 1;

    /// Joins an epoch and a local version.
    ///
    /// # Errors
    /// [`ErrorKind::Contract`] when either is negative or too large.
    pub fn new(epoch: i32, local: i64) -> Result<Self, Error> {
        let (Ok(high), Ok(low)) = (u64::try_from(epoch), u64::try_from(local)) else {
            return Err(out_of_range(epoch, local));
        };
        if epoch > Self::MAX_EPOCH || local > Self::MAX_LOCAL {
            return Err(out_of_range(epoch, local));
        }
        Ok(Self((high << LOCAL_BITS) | low))
    }

    /// Takes a version as an index stored it.
    #[must_use]
    pub const fn from_external(number: u64) -> Self {
        Self(number)
    }

    /// The number an index compares.
    #[must_use]
    pub const fn external(self) -> u64 {
        self.0
    }

    /// The history this version belongs to.
    #[must_use]
    pub const fn epoch(self) -> u64 {
        self.0 >> LOCAL_BITS
    }

    /// The key's logical clock.
    #[must_use]
    pub const fn local(self) -> u64 {
        self.0 & ((1 << LOCAL_BITS) - 1)
    }
}

fn out_of_range(epoch: i32, local: i64) -> Error {
    Error::new(
        ErrorKind::Contract,
        format!(
            "version {local} in epoch {epoch} is out of range: versions are 0 to {}, epochs 0 to {}",
            Version::MAX_LOCAL,
            Version::MAX_EPOCH
        ),
    )
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch(), self.local())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_epoch_is_newer_than_any_version_of_an_earlier_one() {
        let old = Version::new(0, Version::MAX_LOCAL).unwrap();
        let new = Version::new(1, 0).unwrap();
        assert!(new > old);
        assert_eq!((new.epoch(), new.local()), (1, 0));
    }

    #[test]
    fn the_largest_version_is_one_elasticsearch_takes() {
        let largest = Version::new(Version::MAX_EPOCH, Version::MAX_LOCAL).unwrap();
        assert_eq!(largest.external(), i64::MAX as u64);
    }

    #[test]
    fn a_version_out_of_range_is_refused() {
        for (epoch, local) in [(-1, 0), (0, -1), (Version::MAX_EPOCH + 1, 0), (0, Version::MAX_LOCAL + 1)] {
            let error = Version::new(epoch, local).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Contract);
        }
    }
}
