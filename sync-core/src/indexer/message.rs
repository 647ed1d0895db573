//! What the indexer keeps of a message: what it is about, and where it came from. Pure.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::traces::Traced;
use crate::error::{Error, ErrorKind};
use crate::event::{written_at, written_at_attribute};
use crate::port::{Incoming, Origin, Partition};

/// Of a message nobody can tell the key of, this much of its value is kept, in bytes, for a person to look at.
const SHOWN: usize = 4 << 10;

/// Bytes of a key that can be a document's id. Longer ones would be refused, after having waited in memory.
const LONGEST_KEY: usize = 512;

/// Who reads, and what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Followed<'a> {
    /// The index, as its dead letters and retries name it.
    pub(super) reader: &'a str,
    /// The topic it follows; what it reads from another one is one of its retry topics.
    pub(super) topic: &'a str,
}

impl Followed<'_> {
    /// Whether messages of this partition wait there for another try.
    pub(super) fn is_retry(&self, partition: &Partition) -> bool {
        &*partition.topic != self.topic
    }
}

/// Headers of a message that waits for another try. Elsewhere they mean nothing: an application may have copied them.
pub(super) mod header {
    /// The event's id in the outbox.
    pub(in crate::indexer) const EVENT: &str = "id";
    /// The index whose try it is; others pass it by.
    pub(in crate::indexer) const READER: &str = "retry-reader";
    /// Tries made.
    pub(in crate::indexer) const ATTEMPTS: &str = "retry-attempts";
    /// When the next one is due, in milliseconds since 1970.
    pub(in crate::indexer) const DUE: &str = "retry-due";
    pub(in crate::indexer) const ORIGIN_TOPIC: &str = "origin-topic";
    pub(in crate::indexer) const ORIGIN_PARTITION: &str = "origin-partition";
    pub(in crate::indexer) const ORIGIN_OFFSET: &str = "origin-offset";
    pub(in crate::indexer) const ERROR_KIND: &str = "error-kind";
    pub(in crate::indexer) const ERROR: &str = "error";
}

/// A message, without what is not needed: values of any size wait nowhere.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) about: About,
    pub(super) provenance: Provenance,
    /// How long to wait before it is worked on.
    pub(super) wait: Duration,
    /// When its event was written, where that was looked for.
    pub(super) created_at: Option<Timestamp>,
    /// What is told of it in the end.
    pub(super) traced: Option<Traced>,
}

/// What a message is about.
#[derive(Debug)]
pub(super) enum About {
    /// This key.
    Key(String),
    /// Something another index has to do.
    Others,
    /// Nobody can tell.
    Nothing { error: Error, shown: Option<String> },
}

/// Where a message came from, and how often it was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Provenance {
    /// Where it is.
    pub(super) offset: i64,
    /// Where it was when it was tried for the first time, of a message that waited for another try.
    pub(super) first: Option<Origin>,
    pub(super) event: Option<i64>,
    /// Tries before this one.
    pub(super) attempts: u32,
}

impl Provenance {
    /// Where it came from first, when it is in `partition` now.
    pub(super) fn origin(&self, partition: &Partition) -> Origin {
        self.first.clone().unwrap_or_else(|| Origin {
            topic: partition.topic.to_string(),
            partition: partition.number,
            offset: self.offset,
        })
    }
}

impl Message {
    /// Reads a message as whoever follows the topic has to, at `now`. Nobody waits longer than `longest` for one.
    pub(super) fn read(message: &Incoming, followed: Followed<'_>, now: Timestamp, longest: Duration) -> Self {
        let text = |name: &str| {
            let header = message.headers.iter().find(|(header, _)| header == name);
            header.and_then(|(_, value)| std::str::from_utf8(value).ok())
        };
        let is_retry = followed.is_retry(&message.partition);
        let retry = |name: &str| text(name).filter(|_| is_retry);
        let is_others = retry(header::READER).is_some_and(|meant| meant != followed.reader);
        let about = if is_others { About::Others } else { about(message) };
        let origin = || {
            Some(Origin {
                topic: retry(header::ORIGIN_TOPIC).filter(|topic| may_be_a_topic(topic))?.to_owned(),
                partition: retry(header::ORIGIN_PARTITION)?.parse().ok()?,
                offset: retry(header::ORIGIN_OFFSET)?.parse().ok()?,
            })
        };
        let due = retry(header::DUE).and_then(|due| Timestamp::from_millisecond(due.parse().ok()?).ok());
        let wait = due.and_then(|due| Duration::try_from(due.duration_since(now)).ok()).unwrap_or_default();
        Self {
            about,
            provenance: Provenance {
                offset: message.offset,
                first: origin(),
                event: text(header::EVENT).and_then(|id| id.parse().ok()),
                attempts: retry(header::ATTEMPTS).and_then(|attempts| attempts.parse().ok()).unwrap_or_default(),
            },
            wait: wait.min(longest),
            created_at: None,
            traced: None,
        }
    }
}

/// When its event was written, where that can be told.
pub(super) fn created_at(message: &Incoming, now: Timestamp) -> Option<Timestamp> {
    let attribute = message.headers.iter().find(|(name, _)| name == "ce_time");
    let attribute = attribute.and_then(|(_, value)| written_at_attribute(value, now));
    attribute.or_else(|| message.value.as_deref().and_then(|value| written_at(value, now)))
}

/// What a stranger wrote there is stored with a dead letter, and must be something that can be stored.
fn may_be_a_topic(name: &str) -> bool {
    (1..=249).contains(&name.len()) && !name.contains(char::is_control)
}

fn about(message: &Incoming) -> About {
    let nothing = |what: &str| {
        let place = format!("the message at {} offset {}", message.partition, message.offset);
        let shown = message.value.as_ref().map(shorten);
        About::Nothing { error: Error::new(ErrorKind::Refused, format!("{place} {what}")), shown }
    };
    let Some(key) = &message.key else {
        return nothing("has no key, so nobody can tell what it is about");
    };
    match std::str::from_utf8(key) {
        Ok("") => nothing("has an empty key"),
        Ok(key) if key.len() > LONGEST_KEY => {
            let begins: String = key.chars().take(50).collect();
            let length = key.len();
            nothing(&format!("has a key of {length} bytes, {begins:?}…, and no index takes more than {LONGEST_KEY}"))
        }
        Ok(key) => About::Key(key.to_owned()),
        Err(_) => nothing("has a key that is not UTF-8 text"),
    }
}

fn shorten(value: &Bytes) -> String {
    String::from_utf8_lossy(&value[..value.len().min(SHOWN)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(10);
    const FOLLOWED: Followed<'_> = Followed { reader: "jobs", topic: "jobs" };

    fn incoming(key: Option<&'static str>, headers: &[(&str, &str)]) -> Incoming {
        Incoming {
            partition: Partition { topic: "jobs-retry-1000".into(), number: 2 },
            offset: 7,
            key: key.map(Into::into),
            value: Some("value".into()),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned().into())).collect(),
        }
    }

    fn read(message: &Incoming) -> Message {
        Message::read(message, FOLLOWED, Timestamp::from_millisecond(1_000_000).unwrap(), LONGEST)
    }

    #[test]
    fn a_plain_message_comes_from_where_it_is_and_is_due_at_once() {
        let message = read(&incoming(Some("k"), &[("id", "42")]));
        assert!(matches!(&message.about, About::Key(key) if key == "k"));
        assert_eq!(message.provenance, Provenance { offset: 7, first: None, event: Some(42), attempts: 0 });
        let here = Partition { topic: "jobs-retry-1000".into(), number: 2 };
        let origin = Origin { topic: "jobs-retry-1000".into(), partition: 2, offset: 7 };
        assert_eq!(message.provenance.origin(&here), origin);
        assert_eq!(message.wait, Duration::ZERO);
    }

    #[test]
    fn a_retry_says_where_it_came_from_and_when_it_is_due() {
        let headers = [
            ("retry-reader", "jobs"),
            ("retry-attempts", "2"),
            ("retry-due", "1001500"),
            ("origin-topic", "jobs"),
            ("origin-partition", "3"),
            ("origin-offset", "99"),
        ];
        let message = read(&incoming(Some("k"), &headers));
        let origin = Origin { topic: "jobs".into(), partition: 3, offset: 99 };
        assert_eq!(message.provenance, Provenance { offset: 7, first: Some(origin), event: None, attempts: 2 });
        assert_eq!(message.wait, Duration::from_millis(1_500));
    }

    #[test]
    fn headers_of_a_retry_mean_nothing_in_the_topic_itself() {
        let headers = [
            ("retry-reader", "people"),
            ("retry-attempts", "2"),
            ("retry-due", "1001500"),
            ("origin-topic", "jobs"),
            ("origin-partition", "3"),
            ("origin-offset", "99"),
        ];
        let partition = Partition { topic: "jobs".into(), number: 2 };
        let message = read(&Incoming { partition, ..incoming(Some("k"), &headers) });
        assert!(matches!(&message.about, About::Key(key) if key == "k"));
        assert_eq!(message.provenance, Provenance { offset: 7, first: None, event: None, attempts: 0 });
        assert_eq!(message.wait, Duration::ZERO);
    }

    #[test]
    fn an_origin_that_could_not_be_stored_is_left_out() {
        for topic in ["", "a\0b", &"x".repeat(250)] {
            let headers = [("origin-topic", topic), ("origin-partition", "0"), ("origin-offset", "0")];
            assert_eq!(read(&incoming(None, &headers)).provenance.first, None);
        }
    }

    #[test]
    fn a_key_no_index_takes_is_not_kept() {
        let key: &'static str = Box::leak("x".repeat(513).into_boxed_str());
        let About::Nothing { error, .. } = read(&incoming(Some(key), &[])).about else { panic!("it is too long") };
        assert!(error.to_string().contains("513 bytes") && error.to_string().len() < 300, "{error}");
        assert!(matches!(read(&incoming(Some(&key[1..]), &[])).about, About::Key(_)));
    }

    #[test]
    fn a_retry_of_another_index_is_passed_by() {
        assert!(matches!(read(&incoming(Some("k"), &[("retry-reader", "people")])).about, About::Others));
    }

    #[test]
    fn nothing_a_stranger_writes_makes_it_wait_for_ever_or_fail() {
        for due in ["999999999999999", "-1", "", "soon", "99999999999999999999999"] {
            let message = read(&incoming(Some("k"), &[("retry-due", due), ("retry-attempts", "x"), ("id", "x")]));
            assert!(message.wait <= LONGEST, "{due}");
            assert_eq!((message.provenance.attempts, message.provenance.event), (0, None));
        }
    }

    #[test]
    fn when_its_event_was_written_is_said_by_an_attribute_or_the_value_and_believed_of_these_days_alone() {
        let now = Timestamp::now();
        let told = |time: &str, value: String| {
            let message = incoming(Some("k"), &[("ce_time", time)]);
            created_at(&Incoming { value: Some(value.into()), ..message }, now)
        };
        assert_eq!(told(&now.to_string(), "{}".to_owned()), Some(now));
        let standard = format!(r#"{{"timestamp":"{now}"}}"#);
        for wrong in ["", "soon", "1970-01-01T00:00:00Z", "9999-01-01T00:00:00Z"] {
            assert_eq!(told(wrong, standard.clone()), Some(now), "{wrong}");
            assert_eq!(told(wrong, "{}".to_owned()), None, "{wrong}");
        }
    }

    #[test]
    fn a_message_about_nothing_says_where_it_is_and_what_it_held() {
        for key in [None, Some("")] {
            let About::Nothing { error, shown } = read(&incoming(key, &[])).about else { panic!("it has no key") };
            assert!(error.to_string().contains("jobs-retry-1000/2 offset 7 has"), "{error}");
            assert_eq!(shown.as_deref(), Some("value"));
        }
        let large = Incoming { value: Some(vec![0xff; 10_000].into()), ..incoming(None, &[]) };
        let About::Nothing { shown, .. } = read(&large).about else { panic!("it has no key") };
        assert!(shown.is_some_and(|shown| shown.len() <= 3 * SHOWN));
    }
}
