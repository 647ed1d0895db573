//! Thousands of histories: the rooms between doubles in memory, on a paused clock, with everything going wrong that the
//! ports' contracts allow; and the proof that what they do not allow is noticed.

mod broken;
mod consumer;
mod history;
mod process;
mod projection;
mod publisher;
mod sink;
mod source;
mod transactor;
mod weather;
mod world;
mod writers;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use sync_core::testkit::oracle::Violation;

use self::broken::Broken;
use self::history::{Verdict, play};
use crate::support::servers;

/// Histories in the everyday size: some fifteen seconds.
const HISTORIES: u64 = 5_000;

/// How often the history of a given seed is played: of two branches that are ready at the same time `select!` takes
/// one by chance, which no seed decides.
const REPLAYS: u64 = 500;

/// What many histories had in them.
#[derive(Debug, Default)]
struct Sum {
    committed: AtomicU64,
    faults: AtomicU64,
    kills: AtomicU64,
    parked: AtomicU64,
    transactions: AtomicU64,
}

#[test]
fn whatever_goes_wrong_nothing_is_lost_out_of_order_or_older_in_the_end() {
    let given = std::env::var("SYNC_TEST_SEED").ok().map(|seed| seed.parse::<u64>().expect("a number"));
    let scale = servers::scale();
    // A larger size is there to see what was not seen before.
    let first = if scale > 1 { u64::from(rand::random::<u32>()) << 16 } else { 0 };
    let (histories, next) = (given.map_or(HISTORIES * scale, |_| REPLAYS), AtomicU64::new(0));
    let (sum, begin) = (Sum::default(), Instant::now());
    let failed = thread::scope(|scope| {
        let play_all = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= histories {
                    return None;
                }
                let seed = given.unwrap_or(first + number);
                let verdict = play(seed, Broken::Nothing);
                sum.committed.fetch_add(verdict.committed, Ordering::Relaxed);
                sum.faults.fetch_add(verdict.faults, Ordering::Relaxed);
                sum.kills.fetch_add(verdict.kills, Ordering::Relaxed);
                sum.parked.fetch_add(verdict.parked, Ordering::Relaxed);
                sum.transactions.fetch_add(verdict.transactions, Ordering::Relaxed);
                if !verdict.is_good() {
                    next.store(histories, Ordering::Relaxed);
                    return Some((seed, verdict));
                }
            }
        };
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let playing: Vec<_> = (0..threads).map(|_| scope.spawn(play_all)).collect();
        playing.into_iter().find_map(|thread| thread.join().unwrap())
    });
    if let Some((seed, verdict)) = failed {
        panic!("SYNC_TEST_SEED={seed}\n{verdict}");
    }
    let rate = histories as f64 / begin.elapsed().as_secs_f64();
    println!("{histories} histories, {rate:.0} a second: {sum:?}");
    if given.is_none() {
        let often = |what: &AtomicU64, times| what.load(Ordering::Relaxed) > times * histories;
        let happened = often(&sum.committed, 4)
            && often(&sum.faults, 4)
            && sum.kills.load(Ordering::Relaxed) > histories / 2
            && sum.transactions.load(Ordering::Relaxed) > histories / 5
            && sum.parked.load(Ordering::Relaxed) > histories / 50;
        assert!(happened, "next to nothing happened: {sum:?}");
    }
}

/// Plays histories in which something is broken until each of these has been seen, which only this can show.
#[track_caller]
fn assert_caught(broken: Broken, shows: &[fn(&Violation) -> bool]) {
    let mut unseen = shows.to_vec();
    // Some show in one history of a thousand; nearly always far fewer than these are played.
    for seed in 0..20 * HISTORIES {
        let Verdict { violations, .. } = play(seed, broken);
        unseen.retain(|shows| !violations.iter().any(shows));
        if unseen.is_empty() {
            println!("{broken:?} was caught by seed {seed}");
            return;
        }
    }
    panic!("{broken:?}: {} of {} were never seen", unseen.len(), shows.len());
}

#[test]
fn a_sink_without_the_version_guard_is_caught() {
    assert_caught(
        Broken::Guard,
        &[
            |violation| matches!(violation, Violation::Stale { .. }),
            |violation| matches!(violation, Violation::Orphan { .. }),
            |violation| matches!(violation, Violation::VersionWentBack { .. }),
        ],
    );
}

#[test]
fn offsets_that_are_committed_before_they_are_applied_are_caught() {
    assert_caught(
        Broken::EarlyCommits,
        &[
            |violation| matches!(violation, Violation::Stale { .. }),
            |violation| matches!(violation, Violation::Missing { .. }),
        ],
    );
}

#[test]
fn a_cursor_that_lets_anyone_advance_is_caught() {
    assert_caught(Broken::Fencing, &[|violation| matches!(violation, Violation::PositionWentBack { .. })]);
}

#[test]
fn a_position_that_is_an_id_is_caught() {
    assert_caught(Broken::IdCursor, &[|violation| matches!(violation, Violation::Lost { .. })]);
}

#[test]
fn a_bus_that_acknowledges_what_it_has_not_stored_is_caught() {
    assert_caught(Broken::EarlyAcknowledgements, &[|violation| matches!(violation, Violation::Lost { .. })]);
}

#[test]
fn a_bus_that_stores_on_behind_a_gap_is_caught() {
    assert_caught(Broken::Gaps, &[|violation| matches!(violation, Violation::OutOfOrder { .. })]);
}

#[test]
fn a_bus_that_begins_anew_before_it_told_of_a_failure_is_caught() {
    assert_caught(Broken::Forgetful, &[|violation| matches!(violation, Violation::OutOfOrder { .. })]);
}

#[test]
fn a_position_stored_beside_the_transaction_is_caught() {
    assert_caught(Broken::LooseMark, &[|violation| matches!(violation, Violation::Repeated { .. })]);
}

#[test]
fn messages_of_a_transaction_that_was_taken_back_are_caught() {
    assert_caught(Broken::VisibleAborts, &[|violation| matches!(violation, Violation::Repeated { .. })]);
}

#[test]
fn a_transactor_that_shuts_nobody_out_is_caught() {
    assert_caught(Broken::NobodyShutOut, &[|violation| matches!(violation, Violation::Repeated { .. })]);
}

#[test]
fn a_position_that_is_not_the_newest_is_caught() {
    assert_caught(Broken::StaleMark, &[|violation| matches!(violation, Violation::Repeated { .. })]);
}

#[test]
fn a_position_in_the_database_that_follows_whatever_the_term_is_caught() {
    assert_caught(Broken::Mirror, &[|violation| matches!(violation, Violation::PositionWentBack { .. })]);
}
