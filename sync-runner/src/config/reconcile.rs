//! `[reconcile]`: when index and database are compared, and how.

use std::time::Duration;

use super::reader::{NEVER, Section};
use crate::schedule::Schedule;

/// When an index is compared with its database, and how.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reconcile {
    /// When what changed lately is compared; `None`: never by itself.
    pub(crate) schedule: Option<Schedule>,
    /// When everything is.
    pub(crate) full_schedule: Option<Schedule>,
    /// How far back "lately" goes.
    pub(crate) window: Duration,
    /// What changed less long ago may still be on its way.
    pub(crate) grace: Duration,
    /// Keys compared in a second, at most; zero: as fast as it goes.
    pub(crate) rate: u32,
}

/// Once a night.
const NIGHTLY: &str = "0 3 * * *";

/// Once a week, an hour later.
const WEEKLY: &str = "0 4 * * SUN";

impl Default for Reconcile {
    fn default() -> Self {
        Self {
            schedule: Schedule::parse(NIGHTLY, "UTC").ok(),
            full_schedule: Schedule::parse(WEEKLY, "UTC").ok(),
            window: Duration::from_secs(24 * 3_600),
            grace: Duration::from_secs(60),
            rate: 0,
        }
    }
}

impl Reconcile {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let default = Self::default();
        let time_zone = section.text("time_zone").unwrap_or_else(|| "UTC".to_owned());
        let time_zone = if jiff::tz::TimeZone::get(&time_zone).is_ok() {
            time_zone
        } else {
            section.problem(
                "time_zone",
                format!("{time_zone:?} is no time zone: expected a name such as \"Europe/Berlin\""),
            );
            "UTC".to_owned()
        };
        let mut schedule = |key: &str, default: &str| {
            let text = section.text(key).unwrap_or_else(|| default.to_owned());
            if text == NEVER {
                return None;
            }
            let parsed = Schedule::parse(&text, &time_zone);
            parsed.map_err(|why| section.problem(key, format!("{text:?} is no schedule: {why}"))).ok()
        };
        let (often, full) = (schedule("schedule", NIGHTLY), schedule("full_schedule", WEEKLY));
        let windows = Duration::from_secs(60)..=Duration::from_secs(366 * 24 * 3_600);
        let graces = Duration::ZERO..=Duration::from_secs(24 * 3_600);
        Self {
            schedule: often,
            full_schedule: full,
            window: section.duration("window", windows).unwrap_or(default.window),
            grace: section.duration("grace", graces).unwrap_or(default.grace),
            rate: section.integer("rate", 0..=10_000_000).unwrap_or(default.rate),
        }
    }
}
