//! Times that come again and again, as cron writes them.

use cronexpr::Crontab;
use jiff::Timestamp;

/// A cron expression in a time zone.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    /// As it was written.
    text: String,
    crontab: Crontab,
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Schedule {
    /// Minute, hour, day of the month, month and day of the week.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    pub(crate) fn parse(expression: &str, time_zone: &str) -> Result<Self, String> {
        let text = format!("{expression} {time_zone}");
        let expected = "expected minute, hour, day of the month, month and day of the week, as in \"0 3 * * *\"";
        if expression.split_whitespace().count() != 5 {
            return Err(format!("{expected}, or \"never\""));
        }
        let crontab = cronexpr::parse_crontab(&text).map_err(|error| format!("{error}; {expected}"))?;
        Ok(Self { text, crontab })
    }

    /// The first time after `now`; `None` when there is none.
    pub(crate) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        self.crontab.find_next(now.to_string().as_str()).ok().map(|next| next.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(expression: &str, time_zone: &str, now: &str) -> String {
        Schedule::parse(expression, time_zone).unwrap().next(now.parse().unwrap()).unwrap().to_string()
    }

    #[test]
    fn a_schedule_is_in_the_time_of_its_zone_in_summer_and_in_winter() {
        assert_eq!(next("0 3 * * *", "UTC", "2026-11-28T03:00:00Z"), "2026-11-29T03:00:00Z");
        assert_eq!(next("0 3 * * *", "Europe/Berlin", "2026-01-10T12:00:00Z"), "2026-01-11T02:00:00Z");
        assert_eq!(next("0 3 * * *", "Europe/Berlin", "2026-07-10T12:00:00Z"), "2026-07-11T01:00:00Z");
        assert_eq!(next("30 4 * * SUN", "UTC", "2026-11-28T12:00:00Z"), "2026-11-29T04:30:00Z");
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_what_is_expected() {
        for wrong in ["", "3", "0 3 * *", "61 3 * * *", "0 3 * * * *", "daily at three o'clock"] {
            let why = Schedule::parse(wrong, "UTC").unwrap_err();
            assert!(why.contains("day of the week"), "{why}");
        }
    }

    #[test]
    fn a_day_that_never_comes_is_no_time() {
        let never = Schedule::parse("0 0 30 2 *", "UTC");
        assert!(never.is_err() || never.is_ok_and(|never| never.next(Timestamp::now()).is_none()));
    }
}
