//! How much is asked for at once: less where it takes too long.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Fewer are not asked for: what takes long then is down.
const LEAST: usize = 16;

/// A number of keys or documents.
#[derive(Debug)]
pub(super) struct Limit {
    now: AtomicUsize,
    most: usize,
}

impl Limit {
    pub(super) fn new(first: usize, most: usize) -> Self {
        Self { now: AtomicUsize::new(first.min(most).max(1)), most: most.max(1) }
    }

    pub(super) fn get(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    /// That many took too long, or something is down: nobody can tell.
    pub(super) fn shrink(&self) {
        self.set((self.get() / 2).max(LEAST));
    }

    /// That many were no trouble; up to `fitting` would not be, either.
    pub(super) fn grow(&self, fitting: usize) {
        self.set(self.get().saturating_mul(2).min(fitting));
    }

    fn set(&self, limit: usize) {
        self.now.store(limit.clamp(1, self.most), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_halves_and_doubles_between_few_and_the_most() {
        let limit = Limit::new(4_000, 4_000);
        (0..20).for_each(|_| limit.shrink());
        assert_eq!(limit.get(), LEAST);
        limit.grow(usize::MAX);
        assert_eq!(limit.get(), 2 * LEAST);
        (0..20).for_each(|_| limit.grow(usize::MAX));
        assert_eq!(limit.get(), 4_000);
        limit.grow(3);
        assert_eq!(limit.get(), 3, "large ones");
        assert_eq!(Limit::new(50, 0).get(), 1);
    }
}
