//! A subscription sent back to a time, so that its events are published again.

use jiff::Timestamp;

use super::PostgresSource;
use crate::adapter::postgres::error::from_postgres;
use crate::error::Error;

/// Where a subscription went back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rewound {
    /// What was committed at this moment or later is published again: the last one before the time that was asked for of
    /// which there is a snapshot. `Timestamp::MIN` for the beginning. `None` when the subscription was no further anyhow.
    pub to: Option<Timestamp>,
    /// The beginning of the first day of which there are events; `None` when there are none at all.
    pub retained_from: Option<Timestamp>,
}

impl PostgresSource {
    /// Has the subscription publish again what was committed since that time, as far as it is retained, in both ways of
    /// delivery. A relay at work notices within a third of its lease. Needs no lease; may be repeated; dropped half-way,
    /// it may have happened. The same as `outbox.rewind` in SQL.
    ///
    /// # Errors
    /// `Configuration` when there is no such subscription; `Unavailable`, `Denied`.
    pub async fn rewind(&self, since: Timestamp) -> Result<Rewound, Error> {
        let name = &self.config.subscription;
        let failed = |error| from_postgres(format!("rewinding subscription {name:?}"), error);
        let client = self.database.timed().await?;
        let row = client.query_one(REWIND, &[name, &since.as_duration().as_secs_f64()]).await.map_err(failed)?;
        let time = |seconds: f64| match seconds {
            f64::NEG_INFINITY => Some(Timestamp::MIN),
            seconds => Timestamp::from_millisecond((seconds * 1e3) as i64).ok(),
        };
        let [to, retained_from] = [0, 1].map(|column| row.get::<_, Option<f64>>(column).and_then(time));
        Ok(Rewound { to, retained_from })
    }
}

const REWIND: &str = "
select extract(epoch from went_to)::float8, extract(epoch from retained_from)::float8
  from outbox.rewind($1, timestamptz 'epoch' + make_interval(secs => $2::float8))";
