//! How many requests to have under way at a time: one more while all goes well, half as many when it does not.

/// A limit that feels its way between one and a ceiling. It begins at the ceiling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct AdaptiveLimit {
    ceiling: f64,
    limit: f64,
}

impl AdaptiveLimit {
    /// At most `ceiling`, at least one.
    #[must_use]
    pub(crate) fn new(ceiling: usize) -> Self {
        let ceiling = ceiling.max(1) as f64;
        Self { ceiling, limit: ceiling }
    }

    /// How many there may be now.
    #[must_use]
    pub(crate) const fn current(&self) -> usize {
        self.limit as usize
    }

    /// A request was answered in good time. As many of them as the limit make it one more.
    pub(crate) fn grow(&mut self) {
        self.limit = (self.limit + 1.0 / self.limit).min(self.ceiling);
    }

    /// A request was refused for want of room, or took long.
    pub(crate) const fn shrink(&mut self) {
        self.limit = (self.limit / 2.0).max(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_halves_at_each_refusal_and_never_reaches_zero() {
        let mut limit = AdaptiveLimit::new(16);
        let mut after = || {
            limit.shrink();
            limit.current()
        };
        assert_eq!([after(), after(), after(), after(), after()], [8, 4, 2, 1, 1]);
    }

    #[test]
    fn it_grows_by_one_for_each_round_of_answers_up_to_the_ceiling() {
        let mut limit = AdaptiveLimit::new(4);
        limit.shrink();
        limit.shrink();
        let mut rounds = Vec::new();
        for _ in 0..5 {
            for _ in 0..limit.current() {
                limit.grow();
            }
            rounds.push(limit.current());
        }
        assert_eq!(rounds, [2, 2, 3, 4, 4], "about one for each round");
        limit.grow();
        assert_eq!(limit.current(), 4);
    }
}
