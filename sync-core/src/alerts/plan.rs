//! Which letters are told of together. Pure.

use crate::port::{KeptLetter, LetterAlert};

/// At most `free` alerts, at least one: each letter in one of its own while that suffices, the rest in the last one.
pub(super) fn plan(letters: Vec<KeptLetter>, free: usize) -> Vec<LetterAlert> {
    let alone = if letters.len() <= free { letters.len() } else { free.saturating_sub(1) };
    let mut letters = letters.into_iter();
    let mut alerts: Vec<_> = letters.by_ref().take(alone).map(|kept| LetterAlert { letters: vec![kept] }).collect();
    let rest: Vec<_> = letters.collect();
    if !rest.is_empty() {
        alerts.push(LetterAlert { letters: rest });
    }
    alerts
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::port::{DeadLetter, Origin};

    fn kept(id: i64) -> KeptLetter {
        let letter = DeadLetter {
            reader: "jobs".into(),
            origin: Origin { topic: "jobs".into(), partition: 0, offset: id },
            event: None,
            key: None,
            value: None,
            error_kind: "refused".into(),
            error: "as it is".into(),
            attempts: 1,
            parked_at: Timestamp::UNIX_EPOCH,
        };
        KeptLetter { id, letter }
    }

    fn planned(letters: i64, free: usize) -> Vec<Vec<i64>> {
        let ids = |alert: LetterAlert| alert.letters.iter().map(|kept| kept.id).collect();
        plan((1..=letters).map(kept).collect(), free).into_iter().map(ids).collect()
    }

    #[test]
    fn what_is_too_much_to_tell_one_by_one_is_told_together_at_the_end() {
        assert_eq!(planned(0, 3), [[0; 0]; 0]);
        assert_eq!(planned(3, 3), [[1], [2], [3]]);
        assert_eq!(planned(5, 3), [vec![1], vec![2], vec![3, 4, 5]]);
        assert_eq!(planned(2, 1), [[1, 2]]);
        assert_eq!(planned(1, 1), [[1]]);
    }
}
