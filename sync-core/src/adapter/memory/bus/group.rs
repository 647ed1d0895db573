//! Who has which partition, and how far it is done.

use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Group {
    members: Vec<u64>,
    /// How many members there have ever been.
    joined: u64,
    /// By partition number.
    owners: BTreeMap<i32, u64>,
    pub(super) committed: BTreeMap<i32, i64>,
}

impl Group {
    /// Lets one more member in, and says who it is.
    pub(super) fn join(&mut self) -> u64 {
        self.joined += 1;
        self.members.push(self.joined);
        self.joined
    }

    pub(super) fn leave(&mut self, member: u64) {
        self.members.retain(|other| *other != member);
        self.owners.retain(|_, owner| *owner != member);
    }

    /// The member that is to have a partition, once the one before has let it go.
    fn heir(&self, number: i32) -> Option<u64> {
        let turn = usize::try_from(number).unwrap_or_default().checked_rem(self.members.len())?;
        self.members.get(turn).copied()
    }

    /// What moves to or from a member at this moment.
    pub(super) fn rebalance(&mut self, member: u64, partitions: i32) -> Option<Move> {
        let is_lost = |number: &i32, owner: u64| owner == member && self.heir(*number) != Some(member);
        let lost: Vec<i32> =
            self.owners.iter().filter(|(number, owner)| is_lost(number, **owner)).map(|(number, _)| *number).collect();
        if !lost.is_empty() {
            self.owners.retain(|number, _| !lost.contains(number));
            return Some(Move::Lost(lost));
        }
        let is_won = |number: &i32| !self.owners.contains_key(number) && self.heir(*number) == Some(member);
        let won: Vec<i32> = (0..partitions).filter(is_won).collect();
        if won.is_empty() {
            return None;
        }
        self.owners.extend(won.iter().map(|number| (*number, member)));
        Some(Move::Won(won))
    }
}

pub(super) enum Move {
    Lost(Vec<i32>),
    Won(Vec<i32>),
}
