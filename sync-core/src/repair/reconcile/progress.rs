//! How far a reconciliation is, and what it found.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::confirm::Finding;
use crate::repair::difference::{Difference, DifferenceKind};
use crate::repair::mender::Waiting;

/// What a run calls the time since when changes were compared.
const SINCE: &str = "since";

/// Findings told by key, of each kind; the others are only counted.
const TOLD: usize = 5;

/// Counters of a reconciliation. Cheap to clone; all clones show the same.
#[derive(Clone, Debug, Default)]
pub struct ReconcileProgress {
    state: Arc<Mutex<State>>,
    pub(super) waiting: Waiting,
}

#[derive(Debug, Default)]
struct State {
    counts: ReconcileCounts,
    expected: Option<u64>,
    expected_listed: Option<u64>,
    is_listing: bool,
    /// As they were when the listing began.
    before_listing: ReconcileCounts,
    found: Vec<Difference>,
}

/// What was compared, found and done. A key is counted as one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReconcileCounts {
    /// Only keys that changed since then were compared; `None`: all.
    pub since: Option<Timestamp>,
    /// Keys of the database that were compared.
    pub compared: u64,
    /// Of these, documents whose content was compared.
    pub sampled: u64,
    /// Documents of the index that were looked for in the database.
    pub listed: u64,
    /// What differed, by kind.
    pub differences: BTreeMap<DifferenceKind, u64>,
    /// Keys that differed and may still be on their way: they changed within the grace, or while they were looked at.
    pub in_flight: u64,
    /// Keys that differed and are dead letters: a person decides.
    pub dead_lettered: u64,
    /// Keys whose row cannot be read, so that nothing was compared.
    pub unreadable: u64,
    /// Differences that were put right.
    pub fixed: u64,
    /// Differences the index refused to have put right: parked as dead letters.
    pub parked: u64,
    /// Differences that are still there; the log says why.
    pub unrepaired: u64,
}

impl ReconcileCounts {
    /// Since when the changes were compared by a run that recorded these counts; the beginning of time when all was.
    /// `None` of one that did not record it.
    #[must_use]
    pub fn since_of(recorded: &BTreeMap<String, u64>) -> Option<Timestamp> {
        match i64::try_from(*recorded.get(SINCE)?).ok()? {
            0 => Some(Timestamp::MIN),
            seconds => Timestamp::from_second(seconds).ok(),
        }
    }

    /// How many of one kind.
    #[must_use]
    pub fn of(&self, kind: DifferenceKind) -> u64 {
        self.differences.get(&kind).copied().unwrap_or_default()
    }

    /// How many in all.
    #[must_use]
    pub fn differing(&self) -> u64 {
        self.differences.values().sum()
    }
}

impl ReconcileProgress {
    /// The counters now.
    #[must_use]
    pub fn counts(&self) -> ReconcileCounts {
        self.lock().counts.clone()
    }

    /// Some of what differs, of each kind the first that were found.
    #[must_use]
    pub fn found(&self) -> Vec<Difference> {
        self.lock().found.clone()
    }

    /// How much of what is looked at now is passed, and about how much there is, where that is known: keys of the
    /// database first, then documents of the index.
    #[must_use]
    pub fn passed_of(&self) -> (u64, Option<u64>) {
        let state = self.lock();
        if state.is_listing {
            (state.counts.listed, state.expected_listed)
        } else {
            (state.counts.compared, state.expected)
        }
    }

    /// Whether the index is being listed, the keys of the database having been compared.
    #[must_use]
    pub fn is_listing(&self) -> bool {
        self.lock().is_listing
    }

    /// What it waits for, if it does.
    #[must_use]
    pub fn waiting_for(&self) -> Option<String> {
        self.waiting.what()
    }

    pub(super) fn begin(&self, since: Option<Timestamp>, expected: Option<u64>) {
        let counts = ReconcileCounts { since, ..ReconcileCounts::default() };
        *self.lock() = State { counts, expected, ..State::default() };
    }

    pub(super) fn list(&self, expected: Option<u64>) {
        let mut state = self.lock();
        (state.is_listing, state.expected_listed) = (true, expected);
        state.before_listing = state.counts.clone();
    }

    /// What was found is found again, but for what was put right.
    pub(super) fn list_anew(&self, dry_run: bool) {
        let mut state = self.lock();
        if dry_run {
            state.counts = state.before_listing.clone();
        }
        state.counts.listed = 0;
    }

    pub(super) fn passed(&self, keys: u64, is_listed: bool) {
        let counts = &mut self.lock().counts;
        *if is_listed { &mut counts.listed } else { &mut counts.compared } += keys;
    }

    pub(super) fn sampled(&self, documents: u64) {
        self.lock().counts.sampled += documents;
    }

    pub(super) fn in_flight(&self, keys: u64) {
        self.lock().counts.in_flight += keys;
    }

    pub(super) fn dead_lettered(&self, keys: u64) {
        self.lock().counts.dead_lettered += keys;
    }

    pub(super) fn unreadable(&self) {
        self.lock().counts.unreadable += 1;
    }

    pub(super) fn tell(&self, findings: &[Finding]) {
        let mut state = self.lock();
        for Finding { kind, state: key, held } in findings {
            *state.counts.differences.entry(*kind).or_default() += 1;
            if state.counts.of(*kind) <= TOLD as u64 {
                state.found.push(Difference { key: key.key.clone(), kind: *kind, database: key.version, index: *held });
            }
        }
    }

    pub(super) fn mended(&self, all: u64, parked: u64, unrepaired: u64) {
        let counts = &mut self.lock().counts;
        counts.fixed += all.saturating_sub(parked + unrepaired);
        counts.parked += parked;
        counts.unrepaired += unrepaired;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As a run records them: `since` in seconds since 1970, zero when all was compared.
impl From<ReconcileCounts> for BTreeMap<String, u64> {
    fn from(counts: ReconcileCounts) -> Self {
        let kinds = DifferenceKind::ALL.iter().map(|kind| (kind.name(), counts.of(*kind)));
        let ReconcileCounts { compared, sampled, listed, in_flight, dead_lettered, unreadable, fixed, parked, .. } =
            counts;
        let others = [
            ("compared", compared),
            ("sampled", sampled),
            ("listed", listed),
            ("in_flight", in_flight),
            ("dead_lettered", dead_lettered),
            ("unreadable", unreadable),
            ("fixed", fixed),
            ("parked", parked),
            ("unrepaired", counts.unrepaired),
            (SINCE, counts.since.map_or(0, |since| u64::try_from(since.as_second()).unwrap_or_default())),
        ];
        // What did not happen is not told, but for what was compared and put right.
        let is_told = |(name, count): &(&str, u64)| *count > 0 || matches!(*name, "compared" | "fixed" | SINCE);
        kinds.into_iter().chain(others).filter(is_told).map(|(name, count)| (name.to_owned(), count)).collect()
    }
}
