//! The stages, tick by tick. Pure: the same plan gives the same figures.
//!
//! ```text
//!  writers ──▶ outbox ──relay──▶ partitions ──indexer──▶ index
//!     └─────────── database: writing, reading, loading ───────┘
//! ```
//!
//! Not simulated: the brokers, disks, networks, the log of PostgreSQL, refreshes of the index.

use std::collections::VecDeque;

use clap::Args;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use sync_core::adapter::partition_for;

/// A tick, in seconds: as long as the relay waits between small windows.
const TICK: f64 = 0.01;
/// Keys of each outbox.
const KEYS: usize = 100_000;
/// The n-th key is changed `n^-SKEW` times as often as the first.
const SKEW: f64 = 0.8;
/// Messages of a partition that are taken together, at most: `indexer.batch_messages`.
const BATCH: usize = 4_000;
/// Bulks an indexer has under way, at most: `indexer.in_flight`.
const IN_FLIGHT: usize = 4;
/// Ticks that a bulk is under way at least.
const UNDER_WAY: u32 = 2;

// Processor time in microseconds, as docs/performance.md has it.

/// Of the database, to write an event in the writer's transaction.
const WRITE: f64 = 25.0;
/// Of the database, for the relay to read it.
const READ: f64 = 2.7;
/// Of the database, to load a document.
const LOAD: f64 = 9.0;
/// Of the relay, for an event. It reads on one session and has one processor.
const RELAY: f64 = 2.8;
/// Of an indexer, for a message. It polls from one task and has one processor.
const INDEXER: f64 = 4.0;
/// Of the index, to replace a document.
const DOCUMENT: f64 = 48.0;
/// Of the index, for a bulk, however much is in it.
const BULK: f64 = 5_800.0;

/// From this share of its time on something is full, when less than `ALL` of the changes reach the index.
const FULL: f64 = 0.97;
const ALL: f64 = 0.98;

/// Changes, and what there is for them.
#[derive(Args, Clone, Copy, Debug, Serialize)]
pub(super) struct Plan {
    /// Changes a second that writers want to make.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(super) rate: u32,
    /// Databases, each with an outbox, a relay and a topic.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(super) outboxes: u32,
    /// Partitions of each topic.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(super) partitions: u32,
    /// Processes with the role indexer, all together.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(super) indexers: u32,
    /// Processors of each database.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(super) database_cores: u32,
    /// Processors of Elasticsearch, all nodes together.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) index_cores: u32,
}

/// What was seen of a plan.
#[derive(Debug, Serialize)]
pub(super) struct Seen {
    /// How much of its time the busiest database was at work.
    pub(super) database: f64,
    /// The busiest relay.
    pub(super) relay: f64,
    /// The busiest indexer.
    pub(super) indexer: f64,
    /// The index.
    pub(super) index: f64,
    /// Changes a second that reached the index.
    pub(super) indexed: f64,
    /// Half of those were in the index after this long, counted from their commit. None reached it: nothing.
    pub(super) p50_ms: Option<f64>,
    /// 99 of 100.
    pub(super) p99_ms: Option<f64>,
}

impl Seen {
    /// What keeps changes from reaching the index. Something that is busy only because bulks are small is not full.
    pub(super) fn full(&self, rate: u32) -> Vec<&'static str> {
        let shares =
            [("database", self.database), ("relay", self.relay), ("indexer", self.indexer), ("index", self.index)];
        let is_behind = self.indexed < f64::from(rate) * ALL;
        shares.into_iter().filter(|(_, share)| is_behind && *share >= FULL).map(|(who, _)| who).collect()
    }
}

/// What happens to `plan` in so many seconds.
pub(super) fn simulate(plan: &Plan, seconds: u32) -> Seen {
    let ticks = (f64::from(seconds) / TICK).round() as u32;
    let mut flow = Flow::new(plan, ticks);
    for tick in 0..ticks {
        // From the end to the beginning: writers come no faster than what they wrote is taken from the database.
        flow.rest();
        flow.index(tick);
        flow.relay();
        flow.write(tick, f64::from(plan.rate) * TICK);
    }
    let most = |budgets: &[Budget]| budgets.iter().map(|budget| budget.used(ticks)).fold(0.0, f64::max);
    Seen {
        database: most(&flow.databases),
        relay: most(&flow.relays),
        indexer: most(&flow.indexers),
        index: flow.index.used(ticks),
        indexed: flow.ages.count() / f64::from(seconds),
        p50_ms: flow.ages.quantile(0.5),
        p99_ms: flow.ages.quantile(0.99),
    }
}

/// A change that was committed: when, and of which key.
#[derive(Clone, Copy, Debug)]
struct Change {
    tick: u32,
    key: u32,
}

/// Everything on its way, and who moves it.
struct Flow {
    keys: Keys,
    dice: StdRng,
    databases: Vec<Budget>,
    relays: Vec<Budget>,
    indexers: Vec<Budget>,
    index: Budget,
    /// Changes that their writers wait to make, of each database.
    wanted: Vec<f64>,
    outboxes: Vec<VecDeque<Change>>,
    /// Of all topics, one topic after the other.
    partitions: Vec<VecDeque<Change>>,
    partitions_each: usize,
    /// For each indexer, when each of its bulks is done.
    bulks: Vec<[u32; IN_FLIGHT]>,
    /// The last bulk in which each key was.
    seen_in: Vec<u32>,
    bulk: u32,
    ages: Ages,
}

impl Flow {
    fn new(plan: &Plan, ticks: u32) -> Self {
        let [outboxes, partitions, indexers] = [plan.outboxes, plan.partitions, plan.indexers].map(|n| n as usize);
        Self {
            keys: Keys::new(plan.partitions),
            dice: StdRng::seed_from_u64(1),
            databases: vec![Budget::of(plan.database_cores); outboxes],
            relays: vec![Budget::of(1); outboxes],
            indexers: vec![Budget::of(1); indexers],
            index: Budget::of(plan.index_cores),
            wanted: vec![0.0; outboxes],
            outboxes: vec![VecDeque::new(); outboxes],
            partitions: vec![VecDeque::new(); outboxes * partitions],
            partitions_each: partitions,
            bulks: vec![[0; IN_FLIGHT]; indexers],
            seen_in: vec![0; KEYS],
            bulk: 0,
            ages: Ages(vec![0; ticks as usize]),
        }
    }

    fn rest(&mut self) {
        let single = self.relays.iter_mut().chain(&mut self.indexers).chain([&mut self.index]);
        single.chain(&mut self.databases).for_each(Budget::tick);
    }

    /// `count` more changes are wanted; those for which the databases have time are committed.
    fn write(&mut self, tick: u32, count: f64) {
        let share = count / self.outboxes.len() as f64;
        let places = self.outboxes.iter_mut().zip(&mut self.databases).zip(&mut self.wanted);
        for ((outbox, database), wanted) in places {
            *wanted += share;
            while *wanted >= 1.0 && database.has_time() {
                *wanted -= 1.0;
                database.spend(WRITE);
                outbox.push_back(Change { tick, key: self.keys.draw(&mut self.dice) });
            }
        }
    }

    /// Committed changes become messages.
    fn relay(&mut self) {
        let places = self.outboxes.iter_mut().zip(&mut self.databases).zip(&mut self.relays);
        for (topic, ((outbox, database), relay)) in places.enumerate() {
            while relay.has_time() && database.has_time() {
                let Some(change) = outbox.pop_front() else { break };
                relay.spend(RELAY);
                database.spend(READ);
                let partition = self.keys.partition[change.key as usize];
                self.partitions[topic * self.partitions_each + partition].push_back(change);
            }
        }
    }

    /// Messages become documents, each tick those of another partition first.
    fn index(&mut self, tick: u32) {
        let count = self.partitions.len();
        for turn in 0..count {
            let partition = (turn + tick as usize) % count;
            let indexer = partition % self.indexers.len();
            let has_time = self.indexers[indexer].has_time()
                && self.databases[partition / self.partitions_each].has_time()
                && self.index.has_time();
            let slot = self.bulks[indexer].iter_mut().find(|done| **done <= tick);
            if let Some(slot) = slot.filter(|_| has_time && !self.partitions[partition].is_empty()) {
                *slot = tick + UNDER_WAY;
                self.bulk(tick, partition, indexer);
            }
        }
    }

    /// One bulk. A key that changed several times is loaded and indexed once.
    fn bulk(&mut self, tick: u32, partition: usize, indexer: usize) {
        self.bulk += 1;
        let waiting = &mut self.partitions[partition];
        let messages = waiting.len().min(BATCH);
        let mut documents = 0.0;
        for change in waiting.drain(..messages) {
            let last = &mut self.seen_in[change.key as usize];
            if std::mem::replace(last, self.bulk) != self.bulk {
                documents += 1.0;
            }
            self.ages.add(tick - change.tick);
        }
        self.indexers[indexer].spend(messages as f64 * INDEXER);
        self.databases[partition / self.partitions_each].spend(documents * LOAD);
        self.index.spend(documents * DOCUMENT + BULK);
    }
}

/// Processor time somebody has and spends. What a tick spends too much, the next ones have less.
#[derive(Clone, Debug)]
struct Budget {
    per_tick: f64,
    left: f64,
    spent: f64,
}

impl Budget {
    fn of(cores: u32) -> Self {
        Self { per_tick: f64::from(cores) * TICK * 1e6, left: 0.0, spent: 0.0 }
    }

    /// Time that was not spent is gone.
    fn tick(&mut self) {
        self.left = self.left.min(0.0) + self.per_tick;
    }

    fn has_time(&self) -> bool {
        self.left > 0.0
    }

    fn spend(&mut self, time: f64) {
        self.left -= time;
        self.spent += time;
    }

    fn used(&self, ticks: u32) -> f64 {
        // What was spent ahead, beyond the last tick, is not used yet.
        (self.spent + self.left.min(0.0)) / (self.per_tick * f64::from(ticks))
    }
}

/// Which keys are changed how often, and where their messages go.
struct Keys {
    /// Of the keys up to and with each one, of 1.
    share: Vec<f64>,
    partition: Vec<usize>,
}

impl Keys {
    fn new(partitions: u32) -> Self {
        let weights = (1..=KEYS).map(|place| (place as f64).powf(-SKEW));
        let sums: Vec<f64> = weights
            .scan(0.0, |sum, weight| {
                *sum += weight;
                Some(*sum)
            })
            .collect();
        let total = sums.last().copied().unwrap_or(1.0);
        let place = |key: usize| partition_for(format!("key-{key}").as_bytes(), partitions.cast_signed());
        Self {
            share: sums.into_iter().map(|sum| sum / total).collect(),
            partition: (0..KEYS).map(|key| place(key).unsigned_abs() as usize).collect(),
        }
    }

    fn draw(&self, dice: &mut StdRng) -> u32 {
        let drawn: f64 = dice.random();
        self.share.partition_point(|share| *share < drawn).min(KEYS - 1) as u32
    }
}

/// How many changes were how old, in ticks, when they reached the index.
struct Ages(Vec<u64>);

impl Ages {
    fn add(&mut self, ticks: u32) {
        self.0[ticks as usize] += 1;
    }

    fn count(&self) -> f64 {
        self.0.iter().sum::<u64>() as f64
    }

    /// When this part of them had reached it, in milliseconds: the end of a tick.
    fn quantile(&self, part: f64) -> Option<f64> {
        let wanted = self.count() * part;
        let mut so_far = 0.0;
        let age = self.0.iter().position(|count| {
            so_far += *count as f64;
            so_far > 0.0 && so_far >= wanted
        })?;
        Some((age + 1) as f64 * TICK * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOMY: Plan =
        Plan { rate: 1_000, outboxes: 1, partitions: 6, indexers: 1, database_cores: 4, index_cores: 4 };

    #[test]
    fn where_there_is_room_for_all_nothing_is_full_and_everything_arrives() {
        let seen = simulate(&ROOMY, 2);
        assert_eq!(seen.full(ROOMY.rate), [] as [&str; 0], "{seen:?}");
        assert!((970.0..=1_000.0).contains(&seen.indexed) && seen.p99_ms < Some(100.0), "{seen:?}");
    }

    #[test]
    fn what_is_too_small_is_full_and_what_it_can_do_is_what_arrives() {
        let seen = simulate(&Plan { rate: 100_000, database_cores: 50, index_cores: 1, ..ROOMY }, 2);
        assert_eq!(seen.full(100_000), ["index"], "{seen:?}");
        assert!(seen.indexed < 40_000.0, "{seen:?}");
        let seen = simulate(&Plan { rate: 1_000_000, database_cores: 100, index_cores: 100, ..ROOMY }, 1);
        assert!(seen.full(1_000_000).contains(&"relay") && seen.indexed < 400_000.0, "{seen:?}");
        let seen = simulate(&Plan { rate: 100_000, database_cores: 2, index_cores: 100, ..ROOMY }, 2);
        assert_eq!(seen.full(100_000), ["database"], "writers wait for it, and are not written on credit: {seen:?}");
        assert!(seen.database < 1.001 && seen.indexed > 40_000.0, "{seen:?}");
    }
}
