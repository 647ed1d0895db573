//! What every [`Transactor`] promises.
#![allow(clippy::expect_used, reason = "a suite fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::error::{ErrorKind, Remedy};
use crate::event::Outgoing;
use crate::port::{Mark, Polled, Subscriber, Transactor};

const BOUND: Duration = Duration::from_secs(60);

/// A transactor, and a reader of what it commits.
#[derive(Debug)]
pub struct Harness {
    /// A topic nobody else writes to.
    pub topic: String,
    /// Leaves out what is not committed.
    pub subscriber: Arc<dyn Subscriber>,
    /// The transactor.
    pub transactor: Arc<dyn Transactor>,
}

/// Checks everything a transactor promises; `fresh` makes an empty topic, and names nobody used, for each check.
///
/// # Panics
/// When a promise is broken, saying which.
pub async fn transactions(fresh: impl AsyncFn() -> Harness) {
    messages_and_mark_are_stored_together_and_in_order(fresh().await).await;
    who_was_shut_out_publishes_nothing_that_is_ever_seen(fresh().await).await;
    every_name_has_a_mark_and_a_publisher_of_its_own(fresh().await).await;
    a_transaction_that_was_dropped_is_there_exactly_when_its_mark_is(fresh().await).await;
    what_can_never_be_stored_is_told_beforehand_and_the_rest_goes_on(fresh().await).await;
}

impl Harness {
    fn messages(&self, values: &[usize]) -> Vec<Outgoing> {
        let message = |value: &usize| Outgoing {
            topic: self.topic.clone(),
            key: format!("k{}", value % 5),
            value: Some(value.to_string()),
            headers: Vec::new(),
        };
        values.iter().map(message).collect()
    }

    fn name(&self, part: &str) -> String {
        format!("{}/{part}", self.topic)
    }

    /// What is committed, by key: up to the value `last` of each of the five keys, which must be there.
    async fn read_up_to(&self, lasts: &[usize]) -> BTreeMap<usize, Vec<usize>> {
        let mut consumer = self.subscriber.subscribe().await.expect("the bus is up");
        let mut seen: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let all = async {
            while !lasts.iter().all(|last| seen.get(&(last % 5)).is_some_and(|values| values.contains(last))) {
                if let Polled::Messages(messages) = consumer.poll().await.expect("the bus is up") {
                    for message in messages {
                        let value = message.value.and_then(|value| String::from_utf8(value.to_vec()).ok());
                        let value: usize = value.and_then(|value| value.parse().ok()).expect("a number");
                        seen.entry(value % 5).or_default().push(value);
                    }
                }
            }
        };
        timeout(BOUND, all).await.expect("what was committed can be read");
        seen
    }
}

fn mark(window: i64) -> Mark {
    Mark {
        window,
        token: format!("token {window}"),
        last: (window % 2 == 0).then_some(window),
        term: 3,
        epoch: 1,
        history: format!("history {window}"),
    }
}

async fn messages_and_mark_are_stored_together_and_in_order(harness: Harness) {
    let name = harness.name("one");
    let mut transactions = harness.transactor.begin(&name).await.expect("up");
    assert_eq!(transactions.mark().await.expect("up"), None, "there never was one");
    for round in 0..20 {
        let values: Vec<_> = (round * 10..round * 10 + 10).collect();
        let mark = mark(i64::try_from(round).expect("small"));
        transactions.publish(harness.messages(&values), &mark).await.expect("up");
        let again = if round % 7 == 0 { harness.transactor.begin(&name).await.expect("up") } else { transactions };
        transactions = again;
        assert_eq!(transactions.mark().await.expect("up"), Some(mark), "the newest");
    }
    let seen = harness.read_up_to(&[195, 196, 197, 198, 199]).await;
    for (key, values) in seen {
        assert_eq!(values, (0..200).filter(|value| value % 5 == key).collect::<Vec<_>>(), "once each, in order");
    }
}

async fn who_was_shut_out_publishes_nothing_that_is_ever_seen(harness: Harness) {
    let name = harness.name("one");
    let mut old = harness.transactor.begin(&name).await.expect("up");
    old.publish(harness.messages(&[0, 1, 2, 3, 4]), &mark(1)).await.expect("up");
    let mut new = harness.transactor.begin(&name).await.expect("up");
    let refused = old.publish(harness.messages(&[10, 11, 12, 13, 14]), &mark(2)).await;
    assert_eq!(refused.expect_err("it was shut out").kind(), ErrorKind::Fenced);
    assert_eq!(new.mark().await.expect("up"), Some(mark(1)), "the mark did not move");
    new.publish(harness.messages(&[20, 21, 22, 23, 24]), &mark(3)).await.expect("up");
    let seen = harness.read_up_to(&[20, 21, 22, 23, 24]).await;
    assert_eq!(seen.into_values().collect::<Vec<_>>(), (0..5).map(|key| vec![key, key + 20]).collect::<Vec<_>>());
}

async fn every_name_has_a_mark_and_a_publisher_of_its_own(harness: Harness) {
    let mut one = harness.transactor.begin(&harness.name("one")).await.expect("up");
    let mut two = harness.transactor.begin(&harness.name("two")).await.expect("up");
    one.publish(harness.messages(&[0]), &mark(1)).await.expect("two names do not shut each other out");
    two.publish(harness.messages(&[1]), &mark(2)).await.expect("up");
    one.publish(harness.messages(&[5]), &mark(3)).await.expect("up");
    assert_eq!(one.mark().await.expect("up"), Some(mark(3)));
    assert_eq!(two.mark().await.expect("up"), Some(mark(2)));
    harness.read_up_to(&[5, 1]).await;
}

async fn a_transaction_that_was_dropped_is_there_exactly_when_its_mark_is(harness: Harness) {
    let name = harness.name("one");
    let mut expected = Vec::new();
    for round in 0..8 {
        let mut transactions = harness.transactor.begin(&name).await.expect("up");
        let (values, mark) = (harness.messages(&[round * 5]), mark(i64::try_from(round).expect("small") + 1));
        {
            let mut publishing = std::pin::pin!(transactions.publish(values, &mark));
            for _ in 0..=round {
                if futures::poll!(&mut publishing).is_ready() {
                    break;
                }
                sleep(Duration::from_millis(2)).await;
            }
        }
        drop(transactions);
        let mut next = harness.transactor.begin(&name).await.expect("up");
        if next.mark().await.expect("up") == Some(mark) {
            expected.push(round * 5);
        }
    }
    let mut last = harness.transactor.begin(&name).await.expect("up");
    last.publish(harness.messages(&[1_000]), &mark(1_000)).await.expect("up");
    expected.push(1_000);
    assert_eq!(harness.read_up_to(&[1_000]).await.remove(&0), Some(expected), "all of it, or nothing");
}

/// More than any bus is made to take here.
const TOO_MANY_BYTES: usize = 2 << 20;

async fn what_can_never_be_stored_is_told_beforehand_and_the_rest_goes_on(harness: Harness) {
    let name = harness.name("one");
    let mut messages = harness.messages(&[0, 1, 2, 3, 4, 5]);
    // Not to be compressed to nothing, should anybody measure it so.
    let noise = std::iter::successors(Some(1_u64), |last| Some(last.wrapping_mul(6_364_136_223_846_793_005) | 1));
    let large: String =
        noise.flat_map(|number| format!("{number:016x}").into_bytes()).take(TOO_MANY_BYTES).map(char::from).collect();
    for place in [1, 4] {
        messages[place].value = Some(large.clone());
    }
    let told = async || {
        loop {
            // Some have to begin anew once they know a topic's limits.
            let mut transactions = harness.transactor.begin(&name).await.expect("up");
            match transactions.refusals(&messages).await {
                Ok(told) => return (transactions, told),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
            }
        }
    };
    let (mut transactions, refused) = timeout(BOUND, told()).await.expect("it is said in the end");
    let places: Vec<_> = refused.iter().map(|(place, error)| (*place, error.remedy())).collect();
    assert_eq!(places, [(1, Remedy::Park), (4, Remedy::Park)]);
    assert_eq!(transactions.refusals(&[]).await.expect("up").len(), 0, "it may be asked again");
    let rest = messages.iter().filter(|message| message.value.as_ref() != Some(&large)).cloned().collect();
    transactions.publish(rest, &mark(1)).await.expect("nothing failed");
    let refused = transactions.publish(messages, &mark(2)).await.expect_err("two are too large");
    assert_eq!(refused.remedy(), Remedy::Park, "{refused}");
    let mut last = harness.transactor.begin(&name).await.expect("up");
    assert_eq!(last.mark().await.expect("up"), Some(mark(1)), "nothing of it was stored");
    last.publish(harness.messages(&[10, 12, 13]), &mark(3)).await.expect("up");
    let seen = harness.read_up_to(&[10, 12, 13]).await;
    assert_eq!(seen.into_values().collect::<Vec<_>>(), [vec![0, 5, 10], vec![2, 12], vec![3, 13]]);
}
