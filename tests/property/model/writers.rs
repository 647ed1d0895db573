//! Transactions on a few keys, several open at a time, and what they committed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use sync_core::Version;
use sync_core::adapter::memory::{MemoryDatabase, MemoryTransaction};
use sync_core::port::Current;
use sync_core::testkit::oracle::Oracle;

use super::weather::Dice;
use super::world::TOPICS;

/// Keys of each topic.
const KEYS: [[&str; 3]; 2] = [["j1", "j2", "j3"], ["w1", "w2", "w3"]];

/// Transactions open at the same time.
const OPEN: usize = 4;

#[derive(Debug)]
pub struct Writers {
    database: MemoryDatabase,
    oracle: Arc<Mutex<Oracle>>,
    open: Vec<Open>,
    /// By topic and key.
    rows: BTreeMap<(&'static str, &'static str), (i64, Option<String>)>,
    documents: u64,
    pub committed: u64,
}

#[derive(Debug)]
struct Open {
    topic: usize,
    transaction: MemoryTransaction,
    /// Key and document, in order.
    changes: Vec<(&'static str, Option<String>)>,
}

impl Writers {
    pub fn new(database: MemoryDatabase, oracle: Arc<Mutex<Oracle>>) -> Self {
        Self { database, oracle, open: Vec::new(), rows: BTreeMap::new(), documents: 0, committed: 0 }
    }

    /// Changes a key that no other transaction has locked.
    pub fn write(&mut self, dice: &mut Dice) {
        let mut at = dice.roll(OPEN as u64) as usize;
        if at >= self.open.len() {
            let topic = dice.roll(TOPICS.len() as u64) as usize;
            let transaction = self.database.begin(TOPICS[topic]);
            at = self.open.len();
            self.open.push(Open { topic, transaction, changes: Vec::new() });
        }
        let topic = self.open[at].topic;
        let key = KEYS[topic][dice.roll(3) as usize];
        let locked = |(other, open): (usize, &Open)| other != at && open.changes.iter().any(|(held, _)| *held == key);
        if self.open.iter().enumerate().any(locked) {
            return;
        }
        let open = &mut self.open[at];
        if dice.roll(4) == 0 {
            open.transaction.delete(key);
            open.changes.push((key, None));
        } else {
            self.documents += 1;
            let document = format!("{{\"v\":{}}}", self.documents);
            open.transaction.put(key, &document);
            open.changes.push((key, Some(document)));
        }
    }

    /// Ends one of the open transactions.
    pub fn end(&mut self, dice: &mut Dice) {
        if self.open.is_empty() {
            return;
        }
        let Open { topic, transaction, changes } = self.open.swap_remove(dice.roll(self.open.len() as u64) as usize);
        if dice.roll(4) == 0 {
            transaction.rollback();
            return;
        }
        let topic = TOPICS[topic];
        let mut oracle = self.oracle.lock().unwrap();
        for event in transaction.events() {
            oracle.committed(topic, &event.key, event.id);
            self.committed += 1;
        }
        for (key, document) in changes {
            let (version, row) = self.rows.entry((topic, key)).or_default();
            *version += 1;
            *row = document;
        }
        transaction.commit();
    }

    pub fn end_all(&mut self, dice: &mut Dice) {
        while !self.open.is_empty() {
            self.end(dice);
        }
    }

    /// Every key, with what the database must hold of it.
    pub fn rows(&self) -> impl Iterator<Item = (&'static str, Current)> {
        let all = TOPICS.into_iter().zip(KEYS).flat_map(|(topic, keys)| keys.map(|key| (topic, key)));
        all.map(|(topic, key)| {
            let (version, document) = self.rows.get(&(topic, key)).cloned().unwrap_or_default();
            (topic, Current { key: key.to_owned(), version: Version::new(0, version).unwrap(), document })
        })
    }
}
