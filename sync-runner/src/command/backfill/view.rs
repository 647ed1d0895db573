//! How far a backfill is: a bar where there is a terminal, lines now and then where there is none.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use sync_core::repair::BackfillProgress;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Between two looks where there is a bar.
const BAR: Duration = Duration::from_millis(200);

/// Between two lines where there is none.
const LINE: Duration = Duration::from_secs(5);

/// A view of a backfill on standard error.
pub(super) struct View<'a> {
    index: &'a str,
    progress: BackfillProgress,
}

impl<'a> View<'a> {
    pub(super) fn new(index: &'a str, progress: BackfillProgress) -> Self {
        Self { index, progress }
    }

    /// Shows it until it is over.
    pub(super) async fn show(&self, over: &CancellationToken) {
        if io::stderr().is_terminal() { self.bar(over).await } else { self.lines(over).await }
    }

    async fn bar(&self, over: &CancellationToken) {
        let bar = ProgressBar::no_length();
        let template = "{prefix} {wide_bar} {human_pos}/{human_len} rows, {per_sec}, {eta} left {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(self.index.to_owned());
        let mut tick = interval(BAR);
        let mut is_begun = false;
        while over.run_until_cancelled(tick.tick()).await.is_some() {
            if let Some(expected) = self.progress.expected() {
                let rows = self.progress.counts().rows;
                if !is_begun {
                    is_begun = true;
                    // What was done before says nothing about how fast it goes now.
                    bar.set_position(self.progress.resumed().map_or(0, |before| before.rows));
                    bar.reset_eta();
                }
                bar.set_length(expected.max(rows));
                bar.set_position(rows);
            }
            bar.set_message(self.progress.waiting_for().unwrap_or_default());
        }
        bar.finish_and_clear();
    }

    async fn lines(&self, over: &CancellationToken) {
        let mut tick = interval(LINE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.tick().await;
        let (mut at, mut before) = (Instant::now(), self.progress.counts().rows);
        while over.run_until_cancelled(tick.tick()).await.is_some() {
            let rows = self.progress.counts().rows;
            before = before.max(self.progress.resumed().map_or(0, |resumed| resumed.rows));
            eprintln!("{}", self.line(rows, rows.saturating_sub(before) as f64 / at.elapsed().as_secs_f64()));
            (at, before) = (Instant::now(), rows);
        }
    }

    fn line(&self, rows: u64, per_second: f64) -> String {
        let index = self.index;
        if let Some(what) = self.progress.waiting_for() {
            return format!("{index}: {rows} rows, waiting: {what}");
        }
        let Some(expected) = self.progress.expected() else { return format!("{index}: beginning") };
        let expected = expected.max(rows);
        let left = match per_second {
            0.0 => String::new(),
            rate => format!(", {:.0} s left", (expected - rows) as f64 / rate),
        };
        format!("{index}: {rows} of about {expected} rows, {per_second:.0}/s{left}")
    }
}
