//! Durations and sizes as people write them: `500ms`, `1m 30s`, `8MiB`.

use std::time::Duration;

use jiff::fmt::friendly::{Designator, Spacing, SpanParser, SpanPrinter};

/// Reads a duration with a unit on each number; `None` when it is not one, or negative.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    SpanParser::new().parse_unsigned_duration(text.trim()).ok()
}

/// Writes a duration so that [`parse_duration`] reads it back.
pub(crate) fn show_duration(duration: Duration) -> String {
    SpanPrinter::new()
        .designator(Designator::Compact)
        .spacing(Spacing::BetweenUnits)
        .unsigned_duration_to_string(&duration)
}

/// Units of size with their bytes, largest first; decimal ones are read but not written.
const UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// Reads a number of bytes, with a unit or without; `None` when it is not one.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit = unit.trim_start();
    if unit.is_empty() {
        return Some(number);
    }
    let (_, bytes) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.checked_mul(*bytes)
}

/// Writes a size in the largest binary unit that needs no fraction.
pub(crate) fn show_size(bytes: u64) -> String {
    UNITS
        .iter()
        .filter(|(_, unit)| unit.is_power_of_two())
        .find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit))
        .map_or_else(|| format!("{bytes}B"), |(name, unit)| format!("{}{name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let read = |text| parse_duration(text).map(|duration| duration.as_millis());
        assert_eq!(read("500ms"), Some(500));
        assert_eq!(read("10s"), Some(10_000));
        assert_eq!(read(" 2m "), Some(120_000));
        assert_eq!(read("1m 30s"), Some(90_000));
        assert_eq!(read("1h30m"), Some(5_400_000));
        assert_eq!(read("1.5s"), Some(1_500));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "10", "s", "-1s", "1s ago", "ten seconds", "10 bananas", "P1D"] {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
    }

    #[test]
    fn sizes_are_read_with_binary_and_decimal_units() {
        let read = parse_size;
        assert_eq!(read("8MiB"), Some(8 << 20));
        assert_eq!(read("8 mib"), Some(8 << 20));
        assert_eq!(read("1GB"), Some(1_000_000_000));
        assert_eq!(read("512"), Some(512));
        assert_eq!(read("0"), Some(0));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "MiB", "-1", "1.5MiB", "8 bananas", "99999999999GiB", "0x10"] {
            assert_eq!(parse_size(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_written_duration_reads_back_as_itself(millis in 0_u64..10_000_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
        }

        #[test]
        fn a_written_size_reads_back_as_itself(bytes: u64) {
            prop_assert_eq!(parse_size(&show_size(bytes)), Some(bytes));
        }
    }
}
