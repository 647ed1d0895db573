//! The stages, tick by tick. Pure: the same plan gives the same figures.
//!
//! ```text
//!  writers ──▶ outbox ──relay──▶ partitions ──indexer──▶ index
//!     └─────────── database: writing, reading, loading ───────┘
//! ```

use std::collections::VecDeque;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sync_core::adapter::partition_for;

use super::Plan;

/// A tick, in seconds: as long as the relay waits between small windows.
const TICK: f64 = 0.01;
/// Keys of each outbox. The n-th is changed `n^-SKEW` times as often as the first.
const KEYS: usize = 100_000;
const SKEW: f64 = 0.8;
/// Messages of a partition that are taken together, at most: `indexer.batch_messages`.
const BATCH: usize = 4_000;

/// Processor time in microseconds, as `docs/performance.md` says it was measured: of the database for a change that is
/// written, read by the relay and loaded for its document; of the relay and of an indexer; of the index, for a document
/// and for a bulk.
const WRITE: f64 = 25.0;
const READ: f64 = 2.7;
const LOAD: f64 = 9.0;
const RELAY: f64 = 2.5;
const INDEXER: f64 = 4.0;
const DOCUMENT: f64 = 45.0;
const BULK: f64 = 2_000.0;
/// Ticks a bulk takes at least; a partition's next one waits for it.
const UNDER_WAY: u32 = 2;

/// From this share of its time on something is full, when less than this part of the changes reach the index.
const FULL: f64 = 0.97;
const ALL: f64 = 0.99;

/// What was seen of a plan.
#[derive(Debug)]
pub(super) struct Seen {
    /// How much of its time each was at work; of several, the one that was most.
    pub(super) used: [(&'static str, f64); 4],
    /// Changes a second that reached the index.
    pub(super) indexed: f64,
    /// From a change to its document, of those that reached the index.
    pub(super) p50_ms: f64,
    /// The same.
    pub(super) p99_ms: f64,
}

impl Seen {
    /// What keeps changes from reaching the index. Something that is busy only because bulks are small is not full.
    pub(super) fn full(&self, rate: u32) -> Vec<&'static str> {
        if self.indexed >= f64::from(rate) * ALL {
            return Vec::new();
        }
        self.used.iter().filter(|(_, share)| *share >= FULL).map(|(who, _)| *who).collect()
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

    fn spend(&mut self, time: f64) {
        self.left -= time;
        self.spent += time;
    }

    /// For how many events of this price there is time.
    fn affords(&self, price: f64) -> usize {
        if self.left <= 0.0 { 0 } else { (self.left / price).ceil() as usize }
    }

    fn used(&self, ticks: u32) -> f64 {
        self.spent / (self.per_tick * f64::from(ticks))
    }
}

/// A change under way: when it was made, and of which key.
#[derive(Clone, Copy, Debug)]
struct Change {
    tick: u32,
    key: u32,
}

pub(super) fn simulate(plan: &Plan, seconds: u32) -> Seen {
    let ticks = (f64::from(seconds) / TICK).round() as u32;
    let mut dice = StdRng::seed_from_u64(1);
    let keys = Keys::new(plan.partitions);
    let mut databases = vec![Budget::of(plan.database_cores); plan.outboxes as usize];
    let mut relays = vec![Budget::of(1); plan.outboxes as usize];
    let mut indexers = vec![Budget::of(1); plan.indexers as usize];
    let mut index = Budget::of(plan.index_cores);
    let mut outboxes = vec![VecDeque::new(); plan.outboxes as usize];
    let mut partitions = vec![VecDeque::new(); (plan.outboxes * plan.partitions) as usize];
    let mut ages = Ages::new(ticks);
    let mut seen_in = vec![0_u32; KEYS];
    let mut free_at = vec![0; partitions.len()];
    let (mut batch, mut due) = (0, 0.0);
    for tick in 0..ticks {
        let all = databases.iter_mut().chain(&mut relays).chain(&mut indexers).chain([&mut index]);
        all.for_each(Budget::tick);
        due += f64::from(plan.rate) * TICK;
        while due >= 1.0 {
            due -= 1.0;
            let outbox = dice.random_range(0..outboxes.len());
            // Writers come first: what they take, nobody else has.
            databases[outbox].spend(WRITE);
            outboxes[outbox].push_back(Change { tick, key: keys.draw(&mut dice) });
        }
        for (outbox, waiting) in outboxes.iter_mut().enumerate() {
            let room = relays[outbox].affords(RELAY).min(databases[outbox].affords(READ)).min(waiting.len());
            relays[outbox].spend(room as f64 * RELAY);
            databases[outbox].spend(room as f64 * READ);
            for change in waiting.drain(..room) {
                let place = outbox * plan.partitions as usize + keys.partition[change.key as usize];
                partitions[place].push_back(change);
            }
        }
        let count = partitions.len();
        // Each tick another one is first.
        for turn in 0..count {
            let place = (turn + tick as usize) % count;
            let waiting: &mut VecDeque<Change> = &mut partitions[place];
            let (database, indexer) = (place / plan.partitions as usize, place % indexers.len());
            if waiting.is_empty()
                || free_at[place] > tick
                || indexers[indexer].left <= 0.0
                || databases[database].left <= 0.0
                || index.left <= 0.0
            {
                continue;
            }
            batch += 1;
            free_at[place] = tick + UNDER_WAY;
            let taken = waiting.len().min(BATCH);
            let mut documents = 0.0;
            for change in waiting.drain(..taken) {
                // A key that changed several times is loaded and indexed once.
                let last = &mut seen_in[change.key as usize];
                if *last != batch {
                    *last = batch;
                    documents += 1.0;
                }
                ages.add(tick - change.tick);
            }
            indexers[indexer].spend(taken as f64 * INDEXER);
            databases[database].spend(documents * LOAD);
            index.spend(documents * DOCUMENT + BULK);
        }
    }
    let most = |budgets: &[Budget]| budgets.iter().map(|budget| budget.used(ticks)).fold(0.0, f64::max);
    Seen {
        used: [
            ("database", most(&databases)),
            ("relay", most(&relays)),
            ("indexer", most(&indexers)),
            ("index", index.used(ticks)),
        ],
        indexed: ages.count() / f64::from(seconds),
        p50_ms: ages.quantile(0.5),
        p99_ms: ages.quantile(0.99),
    }
}

/// Who is changed how often, and where that goes.
struct Keys {
    /// Up to and with each key, of 1.
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
    fn new(ticks: u32) -> Self {
        Self(vec![0; ticks as usize])
    }

    fn add(&mut self, ticks: u32) {
        self.0[ticks as usize] += 1;
    }

    fn count(&self) -> f64 {
        self.0.iter().sum::<u64>() as f64
    }

    /// The end of the tick in which this part of them was indexed.
    fn quantile(&self, part: f64) -> f64 {
        let wanted = self.count() * part;
        let mut so_far = 0.0;
        let age = self.0.iter().position(|count| {
            so_far += *count as f64;
            so_far >= wanted
        });
        (age.unwrap_or_default() + 1) as f64 * TICK * 1e3
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
        assert!((990.0..=1_000.0).contains(&seen.indexed) && seen.p99_ms < 50.0, "{seen:?}");
    }

    #[test]
    fn what_is_too_small_is_full_and_what_it_can_do_is_what_arrives() {
        let seen = simulate(&Plan { rate: 100_000, database_cores: 50, index_cores: 1, ..ROOMY }, 2);
        assert_eq!(seen.full(100_000), ["index"], "{seen:?}");
        let seen = simulate(&Plan { rate: 1_000_000, outboxes: 1, database_cores: 100, index_cores: 100, ..ROOMY }, 1);
        assert!(seen.full(1_000_000).contains(&"relay") && seen.indexed < 500_000.0, "{seen:?}");
    }
}
