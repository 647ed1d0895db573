//! Whatever comes from outside, changed at random: nothing that reads it breaks a promise.

use sync_fuzz::{TARGETS, try_changed};

use crate::support::servers::scale;

/// Changed examples of each target, at scale 1.
const CASES: u64 = 2_000;

#[test]
fn what_is_tried_is_read_as_long_as_nobody_changes_it() {
    for target in &TARGETS {
        for example in target.examples {
            assert!((target.run)(example.as_bytes()), "{} does not take {example:?}", target.name);
        }
        for refused in target.refused {
            assert!(!(target.run)(refused.as_bytes()), "{} takes {refused:?}", target.name);
        }
    }
}

#[test]
fn whatever_comes_from_outside_is_read_or_refused_and_nothing_breaks() {
    std::thread::scope(|threads| {
        for target in &TARGETS {
            let run = |bytes: &[u8]| drop((target.run)(bytes));
            threads.spawn(move || try_changed(target.name, &target.seeds(), CASES * scale(), run));
        }
    });
}
