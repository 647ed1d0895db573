//! What a saga's log comes to, and what is to be done next. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::error::Remedy;
use crate::port::{SagaEvent, SagaFailure, SagaOutcome};

/// So often a step may end with its process: one that kills it would otherwise do so until the time allowed is over, and
/// whatever else that process does with it.
const LOST: u32 = 10;

/// So many reasons why an end was not taken are noted.
const UNENDED_NOTES: u32 = 20;

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This step.
    Act(String),
    /// What undoes this step.
    Undo(String),
    /// Nothing: it is over.
    End(SagaOutcome),
}

/// What a saga has done.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// Whether it undoes its steps from the start.
    undoes: bool,
    /// Steps that may have been done, at least in part, in the order they were begun.
    begun: Vec<String>,
    outputs: BTreeMap<String, Value>,
    /// Steps that are undone.
    undone: BTreeSet<String>,
    left: BTreeMap<String, String>,
    /// Tries of the step in hand, or of what undoes it.
    tries: u32,
    /// Those of them that failed, and did not only find something away.
    counted: u32,
    /// Those of which nobody knows how they ended: their process died, or lost the log.
    lost: u32,
    /// Whether the last try of it came to no end that anybody knows of.
    is_open: bool,
    /// Why the last try failed.
    failure: Option<String>,
    /// Why it is taken back.
    why: Option<String>,
    /// Why its end was not taken.
    unended: Option<String>,
    /// How often that was noted.
    unended_notes: u32,
}

impl Progress {
    /// Of a saga with these steps; `undoes` them from the start.
    pub(super) fn of(steps: &[&str], undoes: bool, log: &[SagaEvent]) -> Self {
        let begun = if undoes { steps.iter().map(|step| (*step).to_owned()).collect() } else { Vec::new() };
        let mut progress = Self { undoes, begun, ..Self::default() };
        log.iter().for_each(|event| progress.note(event));
        progress
    }

    /// One more event.
    pub(super) fn note(&mut self, event: &SagaEvent) {
        match event {
            SagaEvent::Acting { step, .. } => {
                if !self.begun.contains(step) {
                    self.begun.push(step.clone());
                }
                self.tried();
            }
            SagaEvent::Undoing { .. } => self.tried(),
            SagaEvent::Failed { failure, .. } | SagaEvent::UndoFailed { failure, .. } => self.failed(failure),
            SagaEvent::Done { step, output } => {
                self.outputs.insert(step.clone(), output.clone());
                self.turn();
            }
            SagaEvent::Compensating { why } => {
                self.why.get_or_insert_with(|| why.clone());
                self.turn();
            }
            SagaEvent::Undone { step } => {
                self.undone.insert(step.clone());
                self.turn();
            }
            SagaEvent::Left { step, why } => {
                self.left.insert(step.clone(), why.clone());
                self.turn();
            }
            SagaEvent::EndFailed { why } => {
                self.unended = Some(why.clone());
                self.unended_notes = self.unended_notes.saturating_add(1);
            }
        }
    }

    fn tried(&mut self) {
        self.lost = self.lost.saturating_add(u32::from(self.is_open));
        (self.tries, self.is_open) = (self.tries.saturating_add(1), true);
    }

    fn failed(&mut self, failure: &SagaFailure) {
        self.counted = self.counted.saturating_add(u32::from(failure.counts));
        self.is_open = false;
        self.failure = Some(failure.error.clone());
    }

    /// To another step, or another way.
    fn turn(&mut self) {
        (self.tries, self.counted, self.lost) = (0, 0, 0);
        (self.is_open, self.failure, self.unended) = (false, None, None);
    }

    /// What is to be done next, of a saga with these steps.
    pub(super) fn next(&self, steps: &[&str]) -> Next {
        if self.goes_back() {
            let is_behind = |step: &&String| self.undone.contains(*step) || self.left.contains_key(*step);
            return match self.begun.iter().rev().find(|step| !is_behind(step)) {
                Some(step) => Next::Undo(step.clone()),
                None if self.undoes => Next::End(SagaOutcome::Done),
                None => Next::End(SagaOutcome::Compensated),
            };
        }
        match steps.iter().find(|step| !self.outputs.contains_key(**step)) {
            Some(step) => Next::Act((*step).to_owned()),
            None => Next::End(SagaOutcome::Done),
        }
    }

    /// Whether its steps are undone.
    pub(super) fn goes_back(&self) -> bool {
        self.undoes || self.why.is_some()
    }

    /// Tries of the step in hand.
    pub(super) fn tries(&self) -> u32 {
        self.tries
    }

    /// Those of them that failed, and did not only find something away.
    pub(super) fn counted_tries(&self) -> u32 {
        self.counted
    }

    /// Whether the step in hand has used up its tries.
    pub(super) fn is_used_up(&self, attempts: u32) -> bool {
        self.counted >= attempts.max(1) || self.lost + u32::from(self.is_open) >= LOST
    }

    /// Whether it is not known what the last try of the step in hand did.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Why the last try of the step in hand failed.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// What steps gave.
    pub(super) fn outputs(&self) -> &BTreeMap<String, Value> {
        &self.outputs
    }

    /// Why steps could not be undone.
    pub(super) fn left(&self) -> &BTreeMap<String, String> {
        &self.left
    }

    /// Why it is taken back.
    pub(super) fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// Whether it is to be noted that its end was not taken for this reason: a log does not grow for ever, whatever the reason
    /// says of the time of day.
    pub(super) fn is_worth_noting(&self, why: &str) -> bool {
        self.unended() != Some(why) && self.unended_notes < UNENDED_NOTES
    }

    /// Why its end was not taken, when it was tried last.
    pub(super) fn unended(&self) -> Option<&str> {
        self.unended.as_deref()
    }
}

/// Whether a step that failed is tried again. `tries` are those that count, the last one included.
pub(super) fn is_tried_again(remedy: Remedy, tries: u32, attempts: u32, has_time: bool) -> bool {
    match remedy {
        Remedy::Retry => has_time,
        Remedy::TryLater => has_time && tries < attempts,
        Remedy::Park | Remedy::Halt => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [&str; 3] = ["flight", "hotel", "car"];

    fn acting(step: &str) -> SagaEvent {
        SagaEvent::Acting { step: step.to_owned(), attempt: 1 }
    }

    fn done(step: &str) -> SagaEvent {
        SagaEvent::Done { step: step.to_owned(), output: Value::Null }
    }

    fn undone(step: &str) -> SagaEvent {
        SagaEvent::Undone { step: step.to_owned() }
    }

    fn failed(counts: bool) -> SagaEvent {
        let failure = SagaFailure { error: "full".to_owned(), counts };
        SagaEvent::Failed { step: "flight".to_owned(), attempt: 1, failure }
    }

    fn compensating() -> SagaEvent {
        SagaEvent::Compensating { why: "no car".to_owned() }
    }

    fn next(undoes: bool, log: &[SagaEvent]) -> Next {
        Progress::of(&STEPS, undoes, log).next(&STEPS)
    }

    #[test]
    fn steps_are_done_in_order_and_one_that_was_only_begun_again() {
        assert_eq!(next(false, &[]), Next::Act("flight".to_owned()));
        assert_eq!(next(false, &[acting("flight")]), Next::Act("flight".to_owned()));
        assert_eq!(next(false, &[acting("flight"), done("flight")]), Next::Act("hotel".to_owned()));
        assert_eq!(next(false, &STEPS.map(done)), Next::End(SagaOutcome::Done));
    }

    #[test]
    fn what_was_begun_is_undone_in_reverse_and_nothing_else() {
        let mut log = vec![acting("flight"), done("flight"), acting("hotel"), compensating()];
        assert_eq!(next(false, &log), Next::Undo("hotel".to_owned()));
        log.push(undone("hotel"));
        assert_eq!(next(false, &log), Next::Undo("flight".to_owned()));
        log.push(SagaEvent::Left { step: "flight".to_owned(), why: "closed".to_owned() });
        assert_eq!(next(false, &log), Next::End(SagaOutcome::Compensated));
        let progress = Progress::of(&STEPS, false, &log);
        assert_eq!((progress.why(), progress.left().len()), (Some("no car"), 1));
    }

    #[test]
    fn a_saga_that_undoes_begins_with_the_last_step_and_ends_as_done() {
        assert_eq!(next(true, &[]), Next::Undo("car".to_owned()));
        assert_eq!(next(true, &[undone("car"), undone("hotel")]), Next::Undo("flight".to_owned()));
        assert_eq!(next(true, &STEPS.map(undone)), Next::End(SagaOutcome::Done));
    }

    #[test]
    fn a_step_that_is_no_more_is_undone_all_the_same() {
        assert_eq!(next(false, &[acting("boat"), done("boat"), compensating()]), Next::Undo("boat".to_owned()));
    }

    #[test]
    fn tries_count_unless_something_was_only_away_or_their_process_died() {
        let tries = |log: &[SagaEvent]| Progress::of(&STEPS, false, log).counted_tries();
        assert_eq!(tries(&[acting("flight"), acting("flight")]), 0, "their processes died");
        assert_eq!(tries(&[acting("flight"), failed(true), acting("flight"), failed(false)]), 1);
        assert_eq!(tries(&[acting("flight"), failed(true), acting("flight"), done("flight")]), 0, "the next step's");
        assert_eq!(tries(&[acting("flight"), failed(true), compensating()]), 0, "the way back is another");
    }

    #[test]
    fn a_step_is_given_up_after_so_many_failures_or_after_many_processes_died_in_it() {
        let is_used_up = |log: &[SagaEvent]| Progress::of(&STEPS, false, log).is_used_up(2);
        assert!(!is_used_up(&[acting("flight"), failed(true)]));
        assert!(is_used_up(&[acting("flight"), failed(true), acting("flight"), failed(true)]));
        let died = vec![acting("flight"); 10];
        assert!(!is_used_up(&died[1..]) && is_used_up(&died));
        assert!(!is_used_up(&[&died[1..], &[failed(false), acting("flight"), done("flight")]].concat()));
    }

    #[test]
    fn why_an_end_was_not_taken_is_noted_once_for_each_reason_and_not_for_ever() {
        let mut progress = Progress::of(&STEPS, false, &STEPS.map(done));
        for number in 0..30 {
            let why = format!("refused at second {number}");
            assert_eq!(progress.is_worth_noting(&why), number < 20);
            if progress.is_worth_noting(&why) {
                progress.note(&SagaEvent::EndFailed { why: why.clone() });
                assert!(!progress.is_worth_noting(&why), "twice");
            }
        }
    }

    #[test]
    fn a_try_is_open_until_something_is_known_of_it() {
        let is_open = |log: &[SagaEvent]| Progress::of(&STEPS, false, log).is_open();
        assert!(is_open(&[acting("flight")]));
        assert!(!is_open(&[acting("flight"), failed(true)]) && !is_open(&[acting("flight"), done("flight")]));
    }

    #[test]
    fn what_is_away_is_tried_for_as_long_as_there_is_time_and_what_is_refused_never_again() {
        assert!(is_tried_again(Remedy::Retry, 99, 3, true) && !is_tried_again(Remedy::Retry, 1, 3, false));
        assert!(is_tried_again(Remedy::TryLater, 2, 3, true) && !is_tried_again(Remedy::TryLater, 3, 3, true));
        assert!(!is_tried_again(Remedy::Park, 1, 3, true) && !is_tried_again(Remedy::Halt, 1, 3, true));
    }
}
