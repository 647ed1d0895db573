//! `replay`: a subscription sent back to a time.

use jiff::Timestamp;
use serde::Serialize;
use sync_core::adapter::postgres::Rewound;
use sync_core::port::Source;

use crate::cli::ReplayArgs;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::render;
use crate::wire::Wire;

#[derive(Debug, Serialize)]
struct Report<'a> {
    subscription: &'a str,
    since: Timestamp,
    /// The moment it went back to; nothing when that is the beginning, or when it was no further.
    to: Option<Timestamp>,
    /// Whether it went back at all.
    went_back: bool,
    /// Events of days before this one are gone.
    retained_from: Option<Timestamp>,
    /// Events it has to publish now, those that were waiting anyhow included; a million means at least that.
    events: u64,
}

/// Sends it back.
pub(super) async fn replay(config: &Config, args: &ReplayArgs) -> Result<Exit, Failure> {
    let subscription = args.subscription.as_deref().unwrap_or(&config.relay.subscription);
    let source = Wire::new(config)?.source_of(subscription);
    let since = args.since.seen_from(Timestamp::now());
    let Rewound { to, retained_from, .. } = source.rewind(since).await?;
    let events = source.lag().await?.events;
    let report = Report {
        subscription,
        since,
        to: to.filter(|to| *to > Timestamp::MIN),
        went_back: to.is_some(),
        retained_from,
        events,
    };
    if args.output.json {
        render::json(&report)?;
    } else {
        render::text(&lines(&report))?;
    }
    Ok(Exit::Success)
}

fn lines(report: &Report<'_>) -> String {
    let Report { subscription, since, to, went_back, retained_from, events } = report;
    let place = match (went_back, to) {
        (false, _) => format!("had yet to publish everything committed since {since:.0}"),
        (true, Some(to)) => format!("went back to {to:.0}"),
        (true, None) => "went back to the beginning of what the outbox keeps".to_owned(),
    };
    let mut text = format!(
        "{subscription}: {place}; {} to publish. Its relay goes on from there.",
        render::counted(*events, "event")
    );
    if let Some(from) = retained_from.filter(|from| from > since) {
        text.push_str(&format!(
            "\nEvents from before {from:.0} are gone: relay.retention says how long they are kept."
        ));
    }
    text
}
