//! What was told of one key, and what is wrong with it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Delivery;
use super::violation::{Entity, Violation};
use crate::port::{Origin, Stored};
use crate::version::Version;

/// A message of a known key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// The event's.
    pub(super) id: i64,
    /// In which it was published.
    pub(super) epoch: i32,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// In the order of the commits.
    pub(super) committed: Vec<i64>,
    pub(super) seen: Vec<Seen>,
    pub(super) row: Option<(Version, Option<String>)>,
    pub(super) stored: Option<Stored>,
    /// The newest version the index was seen with.
    pub(super) newest: Option<Version>,
    pub(super) may_be_parked: bool,
}

impl Facts {
    pub(super) fn judge_bus(
        &self,
        entity: &Entity,
        delivery: Delivery,
        letters: &[&Origin],
        found: &mut Vec<Violation>,
    ) {
        if delivery == Delivery::Unseen {
            return;
        }
        let ranks: HashMap<i64, usize> = self.committed.iter().enumerate().map(|(rank, id)| (*id, rank)).collect();
        let mut times: BTreeMap<i64, u64> = BTreeMap::new();
        // Of each partition, the event committed last among those that were seen first.
        let mut latest: BTreeMap<i32, i64> = BTreeMap::new();
        let mut repeats: BTreeMap<(i32, i64), u64> = BTreeMap::new();
        for &Seen { partition, offset, id, epoch } in &self.seen {
            let Some(rank) = ranks.get(&id) else {
                let origin = Origin { topic: entity.topic.clone(), partition, offset };
                found.push(Violation::Invented { origin, key: Some(entity.key.clone()), id: Some(id) });
                continue;
            };
            *repeats.entry((epoch, id)).or_default() += 1;
            let times = times.entry(id).or_default();
            *times += 1;
            let latest = latest.entry(partition).or_insert(id);
            if *times > 1 {
                continue;
            }
            if *rank < ranks[latest] {
                found.push(Violation::OutOfOrder { entity: entity.clone(), id, after: *latest });
            } else {
                *latest = id;
            }
        }
        let parked = |id: &i64| letters.iter().any(|origin| origin.is_unpublished() && origin.offset == *id);
        let lost = self.committed.iter().filter(|id| !times.contains_key(id) && !parked(id));
        found.extend(lost.map(|id| Violation::Lost { entity: entity.clone(), id: *id }));
        if delivery == Delivery::ExactlyOnce {
            let repeated = repeats.iter().filter(|(_, times)| **times > 1);
            found.extend(repeated.map(|((_, id), times)| Violation::Repeated {
                entity: entity.clone(),
                id: *id,
                times: *times,
            }));
        }
        if latest.len() > 1 {
            let partitions: BTreeSet<i32> = latest.into_keys().collect();
            found.push(Violation::TwoPartitions { entity: entity.clone(), partitions });
        }
    }

    pub(super) fn judge_index(&self, entity: &Entity, parked: bool, found: &mut Vec<Violation>) {
        let excused = parked && self.may_be_parked;
        let entity = entity.clone();
        let row = self.row.as_ref().and_then(|(version, document)| Some((*version, document.as_ref()?)));
        match (row, &self.stored) {
            (None, None) => {}
            (Some((version, _)), None) if !excused => found.push(Violation::Missing { entity, version }),
            (None, Some(stored)) if !excused => found.push(Violation::Orphan { entity, version: stored.version }),
            (Some((version, row)), Some(stored)) if stored.version < version => {
                // The epoch is the database's: of a row nobody changed since it began, the index keeps the earlier one.
                let is_last_change = stored.version.local() == version.local() && same(row, &stored.document);
                if !excused && !is_last_change {
                    found.push(Violation::Stale { entity, indexed: stored.version, row: version });
                }
            }
            (Some((version, _)), Some(stored)) if stored.version > version => {
                found.push(Violation::Ahead { entity, indexed: stored.version, row: version });
            }
            (Some((version, row)), Some(stored)) if !same(row, &stored.document) => {
                let (row, indexed) = (row.clone(), stored.document.clone());
                found.push(Violation::Content { entity, version, indexed, row });
            }
            (Some(_), None) | (None, Some(_)) | (Some(_), Some(_)) => {}
        }
    }
}

/// An index may give back the same JSON in other words.
fn same(one: &str, other: &str) -> bool {
    let read = serde_json::from_str::<serde_json::Value>;
    one == other || matches!((read(one), read(other)), (Ok(one), Ok(other)) if one == other)
}
