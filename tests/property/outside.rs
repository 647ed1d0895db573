//! Whatever comes from outside, changed at random: nothing that reads it breaks a promise.

use sync_fuzz::{TARGETS, try_changed};

use crate::support::servers::scale;

/// Changed examples of each target, at scale 1.
const CASES: u64 = 2_000;

#[test]
fn what_is_tried_is_read_as_long_as_nobody_changes_it() {
    let mut wrong = Vec::new();
    for target in &TARGETS {
        let examples = target.examples.iter().map(|example| (example, true));
        for (bytes, is_taken) in examples.chain(target.refused.iter().map(|refused| (refused, false))) {
            if (target.run)(bytes.as_bytes()) != is_taken {
                wrong.push((target.name, is_taken, bytes));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn whatever_comes_from_outside_is_read_or_refused_and_nothing_breaks() {
    std::thread::scope(|threads| {
        for target in &TARGETS {
            threads.spawn(|| try_changed(target.name, &target.seeds(), CASES * scale(), target.run));
        }
    });
}
