//! Which messages are worked on together. Pure.

use std::collections::{HashSet, VecDeque};

use crate::error::{Error, ErrorKind};
use crate::port::{Incoming, Partition};

/// Messages of one partition that are worked on together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) partition: Partition,
    /// The offset behind the last of them.
    pub(super) next: i64,
    /// How many messages.
    pub(super) messages: u64,
    /// Each key once: a message is settled with its key's last one, because the row is read as it is now.
    pub(super) keys: Vec<String>,
    /// The first message is one nothing can be done about; it is alone in its batch.
    pub(super) poison: Option<Error>,
}

/// Takes up to `limit` messages from the front. A message without a usable key ends the batch before it, and makes a
/// batch of its own.
pub(super) fn take(partition: &Partition, buffer: &mut VecDeque<Incoming>, limit: usize) -> Option<Batch> {
    let first = buffer.front()?;
    if let Err(error) = key(first) {
        let next = first.offset + 1;
        buffer.pop_front();
        return Some(Batch { partition: partition.clone(), next, messages: 1, keys: Vec::new(), poison: Some(error) });
    }
    let mut batch =
        Batch { partition: partition.clone(), next: first.offset, messages: 0, keys: Vec::new(), poison: None };
    let mut seen = HashSet::new();
    while batch.messages < limit as u64
        && let Some(Ok(key)) = buffer.front().map(key)
        && let Some(message) = buffer.pop_front()
    {
        batch.next = message.offset + 1;
        batch.messages += 1;
        if seen.insert(key.clone()) {
            batch.keys.push(key);
        }
    }
    Some(batch)
}

fn key(message: &Incoming) -> Result<String, Error> {
    let refused = |what: &str| {
        Error::new(ErrorKind::Refused, format!("the message at {} offset {} {what}", message.partition, message.offset))
    };
    let bytes = message.key.as_ref().ok_or_else(|| refused("has no key, so nobody can tell what it is about"))?;
    let text = std::str::from_utf8(bytes).map_err(|_| refused("has a key that is not UTF-8 text"))?;
    if text.is_empty() {
        return Err(refused("has an empty key"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition() -> Partition {
        Partition { topic: "jobs".into(), number: 0 }
    }

    fn buffer(keys: &[Option<&'static str>]) -> VecDeque<Incoming> {
        let message = |(offset, key): (usize, &Option<&'static str>)| Incoming {
            partition: partition(),
            offset: offset as i64 * 10,
            key: key.map(|key| key.as_bytes().into()),
            value: None,
            headers: Vec::new(),
        };
        keys.iter().enumerate().map(message).collect()
    }

    #[test]
    fn a_key_that_changed_twice_is_read_once() {
        let mut buffer = buffer(&[Some("a"), Some("b"), Some("a"), Some("c")]);
        let batch = take(&partition(), &mut buffer, 3).unwrap();
        assert_eq!((batch.keys, batch.messages, batch.next), (vec!["a".to_owned(), "b".to_owned()], 3, 21));
        assert_eq!(buffer.len(), 1);
    }

    #[test]
    fn a_message_without_a_key_stands_alone_and_is_not_passed_over() {
        let mut buffer = buffer(&[Some("a"), None, Some("b")]);
        let before = take(&partition(), &mut buffer, 10).unwrap();
        assert_eq!((before.keys.len(), before.next, before.poison.is_none()), (1, 1, true));
        let poison = take(&partition(), &mut buffer, 10).unwrap();
        assert_eq!(poison.next, 11);
        assert!(poison.poison.unwrap().to_string().contains("jobs/0 offset 10 has no key"));
        assert_eq!(take(&partition(), &mut buffer, 10).unwrap().keys, ["b"]);
        assert!(take(&partition(), &mut buffer, 10).is_none());
    }
}
