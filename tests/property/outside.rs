//! Whatever comes from outside, changed at random: nothing that reads it breaks a promise.

use std::panic::{AssertUnwindSafe, catch_unwind};

use sync_fuzz::{FuzzTarget, TARGETS, mutated};

use crate::support::servers::scale;

/// Changed examples of each target, at scale 1.
const CASES: u64 = 2_000;

fn run(target: &FuzzTarget, bytes: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))).is_err() {
        panic!("{} does not stand \"{}\"", target.name, bytes.escape_ascii());
    }
}

#[test]
fn whatever_comes_from_outside_is_read_or_refused_and_nothing_breaks() {
    let begins = rand::random::<u64>();
    std::thread::scope(|threads| {
        for target in &TARGETS {
            threads.spawn(move || {
                for example in target.examples {
                    run(target, example.as_bytes());
                }
                for seed in 0..CASES * scale() {
                    run(target, &mutated(target.examples, begins.wrapping_add(seed)));
                }
            });
        }
    });
}
