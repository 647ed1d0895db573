//! Random concurrent transactions on a real PostgreSQL: the outbox delivers exactly what was committed, per key in the
//! order of the commits.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use sync_core::adapter::postgres::{PostgresSource, SourceConfig};
use sync_core::port::{Feed, Source};
use tokio_postgres::Client;

use crate::support::postgres::{connect, database, fresh_outbox};
use crate::support::servers;

const SEEDS: u64 = 200;
const WRITERS: usize = 4;
const STEPS: usize = 60;
const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// One connection, and the transaction it may have open.
struct Writer {
    client: Client,
    open: Option<Open>,
}

/// What an open transaction would commit.
#[derive(Default)]
struct Open {
    /// Event id and key, in the order written.
    events: Vec<(i64, &'static str)>,
    /// How many events there were at each savepoint.
    savepoints: Vec<usize>,
    two_phase: bool,
}

/// A transaction prepared for two-phase commit, waiting for its verdict.
struct Prepared {
    name: String,
    events: Vec<(i64, &'static str)>,
}

struct World {
    random: StdRng,
    seed: u64,
    writers: Vec<Writer>,
    prepared: Vec<Prepared>,
    resolver: Client,
    /// Per key, the ids in the order their transactions committed.
    committed: BTreeMap<&'static str, Vec<i64>>,
    source: PostgresSource,
    feed: Feed,
    /// Per key, the ids in the order they were read.
    delivered: BTreeMap<String, Vec<i64>>,
}

impl World {
    /// Keys some open transaction holds: emitting another's would wait for it for ever.
    fn held(&self, except: usize) -> HashSet<&'static str> {
        let open = self.writers.iter().enumerate().filter(|(at, _)| *at != except).filter_map(|(_, w)| w.open.as_ref());
        let open = open.flat_map(|open| &open.events).map(|(_, key)| *key);
        open.chain(self.prepared.iter().flat_map(|prepared| &prepared.events).map(|(_, key)| *key)).collect()
    }

    async fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..55 => self.write().await,
            55..65 => self.savepoint().await,
            65..80 => self.end().await,
            80..84 => self.resolve().await,
            84..97 => self.read().await,
            _ => self.reopen().await,
        }
    }

    async fn write(&mut self) {
        let at = self.random.random_range(0..WRITERS);
        let held = self.held(at);
        let free: Vec<_> = KEYS.into_iter().filter(|key| !held.contains(key)).collect();
        let Some(&key) = free.choose(&mut self.random) else { return };
        let two_phase = self.random.random_bool(0.2);
        let writer = &mut self.writers[at];
        if writer.open.is_none() {
            writer.client.batch_execute("begin").await.unwrap();
            if two_phase {
                writer.client.batch_execute("set local outbox.wake = off").await.unwrap();
            }
            writer.open = Some(Open { two_phase, ..Open::default() });
        }
        writer.client.execute("select outbox.emit('jobs', $1)", &[&key]).await.unwrap();
        let id: i64 = writer
            .client
            .query_one("select max(id) from outbox.events where xid = pg_current_xact_id()", &[])
            .await
            .unwrap()
            .get(0);
        writer.open.as_mut().unwrap().events.push((id, key));
    }

    async fn savepoint(&mut self) {
        let at = self.random.random_range(0..WRITERS);
        let back = self.random.random_bool(0.5);
        let Writer { client, open: Some(open) } = &mut self.writers[at] else { return };
        match open.savepoints.pop() {
            Some(events) if back => {
                client.batch_execute(&format!("rollback to savepoint s{}", open.savepoints.len())).await.unwrap();
                client.batch_execute(&format!("release savepoint s{}", open.savepoints.len())).await.unwrap();
                open.events.truncate(events);
            }
            popped => {
                open.savepoints.extend(popped);
                client.batch_execute(&format!("savepoint s{}", open.savepoints.len())).await.unwrap();
                open.savepoints.push(open.events.len());
            }
        }
    }

    async fn end(&mut self) {
        let at = self.random.random_range(0..WRITERS);
        let (commit, number) = (self.random.random_bool(0.7), self.random.random::<u64>());
        let Writer { client, open } = &mut self.writers[at];
        let Some(open) = open.take() else { return };
        if open.two_phase {
            let name = format!("seed {} {number}", self.seed);
            client.batch_execute(&format!("prepare transaction '{name}'")).await.unwrap();
            self.prepared.push(Prepared { name, events: open.events });
        } else if commit {
            client.batch_execute("commit").await.unwrap();
            self.commit(open.events);
        } else {
            client.batch_execute("rollback").await.unwrap();
        }
    }

    async fn resolve(&mut self) {
        if self.prepared.is_empty() {
            return;
        }
        let at = self.random.random_range(0..self.prepared.len());
        let Prepared { name, events } = self.prepared.swap_remove(at);
        if self.random.random_bool(0.7) {
            self.resolver.batch_execute(&format!("commit prepared '{name}'")).await.unwrap();
            self.commit(events);
        } else {
            self.resolver.batch_execute(&format!("rollback prepared '{name}'")).await.unwrap();
        }
    }

    fn commit(&mut self, events: Vec<(i64, &'static str)>) {
        for (id, key) in events {
            self.committed.entry(key).or_default().push(id);
        }
    }

    /// Reads one batch as a relay does, and records it, or forgets to.
    async fn read(&mut self) {
        if let Some(batch) = self.feed.reader.next().await.unwrap() {
            for event in batch.events {
                self.delivered.entry(event.key).or_default().push(event.id);
            }
            if self.random.random_bool(0.7) {
                self.feed.cursor.advance(&batch.position).await.unwrap();
            }
        }
    }

    /// A crash of the relay: whatever was not recorded comes again.
    async fn reopen(&mut self) {
        self.feed = self.source.open().await.unwrap();
    }

    async fn finish(&mut self) {
        for at in 0..WRITERS {
            if let Some(open) = self.writers[at].open.take() {
                self.writers[at].client.batch_execute("commit").await.unwrap();
                self.commit(open.events);
            }
        }
        while !self.prepared.is_empty() {
            self.resolve().await;
        }
        while let Some(batch) = self.feed.reader.next().await.unwrap() {
            for event in batch.events {
                self.delivered.entry(event.key).or_default().push(event.id);
            }
            self.feed.cursor.advance(&batch.position).await.unwrap();
        }
    }

    fn check(&self) {
        let seed = self.seed;
        for (key, committed) in &self.committed {
            let mut seen = HashSet::new();
            let delivered = self.delivered.get(*key).map_or(&[][..], Vec::as_slice);
            let first: Vec<_> = delivered.iter().copied().filter(|id| seen.insert(*id)).collect();
            assert_eq!(&first, committed, "seed {seed}, key {key}: read {delivered:?}");
        }
        let keys: BTreeSet<_> = self.delivered.keys().map(String::as_str).collect();
        assert!(keys.iter().all(|key| self.committed.contains_key(key)), "seed {seed}: {keys:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_committed_events_are_delivered_per_key_in_the_order_of_commits() {
    let (resolver, url) = fresh_outbox().await;
    let mut resolver = Some(resolver);
    let mut delivered = 0;
    for seed in 0..SEEDS * servers::scale() {
        let mut random = StdRng::seed_from_u64(seed);
        let config =
            SourceConfig::default().subscription(format!("seed {seed}")).batch_events(random.random_range(1..5));
        let source = PostgresSource::new(database(&url), config);
        let feed = source.open().await.unwrap();
        let mut writers = Vec::new();
        for _ in 0..WRITERS {
            writers.push(Writer { client: connect(&url).await, open: None });
        }
        let mut world = World {
            random,
            seed,
            writers,
            prepared: Vec::new(),
            resolver: resolver.take().unwrap(),
            committed: BTreeMap::new(),
            source,
            feed,
            delivered: BTreeMap::new(),
        };
        for _ in 0..STEPS {
            world.step().await;
        }
        world.finish().await;
        world.check();
        delivered += world.delivered.values().map(Vec::len).sum::<usize>();
        resolver = Some(world.resolver);
        let clean = "truncate outbox.events; delete from outbox.subscriptions";
        resolver.as_ref().unwrap().batch_execute(clean).await.unwrap();
    }
    assert!(delivered as u64 > SEEDS * 10, "the schedules wrote next to nothing: {delivered}");
}

/// Real contention: writers wait for each other's keys, and nobody arranges who goes first.
#[tokio::test(flavor = "multi_thread")]
async fn writers_who_wait_for_each_other_are_delivered_in_the_order_they_committed() {
    let (client, url) = fresh_outbox().await;
    let config = SourceConfig::default().batch_events(50);
    let source = PostgresSource::new(database(&url), config);
    let mut feed = source.open().await.unwrap();
    let mut writing = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let url = url.clone();
        writing.spawn(async move {
            let mut random = StdRng::seed_from_u64(writer);
            let client = connect(&url).await;
            for _ in 0..150 * servers::scale() {
                client.batch_execute("begin").await.unwrap();
                // In key order, so that two writers never wait for each other in a circle.
                let mut keys: Vec<u32> = (0..random.random_range(1..6)).map(|_| random.random_range(0..20)).collect();
                keys.sort_unstable();
                for key in keys {
                    let key = format!("k{key}");
                    client.execute("select outbox.emit('jobs', $1)", &[&key]).await.unwrap();
                }
                let end = if random.random_bool(0.2) { "rollback" } else { "commit" };
                client.batch_execute(end).await.unwrap();
            }
        });
    }
    let mut ids = Vec::new();
    let mut versions: BTreeMap<String, i64> = BTreeMap::new();
    loop {
        let written = writing.is_empty();
        while let Some(batch) = feed.reader.next().await.unwrap() {
            feed.cursor.advance(&batch.position).await.unwrap();
            for event in batch.events {
                let version = versions.entry(event.key.clone()).or_default();
                // The version is drawn under the key's lock, which is held until the commit.
                assert!(event.version > *version, "{} came after version {version}", event.key);
                *version = event.version;
                ids.push(event.id);
            }
        }
        if written {
            break;
        }
        tokio::select! {
            ended = writing.join_next() => ended.unwrap().unwrap(),
            waited = tokio::time::timeout(Duration::from_secs(30), feed.reader.wait()) => waited.unwrap().unwrap(),
        }
    }
    ids.sort_unstable();
    let rows = client.query("select id from outbox.events order by id", &[]).await.unwrap();
    let committed: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    assert!(committed.len() > 1000, "{}", committed.len());
    assert_eq!(ids, committed, "every committed event, once");
}
