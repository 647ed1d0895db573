//! What must hold whatever happened: told what was committed, seen and indexed, it says what is wrong. Pure.

mod facts;
#[cfg(test)]
mod tests;
mod violation;

use std::collections::BTreeMap;

use self::facts::{Facts, Seen};
pub use self::violation::{Entity, Violation};
use crate::port::{Current, Incoming, Origin, Stored};
use crate::version::Version;

/// What was promised about messages on the bus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// Nobody looks at the bus, so nothing is said of it. For a bus that stores nothing.
    Unseen,
    /// Each event, at least once; first occurrences of a key in the order of the commits.
    #[default]
    AtLeastOnce,
    /// Each event once in each history of the database: one that lost commits begins a new epoch, and repeats what it
    /// cannot know to be published.
    ExactlyOnce,
}

/// A judge of one run, in memory or on real servers.
///
/// It is told facts by whoever sees them, in any order but where a method says otherwise, and then asked for
/// [`violations`](Self::violations). Facts about a topic's events and about the index they feed go under the same
/// topic. What nobody tells is taken for absent: without rows and documents nothing is said of the index.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    delivery: Delivery,
    /// By topic and key.
    facts: BTreeMap<String, BTreeMap<String, Facts>>,
    /// Messages on the bus that nobody can assign to an event.
    strangers: Vec<(Origin, Option<String>)>,
    poison: Vec<Origin>,
    letters: Vec<(Origin, Option<String>)>,
    counts: BTreeMap<String, u64>,
    /// By subscription: the furthest position.
    positions: BTreeMap<String, (u64, i64)>,
    /// What was wrong at the moment it was told.
    seen_wrong: Vec<Violation>,
}

impl Oracle {
    /// A judge that knows of nothing.
    #[must_use]
    pub fn new(delivery: Delivery) -> Self {
        Self { delivery, ..Self::default() }
    }

    /// The event `id` was committed. Events of one key are told in the order of their commits.
    pub fn committed(&mut self, topic: &str, key: &str, id: i64) {
        self.facts(topic, key).committed.push(id);
    }

    /// A message lies on the bus. Those of one partition are told in the order of their offsets.
    pub fn seen(&mut self, message: &Incoming) {
        let (topic, number) = (&message.partition.topic, message.partition.number);
        let key = message.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
        let header = |wanted| {
            let (_, value) = message.headers.iter().find(|(name, _)| name == wanted)?;
            std::str::from_utf8(value).ok()?.parse::<i64>().ok()
        };
        // A message that does not say so is of the first epoch.
        let epoch = header("epoch").and_then(|epoch| i32::try_from(epoch).ok()).unwrap_or_default();
        match (key, header("id")) {
            (Some(key), Some(id)) => {
                let seen = Seen { partition: number, offset: message.offset, id, epoch };
                self.facts(topic, key).seen.push(seen);
            }
            (key, _) => {
                let origin = Origin { topic: topic.to_string(), partition: number, offset: message.offset };
                self.strangers.push((origin, key.map(str::to_owned)));
            }
        }
    }

    /// The index was seen to hold this version of the key. Told as time passes; may leave out what it likes.
    pub fn indexed(&mut self, topic: &str, key: &str, version: Version) {
        let facts = self.facts(topic, key);
        match facts.newest {
            Some(newest) if version < newest => {
                let entity = Entity::new(topic, key);
                self.seen_wrong.push(Violation::VersionWentBack { entity, from: newest, to: version });
            }
            Some(_) | None => facts.newest = Some(version),
        }
    }

    /// A subscription's position was recorded. Told in the order it happened, as two numbers that are compared one
    /// after the other: which window is being read, and the last event done in it.
    pub fn recorded(&mut self, subscription: &str, position: (u64, i64)) {
        let furthest = self.positions.entry(subscription.to_owned()).or_insert(position);
        if position < *furthest {
            let violation =
                Violation::PositionWentBack { subscription: subscription.to_owned(), from: *furthest, to: position };
            self.seen_wrong.push(violation);
        } else {
            *furthest = position;
        }
    }

    /// What the database holds of a key at the end.
    pub fn row(&mut self, topic: &str, row: &Current) {
        self.facts(topic, &row.key).row = Some((row.version, row.document.clone()));
    }

    /// What the index holds of a key at the end. A key it does not hold is not told.
    pub fn document(&mut self, topic: &str, key: &str, stored: &Stored) {
        self.facts(topic, key).stored = Some(stored.clone());
    }

    /// How many documents the index of this topic has at the end: more than were told are of keys nobody knows.
    pub fn counted(&mut self, topic: &str, documents: u64) {
        self.counts.insert(topic.to_owned(), documents);
    }

    /// This key was refused at some time, so it may have a letter; while it has one, the index may be behind in it.
    pub fn may_be_parked(&mut self, topic: &str, key: &str) {
        self.facts(topic, key).may_be_parked = true;
    }

    /// A message was put here that can never be applied: it must have a letter, and is of no event.
    pub fn poison(&mut self, origin: Origin) {
        self.poison.push(origin);
    }

    /// A letter lies in dead letters at the end.
    pub fn letter(&mut self, origin: Origin, key: Option<&str>) {
        self.letters.push((origin, key.map(str::to_owned)));
    }

    /// Everything that is wrong; empty when every promise was kept.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = self.seen_wrong.clone();
        for (topic, keys) in &self.facts {
            for (key, facts) in keys {
                let parked =
                    |(origin, about): &&(Origin, Option<String>)| origin.topic == *topic && about.as_ref() == Some(key);
                let letters: Vec<_> = self.letters.iter().filter(parked).map(|(origin, _)| origin).collect();
                let entity = Entity::new(topic, key);
                facts.judge_bus(&entity, self.delivery, &letters, &mut found);
                facts.judge_index(&entity, !letters.is_empty(), &mut found);
            }
        }
        self.judge_strangers(&mut found);
        self.judge_letters(&mut found);
        self.judge_counts(&mut found);
        found
    }

    fn judge_strangers(&self, found: &mut Vec<Violation>) {
        if self.delivery == Delivery::Unseen {
            return;
        }
        let unknown = self.strangers.iter().filter(|(origin, _)| !self.poison.contains(origin));
        found.extend(unknown.map(|(origin, key)| Violation::Invented {
            origin: origin.clone(),
            key: key.clone(),
            id: None,
        }));
    }

    fn judge_letters(&self, found: &mut Vec<Violation>) {
        for (origin, key) in &self.letters {
            let about = key.as_ref().and_then(|key| self.facts.get(&origin.topic)?.get(key));
            if !self.poison.contains(origin) && !about.is_some_and(|facts| facts.may_be_parked) {
                found.push(Violation::UnexpectedLetter { origin: origin.clone(), key: key.clone() });
            }
        }
        let parked = |origin: &&Origin| self.letters.iter().any(|(letter, _)| letter == *origin);
        let missing = self.poison.iter().filter(|origin| !parked(origin));
        found.extend(missing.map(|origin| Violation::MissingLetter { origin: origin.clone() }));
    }

    fn judge_counts(&self, found: &mut Vec<Violation>) {
        for (topic, counted) in &self.counts {
            let keys = self.facts.get(topic).into_iter().flatten();
            let told = keys.filter(|(_, facts)| facts.stored.is_some()).count() as u64;
            if told != *counted {
                found.push(Violation::Uncounted { topic: topic.clone(), counted: *counted, told });
            }
        }
    }

    fn facts(&mut self, topic: &str, key: &str) -> &mut Facts {
        // Most keys are known, and a look does not need a text of its own.
        if !self.facts.get(topic).is_some_and(|keys| keys.contains_key(key)) {
            self.facts.entry(topic.to_owned()).or_default().insert(key.to_owned(), Facts::default());
        }
        self.facts.entry(topic.to_owned()).or_default().entry(key.to_owned()).or_default()
    }
}
