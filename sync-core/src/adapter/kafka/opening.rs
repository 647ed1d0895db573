//! Which messages go ahead alone: the first of a producer in each partition.
//!
//! A broker takes any sequence number from a producer it does not know. With two requests under way, one failing and
//! the other not, the second would be stored without the first: behind it, once the first is sent again. From a producer
//! it knows it takes none behind a gap.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Brokers forget a producer that wrote nothing for `producer.id.expiration.ms`, a day unless set.
const QUIET: Duration = Duration::from_secs(600);

/// When one producer last wrote to each partition.
#[derive(Debug, Default)]
pub(super) struct Opening(HashMap<String, HashMap<i32, Instant>>);

impl Opening {
    /// Whether brokers may not know the producer there. It counts as known only by [`note`](Self::note).
    pub(super) fn is_first(&mut self, topic: &str, partition: i32, now: Instant) -> bool {
        let Some(written) = self.0.get_mut(topic).and_then(|partitions| partitions.get_mut(&partition)) else {
            return true;
        };
        if now.saturating_duration_since(*written) >= QUIET {
            return true;
        }
        *written = now;
        false
    }

    /// A message is stored there.
    pub(super) fn note(&mut self, topic: &str, partition: i32, now: Instant) {
        self.0.entry(topic.to_owned()).or_default().insert(partition, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_goes_ahead_alone_until_one_is_stored_and_again_after_a_long_silence() {
        let (mut opening, mut now) = (Opening::default(), Instant::now());
        assert!(opening.is_first("t", 0, now) && opening.is_first("t", 0, now));
        opening.note("t", 0, now);
        assert!(opening.is_first("t", 1, now) && opening.is_first("u", 0, now));
        for _ in 0..3 {
            now += QUIET - Duration::from_secs(1);
            assert!(!opening.is_first("t", 0, now));
        }
        now += QUIET;
        assert!(opening.is_first("t", 0, now) && opening.is_first("t", 0, now));
    }
}
