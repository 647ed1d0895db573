//! What people are told, once: that there are dead letters, never more at a time than people can read; and how the pipeline
//! stands, when a [condition](Condition) begins and when it ends.
//!
//! ```text
//!  dead letters nobody was told of ──claim──▶ plan (so many a minute) ──▶ handlers ──▶ announced
//!  observation ──thresholds──▶ conditions (begun, over) ──lease: one process──▶ handlers ──▶ told
//! ```

mod condition;
mod conditions;
mod letters;
mod observation;
mod plan;
mod reading;
mod telling;
mod watch;

pub use self::condition::{Condition, Thresholds};
pub use self::letters::{Alerts, AlertsConfig};
pub use self::observation::{Health, Moment, Observation, ObservedIndex};
pub use self::watch::ConditionWatch;
