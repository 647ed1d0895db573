//! The pure parts every event passes: encoding a message, putting offsets back in order, choosing a partition.
//!
//! `cargo bench --workspace --all-features`

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sync_core::adapter::partition_for;
use sync_core::indexer::settle::Settle;
use sync_core::{Action, Event};

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

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(EVENTS));
    let events: Vec<_> = (0..EVENTS.cast_signed()).map(event).collect();
    group.bench_function("standard value and headers", |bencher| {
        let encode = |events: Vec<Event>| -> Vec<_> { events.into_iter().map(|event| event.into_message(1)).collect() };
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

criterion_group!(hot, encode, partition, settle);
criterion_main!(hot);
