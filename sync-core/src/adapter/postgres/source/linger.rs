//! How long to wait between small windows.
//!
//! A window costs the same whether it holds one event or a hundred. Under steady small commits, one after the other
//! takes the processors from those who commit, and each holds next to nothing. So the next one waits in proportion to
//! what the last one took and to how much it found: next to nothing where little is committed, longer the more there is.

use std::time::Duration;

/// Half of what it took for each event, up to this many: then of five parts of the time one is spent reading.
const MOST: usize = 8;

/// What the window that was read last was like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// From asking for it to its last event.
    pub(super) took: Duration,
    /// In it.
    pub(super) events: usize,
    /// In the one before it.
    pub(super) before: usize,
}

/// How long to wait after it, at most `longest`. Not at all after one that filled a batch, which is a backlog, nor unless
/// both had events: where commits are rare, the bell decides.
pub(super) fn linger(last: Window, batch_events: usize, longest: Duration) -> Duration {
    if last.before == 0 || last.events == 0 || last.events >= batch_events {
        return Duration::ZERO;
    }
    (last.took / 2).saturating_mul(last.events.min(MOST) as u32).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_millis(10);

    fn after(took: u64, events: usize) -> Duration {
        linger(Window { took: Duration::from_millis(took), events, before: 1 }, 100, LONGEST)
    }

    #[test]
    fn a_small_window_is_followed_by_a_wait_that_grows_with_what_it_took_and_found_up_to_a_limit() {
        assert_eq!(after(2, 1), Duration::from_millis(1));
        assert_eq!(after(2, 3), Duration::from_millis(3));
        assert_eq!(after(2, 99), Duration::from_millis(8));
        assert_eq!(after(3, 8), LONGEST);
    }

    #[test]
    fn nothing_waits_in_a_backlog_or_while_commits_are_rare() {
        assert_eq!(after(1, 100), Duration::ZERO);
        assert_eq!(after(1, 0), Duration::ZERO);
        let (rare, steady) =
            (Window { took: LONGEST, events: 1, before: 0 }, Window { took: LONGEST, events: 1, before: 1 });
        assert_eq!(linger(rare, 100, LONGEST), Duration::ZERO);
        assert_eq!(linger(steady, 100, Duration::ZERO), Duration::ZERO);
    }
}
