//! The pure parts every event passes: reading a row's headers, encoding a message, choosing a partition, writing a bulk
//! and reading its answer, the version guard, putting offsets back in order.
//!
//! `cargo bench --workspace --all-features`

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sync_core::adapter::elasticsearch::{read_bulk, write_bulk};
use sync_core::adapter::partition_for;
use sync_core::adapter::postgres::read_headers;
use sync_core::indexer::Settle;
use sync_core::port::Write;
use sync_core::{Action, Encoding, Event, Version};

const EVENTS: u64 = 1_000;

fn event(id: i64) -> Event {
    Event {
        id,
        topic: "job-es-sync".to_owned(),
        key: format!("5f0c2c0e-6d0f-4b0e-9d55-{id:012}"),
        version: id,
        action: Action::Index,
        payload: None,
        headers: vec![("traceparent".to_owned(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned())],
        created_at: jiff::Timestamp::UNIX_EPOCH,
    }
}

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::Elements(EVENTS));
    let text = r#"{"tenant": "7", "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}"#;
    assert_eq!(read_headers(1, text).map(|headers| headers.len()).ok(), Some(2));
    group.bench_function("two headers of a row", |bencher| {
        bencher.iter(|| (0..EVENTS.cast_signed()).filter(|id| read_headers(*id, black_box(text)).is_ok()).count());
    });
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(EVENTS));
    let events: Vec<_> = (0..EVENTS.cast_signed()).map(event).collect();
    group.bench_function("standard value and headers", |bencher| {
        let encode = |events: Vec<Event>| -> Vec<_> {
            events.into_iter().map(|event| event.into_message(1, &Encoding::Standard)).collect()
        };
        bencher.iter_batched(|| events.clone(), encode, BatchSize::SmallInput);
    });
    group.finish();
}

fn partition(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("partition");
    group.throughput(Throughput::Elements(EVENTS));
    let keys: Vec<_> = (0..EVENTS.cast_signed()).map(|id| event(id).key).collect();
    group.bench_function("murmur2 of a uuid", |bencher| {
        bencher.iter(|| keys.iter().map(|key| partition_for(black_box(key.as_bytes()), 12)).sum::<i32>());
    });
    group.finish();
}

fn write(id: i64) -> Write {
    let Event { key, .. } = event(id);
    let document = format!(
        r#"{{"id": "{key}", "title": "Job number {id}", "description": "{}", "status": "RUNNING"}}"#,
        "some words about it ".repeat(10)
    );
    Write { key, version: Version::from_external(id.unsigned_abs()), document: Some(document) }
}

fn bulk(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bulk");
    group.throughput(Throughput::Elements(EVENTS));
    let writes: Vec<_> = (0..EVENTS.cast_signed()).map(write).collect();
    group.bench_function("body of documents of 300 bytes", |bencher| bencher.iter(|| write_bulk(black_box(&writes))));
    let items = vec![r#"{"index":{"status":201}}"#; writes.len()].join(",");
    let answer = Bytes::from(format!(r#"{{"items":[{items}]}}"#));
    assert_eq!(read_bulk(answer.clone(), &writes).map(|outcomes| outcomes.len()).ok(), Some(writes.len()));
    group.bench_function("answer in which all is well", |bencher| {
        bencher.iter(|| read_bulk(black_box(answer.clone()), &writes));
    });
    group.finish();
}

fn guard(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("guard");
    group.throughput(Throughput::Elements(EVENTS));
    group.bench_function("version made and compared", |bencher| {
        let newest = Version::from_external(EVENTS / 2);
        let is_newer = |id: &i64| Version::new(black_box(0), *id).is_ok_and(|version| version > newest);
        bencher.iter(|| (0..EVENTS.cast_signed()).filter(is_newer).count());
    });
    group.finish();
}

fn settle(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("settle");
    group.throughput(Throughput::Elements(EVENTS));
    group.bench_function("batches done out of order", |bencher| {
        bencher.iter(|| {
            let mut settle = Settle::default();
            for pair in 0..EVENTS.cast_signed() / 2 {
                settle.begin(2 * pair);
                settle.begin(2 * pair + 1);
                black_box(settle.done(2 * pair + 1));
                black_box(settle.done(2 * pair));
            }
        });
    });
    group.finish();
}

criterion_group!(hot, parse, encode, partition, bulk, guard, settle);
criterion_main!(hot);
