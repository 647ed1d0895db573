//! What became of a message that could not be applied: what the retry topic, the dead letter and the note of it say. Pure.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::message::{Followed, Provenance, header};
use crate::error::{Error, Remedy};
use crate::event::{Header, Outgoing};
use crate::policy::{RetryPolicy, dead_letter_topic, retry_topic};
use crate::port::{DeadLetter, Partition};

/// A message that was not applied, although nothing is down.
#[derive(Debug)]
pub(super) struct Failure {
    /// Unless it has none that can be used.
    pub(super) key: Option<String>,
    pub(super) provenance: Provenance,
    pub(super) error: Error,
    /// Of a message without a key, what it held.
    pub(super) shown: Option<String>,
}

/// Where a failure goes.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is tried again after a while.
    Retry(Outgoing),
    /// It is set aside.
    Park(DeadLetter),
}

impl Failure {
    /// What is done about it: the failure was in `partition`, and `jitter` is a number in `[0, 1)` that makes a delay
    /// up to a fifth longer.
    pub(super) fn verdict(
        self,
        followed: Followed<'_>,
        partition: &Partition,
        policy: &RetryPolicy,
        now: Timestamp,
        jitter: f64,
    ) -> Verdict {
        let attempts = self.provenance.attempts.saturating_add(1);
        let delay = match self.error.remedy() {
            Remedy::TryLater => policy.delay(attempts),
            Remedy::Retry | Remedy::Park | Remedy::Halt => None,
        };
        let letter = DeadLetter {
            reader: followed.reader.to_owned(),
            origin: self.provenance.origin(partition),
            event: self.provenance.event,
            key: self.key,
            value: self.shown,
            error_kind: self.error.kind().name().to_owned(),
            error: self.error.to_string(),
            attempts,
            parked_at: now,
        };
        match delay {
            Some(delay) => Verdict::Retry(retry(followed.topic, &letter, delay, now, jitter)),
            None => Verdict::Park(letter),
        }
    }
}

fn retry(topic: &str, letter: &DeadLetter, delay: Duration, now: Timestamp, jitter: f64) -> Outgoing {
    let wait = delay.mul_f64(1.0 + 0.2 * jitter.clamp(0.0, 1.0));
    let due = now.as_millisecond().saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
    let mut headers = provenance(letter);
    headers.push((header::DUE.into(), due.to_string().into()));
    message(retry_topic(topic, delay), letter, headers)
}

/// The note of a letter that goes to the dead-letter topic.
pub(super) fn note(topic: &str, letter: &DeadLetter) -> Outgoing {
    message(dead_letter_topic(topic), letter, provenance(letter))
}

fn provenance(letter: &DeadLetter) -> Vec<Header> {
    let mut headers = vec![
        (header::READER.into(), letter.reader.clone().into()),
        (header::ATTEMPTS.into(), letter.attempts.to_string().into()),
        (header::ORIGIN_TOPIC.into(), letter.origin.topic.clone().into()),
        (header::ORIGIN_PARTITION.into(), letter.origin.partition.to_string().into()),
        (header::ORIGIN_OFFSET.into(), letter.origin.offset.to_string().into()),
        (header::ERROR_KIND.into(), letter.error_kind.clone().into()),
        (header::ERROR.into(), letter.error.chars().take(LONGEST_ERROR).collect::<String>().into()),
    ];
    headers.extend(letter.event.map(|event| (header::EVENT.into(), event.to_string().into())));
    headers
}

/// An error's words may quote what they are about. The topic takes only so much; the dead letter has all of them.
const LONGEST_ERROR: usize = 2_000;

/// The value says what a person wants to know; the row is read again anyway.
fn message(topic: String, letter: &DeadLetter, headers: Vec<Header>) -> Outgoing {
    let value = json!({ "key": letter.key, "attempts": letter.attempts, "error": letter.error_kind }).to_string();
    Outgoing { topic, key: letter.key.clone().unwrap_or_default(), value: Some(value), headers }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::port::Origin;

    fn failure(kind: ErrorKind, attempts: u32) -> Failure {
        let first = (attempts > 0).then(|| Origin { topic: "jobs".into(), partition: 1, offset: 5 });
        let provenance = Provenance { offset: 9, first, event: Some(77), attempts };
        Failure { key: Some("k".into()), provenance, error: Error::new(kind, "it went wrong"), shown: None }
    }

    fn verdict(failure: Failure) -> Verdict {
        let partition = Partition { topic: "jobs".into(), number: 3 };
        let now = Timestamp::from_millisecond(1_000_000).unwrap();
        failure.verdict(Followed { reader: "people", topic: "jobs" }, &partition, &RetryPolicy::default(), now, 0.5)
    }

    fn header<'a>(message: &'a Outgoing, name: &str) -> &'a str {
        &message.headers.iter().find(|(header, _)| header == name).unwrap().1
    }

    #[test]
    fn what_nobody_can_explain_is_tried_twice_more_and_then_parked() {
        let Verdict::Retry(message) = verdict(failure(ErrorKind::Unexplained, 0)) else { panic!("tried once") };
        assert_eq!((message.topic.as_str(), message.key.as_str()), ("jobs-retry-1000", "k"));
        assert_eq!((header(&message, "retry-attempts"), header(&message, "retry-due")), ("1", "1001100"));
        assert_eq!((header(&message, "origin-partition"), header(&message, "origin-offset")), ("3", "9"));
        assert_eq!((header(&message, "retry-reader"), header(&message, "id")), ("people", "77"));

        let Verdict::Retry(message) = verdict(failure(ErrorKind::Unexplained, 1)) else { panic!("tried twice") };
        assert_eq!((message.topic.as_str(), header(&message, "retry-attempts")), ("jobs-retry-2000", "2"));
        assert_eq!((header(&message, "origin-partition"), header(&message, "origin-offset")), ("1", "5"));

        let Verdict::Park(letter) = verdict(failure(ErrorKind::Unexplained, 2)) else { panic!("tried three times") };
        assert_eq!((letter.attempts, letter.error_kind.as_str()), (3, "unexplained"));
        assert_eq!(letter.origin, Origin { topic: "jobs".into(), partition: 1, offset: 5 });
        let noted = note("jobs", &letter);
        assert_eq!((noted.topic.as_str(), header(&noted, "error")), ("jobs-dlt", "it went wrong"));
    }

    #[test]
    fn what_will_never_be_taken_is_parked_at_once() {
        for kind in [ErrorKind::Refused, ErrorKind::TooLarge, ErrorKind::Contract] {
            let Verdict::Park(letter) = verdict(failure(kind, 0)) else { panic!("{kind:?} is tried again") };
            assert_eq!((letter.attempts, letter.reader.as_str()), (1, "people"));
        }
    }
}
