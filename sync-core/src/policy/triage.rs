//! Whether what failed is poison, or whether something refuses everything.

/// What the failures of a batch mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Triage {
    /// They are at fault themselves.
    Poison,
    /// What refused them may have been mended while others were taken: only when they fail once more it is they.
    LookAgain,
    /// A wrong mapping or setting.
    Everything,
}

/// Judges a batch of which `taken` keys were taken so far, and `failed` ones not. At least `suspicious` failures look like a wrong
/// mapping or setting, and so does every failure of a batch that looked so before (`was_everything`), unless they failed when
/// others had been taken already (`is_second_look`). Zero suspects nothing.
///
/// Parking a batch that is refused by a wrong mapping would empty the topic into the dead letters; it is better to stop and tell a
/// person.
pub(crate) const fn triage(
    taken: u64,
    failed: usize,
    suspicious: usize,
    was_everything: bool,
    is_second_look: bool,
) -> Triage {
    if suspicious == 0 || failed == 0 || failed < suspicious && !was_everything {
        Triage::Poison
    } else if taken == 0 {
        Triage::Everything
    } else if is_second_look {
        Triage::Poison
    } else {
        Triage::LookAgain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poison_among_others_is_parked_and_a_batch_refused_as_a_whole_is_not() {
        assert_eq!(triage(99, 1, 10, false, false), Triage::Poison);
        assert_eq!(triage(0, 9, 10, false, false), Triage::Poison, "a few may all be poison");
        assert_eq!(triage(0, 10, 10, false, false), Triage::Everything);
        assert_eq!(triage(0, 1_000, 0, false, false), Triage::Poison, "unless told to park whatever comes");
    }

    #[test]
    fn many_that_failed_before_others_were_taken_are_looked_at_again() {
        assert_eq!(triage(1, 999, 10, false, false), Triage::LookAgain);
        assert_eq!(triage(1, 999, 10, false, true), Triage::Poison);
        assert_eq!(triage(0, 999, 10, false, true), Triage::Everything);
    }

    #[test]
    fn a_few_that_failed_in_a_batch_that_was_refused_as_a_whole_before_are_looked_at_again_too() {
        assert_eq!(triage(7, 5, 10, true, false), Triage::LookAgain);
        assert_eq!(triage(7, 5, 10, true, true), Triage::Poison);
        assert_eq!(triage(12, 0, 10, true, false), Triage::Poison, "nothing is left");
    }
}
