//! Which offsets are safe to commit, when batches of one partition are done in another order than they began. Pure.

use std::collections::VecDeque;

/// The batches of one partition that are not settled, in the order they began.
#[derive(Debug, Default)]
pub struct Settle {
    /// The offset behind each batch, and whether it is done.
    begun: VecDeque<(i64, bool)>,
}

impl Settle {
    /// A batch that ends before `next` has begun. Batches begin in order of their offsets.
    pub fn begin(&mut self, next: i64) {
        self.begun.push_back((next, false));
    }

    /// How many batches have begun and are not settled.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.begun.len()
    }

    /// The batch that ends before `next` is done. Says the offset that is safe now, if that is a new one: everything
    /// before it is done.
    pub fn done(&mut self, next: i64) -> Option<i64> {
        if let Some(batch) = self.begun.iter_mut().find(|batch| batch.0 == next) {
            batch.1 = true;
        }
        let mut safe = None;
        while let Some(&(next, true)) = self.begun.front() {
            self.begun.pop_front();
            safe = Some(next);
        }
        safe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_safe_only_when_everything_before_it_is_done() {
        let mut settle = Settle::default();
        for next in [10, 20, 30] {
            settle.begin(next);
        }
        assert_eq!(settle.done(20), None);
        assert_eq!(settle.done(10), Some(20));
        assert_eq!(settle.done(30), Some(30));
        assert_eq!(settle.pending(), 0);
    }
}
