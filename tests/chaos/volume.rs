//! One transaction with more events than fit into memory.

use tokio::task::block_in_place;
use tokio::time::{Duration, Instant, sleep, timeout};

use super::topic::Topic;
use crate::support::domain::Domain;
use crate::support::pipeline::Way;
use crate::support::runner::{Deployment, Runner};
use crate::support::servers;

/// What the relay's process may take at its peak, in bytes: on a busy machine all it may hold is full, some eleven batches
/// of four megabytes. The events together are larger than that.
const MEMORY: u64 = 150_000_000;

/// How long a million events may take on a busy machine.
const BOUND: Duration = Duration::from_secs(600);

/// A committed transaction: its id, and that of its last event.
struct Written {
    xid: String,
    last: i64,
}

/// Commits `events` events in one transaction, two for each key.
async fn write_many(domain: &Domain, events: u64) -> Written {
    let keys = format!("array(select 'key-' || n from generate_series(1, {}) n)", events / 2);
    let emit = format!(
        "outbox.emit_many('{topic}', {keys}) + outbox.emit_many('{topic}', {keys}, 'DELETE')",
        topic = domain.topic
    );
    write(domain, &emit, events).await
}

/// Commits `events` events with payloads of ten kilobytes each, two for each key.
async fn write_large(domain: &Domain, events: u64) -> Written {
    let payload = "jsonb_build_object('text', repeat(md5(n::text), 320))";
    let emit = format!("count(outbox.emit('{}', 'key-' || n / 2, 'INDEX', {payload}))", domain.topic);
    write(domain, &format!("(select {emit} from generate_series(0, {} - 1) n)", events), events).await
}

async fn write(domain: &Domain, emit: &str, events: u64) -> Written {
    let row = domain.client.query_one(&format!("select pg_current_xact_id()::text, {emit}"), &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(1), i64::try_from(events).unwrap());
    Written { xid: row.get(0), last: domain.count("select max(id) from outbox.events").await }
}

/// Waits until the position is behind the transaction, or behind its last event.
async fn until_passed(domain: &Domain, written: &Written, runner: &mut Runner) {
    let sql = "select pg_visible_in_snapshot($1::text::xid8, lo::pg_snapshot) or last = $2
                 from outbox.subscriptions where name = 'search'";
    let passed = async {
        while !domain.client.query_opt(sql, &[&written.xid, &written.last]).await.unwrap().is_some_and(|row| row.get(0))
        {
            assert!(runner.is_alive(), "the relay ended by itself");
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(BOUND, passed).await.expect("the relay gets through it");
}

/// Of one partition: every key twice, the first event before the second.
fn assert_in_order(topic: &Topic) {
    let found = topic.read_partition(0);
    assert!(found.messages > 0);
    let keys: std::collections::BTreeSet<_> = found.events.values().collect();
    assert_eq!(found.events.len(), 2 * keys.len());
}

async fn in_little_memory(events: u64, write: impl AsyncFnOnce(&Domain, u64) -> Written) {
    let deployment = Deployment::new(Way::Kafka).await;
    let domain = &deployment.domain;
    let written = write(domain, events).await;
    let mut relay = deployment.runner("relay", "relay");
    let began = Instant::now();
    relay.start();
    until_passed(domain, &written, &mut relay).await;
    let memory = relay.memory();
    println!("{events} events in {:?}, with {memory:?}", began.elapsed());
    assert_eq!(relay.stop().await.code, Some(0));
    assert!(memory.peak < MEMORY, "{memory:?}");
    block_in_place(|| {
        let topic = Topic::new(&domain.topic);
        assert_eq!(topic.count(), events, "a relay that was not interrupted repeats nothing");
        assert_in_order(&topic);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn one_transaction_of_very_many_events_is_relayed_in_little_memory() {
    let events = if servers::scale() >= 5 { 1_000_000 } else { 200_000 };
    in_little_memory(events, write_many).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_transaction_of_large_events_is_relayed_in_little_memory() {
    in_little_memory(20_000 * servers::scale(), write_large).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_sixty_megabytes_are_parked_with_all_they_carry_in_little_memory() {
    let deployment = Deployment::new(Way::Kafka).await;
    let domain = &deployment.domain;
    let payload = "(select jsonb_agg(md5(m::text || n::text)) from generate_series(1, 1600000) m)";
    let emit = format!("count(outbox.emit('{}', 'key-' || n, 'INDEX', {payload}))", domain.topic);
    let written = write(domain, &format!("(select {emit} from generate_series(1, 6) n)"), 6).await;
    let mut relay = deployment.runner("relay", "relay");
    relay.start();
    until_passed(domain, &written, &mut relay).await;
    let memory = relay.memory();
    println!("6 events of sixty megabytes with {memory:?}");
    assert_eq!(relay.stop().await.code, Some(0));
    assert!(memory.peak < MEMORY, "{memory:?}");
    let kept = "select count(*) from outbox.dead_letters l join outbox.events e on e.id = l.event_id and e.payload::text = l.value";
    assert_eq!(domain.count(kept).await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_killed_inside_one_large_transaction_goes_on_where_it_was() {
    const KILLS: u64 = 4;
    const BATCH: u64 = 500;
    /// Read, being published, on their way, being recorded.
    const BATCHES_UNDER_WAY: u64 = 1 + 1 + 8 + 1;
    let events = 100_000 * servers::scale();
    let mut deployment = Deployment::new(Way::Kafka).await;
    deployment.set("relay.lease", "1s");
    deployment.set("relay.batch_events", BATCH);
    let domain = &deployment.domain;
    let written = write_many(domain, events).await;
    let mut relay = deployment.runner("relay", "relay");
    let topic = Topic::new(&domain.topic);
    for kill in 1..=KILLS {
        relay.start();
        relay.until_said("the relay holds the lease and reads", 1).await;
        let published = events * kill / (KILLS + 2);
        let going = async {
            while block_in_place(|| topic.count()) < published {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(BOUND, going).await.expect("each life gets further than the one before");
        relay.kill().await;
    }
    relay.start();
    until_passed(domain, &written, &mut relay).await;
    assert_eq!(relay.stop().await.code, Some(0));
    let found = block_in_place(|| topic.read());
    println!("{events} events, {} repeats after {KILLS} kills", found.repeats);
    assert_eq!(found.events.len() as u64, events, "every event is there");
    assert!(found.repeats <= KILLS * BATCHES_UNDER_WAY * BATCH, "{} events came again", found.repeats);
}
