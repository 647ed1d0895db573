//! Which messages are worked on together. Pure.

use std::collections::HashMap;

use jiff::Timestamp;

use super::failure::Failure;
use super::message::{About, Message, Provenance};
use super::traces::Traced;
use crate::port::Partition;

/// Messages of one partition that are worked on together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) partition: Partition,
    /// The offset behind the last of them.
    pub(super) next: i64,
    /// How many messages.
    pub(super) messages: u64,
    /// When the last of them was written of which that was read.
    pub(super) created_at: Option<Timestamp>,
    /// Messages whose emitter is traced.
    pub(super) traced: Vec<Traced>,
    /// Each key once: a message is settled with its key's last one, because the row is read as it is now.
    pub(super) keys: HashMap<String, Provenance>,
    /// Messages about which nothing can be done.
    pub(super) poison: Vec<Failure>,
}

/// Makes one batch of these messages, which are in order; `None` of none.
pub(super) fn gather(partition: &Partition, messages: impl IntoIterator<Item = Message>) -> Option<Batch> {
    let mut batch: Option<Batch> = None;
    for Message { about, provenance, created_at, traced, .. } in messages {
        let batch = batch.get_or_insert_with(|| Batch {
            partition: partition.clone(),
            next: 0,
            messages: 0,
            created_at: None,
            traced: Vec::new(),
            keys: HashMap::new(),
            poison: Vec::new(),
        });
        batch.next = provenance.offset + 1;
        batch.messages += 1;
        batch.created_at = created_at.or(batch.created_at);
        batch.traced.extend(traced);
        match about {
            About::Key(key) => drop(batch.keys.insert(key, provenance)),
            About::Others => {}
            About::Nothing { error, shown } => batch.poison.push(Failure { key: None, provenance, error, shown }),
        }
    }
    batch
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::indexer::message::Followed;
    use crate::port::Incoming;

    fn batch(keys: &[Option<&'static str>]) -> Option<Batch> {
        let partition = Partition { topic: "jobs".into(), number: 0 };
        let message = |(offset, key): (usize, &Option<&'static str>)| Incoming {
            partition: partition.clone(),
            offset: offset as i64 * 10,
            key: key.map(|key| key.as_bytes().into()),
            value: None,
            headers: Vec::new(),
        };
        let read = |message| {
            Message::read(&message, Followed { reader: "jobs", topic: "jobs" }, Timestamp::UNIX_EPOCH, Duration::ZERO)
        };
        gather(&partition, keys.iter().enumerate().map(message).map(read))
    }

    #[test]
    fn a_key_that_changed_twice_is_read_once_and_settles_with_its_last_message() {
        let batch = batch(&[Some("a"), Some("b"), Some("a")]).unwrap();
        assert_eq!((batch.keys.len(), batch.messages, batch.next), (2, 3, 21));
        assert_eq!((batch.keys["a"].offset, batch.keys["b"].offset), (20, 10));
    }

    #[test]
    fn a_message_without_a_key_is_set_apart_from_those_around_it() {
        let batch = batch(&[Some("a"), None, Some("b")]).unwrap();
        assert_eq!((batch.keys.len(), batch.messages, batch.next), (2, 3, 21));
        let [poison] = &batch.poison[..] else { panic!("{:?}", batch.poison) };
        assert!(poison.error.to_string().contains("jobs/0 offset 10 has no key"), "{}", poison.error);
    }

    #[test]
    fn of_no_messages_there_is_no_batch() {
        assert!(batch(&[]).is_none());
    }
}
