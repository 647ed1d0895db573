//! Whether what failed is poison, or whether something refuses everything.

/// Whether a batch in which `succeeded` keys were taken and `failed` ones were not looks like a wrong mapping or
/// setting rather than like poison: nothing of it was taken, and at least `suspicious` keys failed. Zero suspects
/// nothing.
///
/// Parking such a batch would empty the topic into the dead letters; it is better to stop and tell a person.
#[must_use]
pub const fn refuses_everything(succeeded: u64, failed: usize, suspicious: usize) -> bool {
    suspicious > 0 && succeeded == 0 && failed >= suspicious
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poison_among_others_is_parked_and_a_batch_refused_as_a_whole_is_not() {
        assert!(!refuses_everything(99, 1, 10));
        assert!(!refuses_everything(1, 999, 10));
        assert!(!refuses_everything(0, 9, 10), "a few may all be poison");
        assert!(refuses_everything(0, 10, 10));
        assert!(!refuses_everything(0, 1_000, 0), "unless told to park whatever comes");
    }
}
