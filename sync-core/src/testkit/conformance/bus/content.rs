//! What is in a message, and what is not.

use bytes::Bytes;

use super::Harness;
use super::member::Member;
use crate::event::{Header, Outgoing};

pub(super) async fn key_value_and_headers_arrive_as_they_were_sent(harness: Harness) {
    let headers =
        [("id", "7"), ("traceparent", "00-1-2-01"), ("größe", "größer \u{1F980}"), ("id", "again"), ("empty", "")];
    let headers: Vec<_> = headers.map(|(name, value)| (name.into(), value.into())).into();
    let of = |key: &str, value: Option<&str>, headers: &[Header]| Outgoing {
        topic: harness.topic.clone(),
        key: key.to_owned(),
        value: value.map(str::to_owned),
        headers: headers.to_vec(),
    };
    let long = "x".repeat(100_000);
    // One key, so that they come in this order.
    let sent = [
        of("größe \u{1F980}", Some(r#"{"key":"größe","action":"INDEX"}"#), &headers),
        of("größe \u{1F980}", Some(&long), &[]),
        of("größe \u{1F980}", Some(""), &headers),
        of("größe \u{1F980}", None, &headers),
        of("größe \u{1F980}", Some("line\nbreak\0"), &headers[..1]),
    ];
    let mut member = Member::with_all(&*harness.subscriber, harness.partitions).await;
    drop(harness.publisher.publish(sent.to_vec()).await.unwrap());
    member.see(sent.len()).await;
    for (sent, seen) in sent.iter().zip(&member.seen) {
        assert_eq!(*seen.partition.topic, *harness.topic);
        assert_eq!(seen.key.as_deref(), Some(sent.key.as_bytes()));
        assert_eq!(seen.value.as_deref(), sent.value.as_deref().map(str::as_bytes));
        let header = |(name, value): &Header| (name.to_string(), Bytes::copy_from_slice(value.as_bytes()));
        let expected: Vec<_> = sent.headers.iter().map(header).collect();
        assert_eq!(seen.headers, expected);
    }
    member.close().await;
}

pub(super) async fn a_message_may_lack_key_and_value(harness: Harness) {
    let Some(stranger) = &harness.stranger else { return };
    let mut member = Member::with_all(&*harness.subscriber, harness.partitions).await;
    stranger.write(None, vec![("reason".into(), "tombstone".into())]).await;
    member.see(1).await;
    stranger.write(Some("text".into()), vec![]).await;
    member.see(2).await;
    let [bare, keyless] = &member.seen[..] else { unreachable!() };
    assert_eq!((&bare.key, &bare.value), (&None, &None));
    assert_eq!(bare.headers, [("reason".to_owned(), Bytes::from("tombstone"))]);
    assert_eq!((&keyless.key, keyless.value.as_deref()), (&None, Some(&b"text"[..])));
    assert_eq!(keyless.headers, []);
    member.close().await;
}
