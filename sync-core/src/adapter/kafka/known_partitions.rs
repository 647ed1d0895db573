//! In which partitions brokers know a producer: its first message in any other goes ahead alone.
//!
//! A broker takes any sequence number from a producer it does not know. With two requests under way, one failing and
//! the other not, the second would be stored without the first: behind it, once the first is sent again. From a producer
//! it knows it takes none behind a gap. (Transactions need no such order: with a message that may be missing, they are
//! taken back.)

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Brokers forget a producer that wrote nothing for `producer.id.expiration.ms`, a day unless set.
const QUIET: Duration = Duration::from_secs(600);

/// When one producer last wrote to each partition.
#[derive(Debug, Default)]
pub(super) struct KnownPartitions(HashMap<String, HashMap<i32, Instant>>);

impl KnownPartitions {
    /// Whether brokers may not know the producer there.
    pub(super) fn may_be_new(&self, topic: &str, partition: i32, now: Instant) -> bool {
        let written = self.0.get(topic).and_then(|partitions| partitions.get(&partition));
        written.is_none_or(|written| now.saturating_duration_since(*written) >= QUIET)
    }

    /// It wrote there: what may be new only once that is stored.
    pub(super) fn wrote(&mut self, topic: &str, partition: i32, now: Instant) {
        match self.0.get_mut(topic) {
            Some(partitions) => drop(partitions.insert(partition, now)),
            None => drop(self.0.insert(topic.to_owned(), HashMap::from([(partition, now)]))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_new_until_something_is_stored_and_again_after_a_long_silence() {
        let (mut known, mut now) = (KnownPartitions::default(), Instant::now());
        assert!(known.may_be_new("t", 0, now));
        known.wrote("t", 0, now);
        assert!(known.may_be_new("t", 1, now) && known.may_be_new("u", 0, now));
        for _ in 0..3 {
            now += QUIET - Duration::from_secs(1);
            assert!(!known.may_be_new("t", 0, now));
            known.wrote("t", 0, now);
        }
        assert!(known.may_be_new("t", 0, now + QUIET));
    }
}
