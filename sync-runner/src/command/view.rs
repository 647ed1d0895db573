//! How far a long repair is: a bar where there is a terminal, lines now and then where there is none.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use sync_core::port::ReindexPhase;
use sync_core::repair::{BackfillProgress, ReconcileProgress, ReindexProgress};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Between two looks where there is a bar.
const BAR: Duration = Duration::from_millis(200);

/// Between two lines where there is none.
const LINE: Duration = Duration::from_secs(5);

/// Work whose progress can be shown.
pub(super) trait Viewed {
    /// What is counted.
    fn unit(&self) -> &'static str;
    /// How many of them are done.
    fn done(&self) -> u64;
    /// How many of these were done before this process began.
    fn done_before(&self) -> u64;
    /// About how many there are; `None` before that is known.
    fn expected(&self) -> Option<u64>;
    /// What it waits for, if it does.
    fn waiting_for(&self) -> Option<String>;
}

impl Viewed for BackfillProgress {
    fn unit(&self) -> &'static str {
        "rows"
    }

    fn done(&self) -> u64 {
        self.counts().rows
    }

    fn done_before(&self) -> u64 {
        self.resumed().map_or(0, |before| before.rows)
    }

    fn expected(&self) -> Option<u64> {
        Self::expected(self)
    }

    fn waiting_for(&self) -> Option<String> {
        Self::waiting_for(self)
    }
}

impl Viewed for ReconcileProgress {
    fn unit(&self) -> &'static str {
        if self.is_listing() { "documents" } else { "keys" }
    }

    fn done(&self) -> u64 {
        self.passed_of().0
    }

    fn done_before(&self) -> u64 {
        0
    }

    fn expected(&self) -> Option<u64> {
        self.passed_of().1
    }

    fn waiting_for(&self) -> Option<String> {
        Self::waiting_for(self)
    }
}

/// Its rows while it is filled, its keys and documents while it is compared.
impl Viewed for ReindexProgress {
    fn unit(&self) -> &'static str {
        part(self).unit()
    }

    fn done(&self) -> u64 {
        part(self).done()
    }

    fn done_before(&self) -> u64 {
        part(self).done_before()
    }

    fn expected(&self) -> Option<u64> {
        part(self).expected()
    }

    fn waiting_for(&self) -> Option<String> {
        Self::waiting_for(self)
    }
}

fn part(of: &ReindexProgress) -> &dyn Viewed {
    if of.phase() == ReindexPhase::Filling { &of.backfill } else { &of.reconcile }
}

/// A view of it on standard error.
pub(super) struct View<'a, W> {
    index: &'a str,
    work: W,
}

impl<'a, W: Viewed> View<'a, W> {
    pub(super) fn new(index: &'a str, work: W) -> Self {
        Self { index, work }
    }

    /// Shows it until it is over.
    pub(super) async fn show(&self, over: &CancellationToken) {
        if io::stderr().is_terminal() { self.bar(over).await } else { self.lines(over).await }
    }

    async fn bar(&self, over: &CancellationToken) {
        let bar = ProgressBar::no_length();
        bar.set_prefix(self.index.to_owned());
        let mut tick = interval(BAR);
        let mut begun = None;
        while over.run_until_cancelled(tick.tick()).await.is_some() {
            let unit = self.work.unit();
            if let Some(expected) = self.work.expected() {
                let done = self.work.done();
                if begun != Some(unit) {
                    begin(&bar, unit, self.work.done_before());
                    begun = Some(unit);
                }
                bar.set_length(expected.max(done));
                bar.set_position(done);
            }
            bar.set_message(self.work.waiting_for().unwrap_or_default());
        }
        bar.finish_and_clear();
    }

    async fn lines(&self, over: &CancellationToken) {
        let mut tick = interval(LINE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.tick().await;
        let (mut at, mut before, mut unit) = (Instant::now(), self.work.done(), self.work.unit());
        while over.run_until_cancelled(tick.tick()).await.is_some() {
            if unit != self.work.unit() {
                (before, unit) = (0, self.work.unit());
            }
            let done = self.work.done();
            before = before.max(self.work.done_before());
            eprintln!("{}", self.line(done, done.saturating_sub(before) as f64 / at.elapsed().as_secs_f64()));
            (at, before) = (Instant::now(), done);
        }
    }

    fn line(&self, done: u64, per_second: f64) -> String {
        let (index, unit) = (self.index, self.work.unit());
        if let Some(what) = self.work.waiting_for() {
            return format!("{index}: {done} {unit}, waiting: {what}");
        }
        let Some(expected) = self.work.expected() else {
            return if done == 0 {
                format!("{index}: beginning")
            } else {
                format!("{index}: {done} {unit}, {per_second:.0}/s")
            };
        };
        let expected = expected.max(done);
        let left = match per_second {
            0.0 => String::new(),
            rate => format!(", {:.0} s left", (expected - done) as f64 / rate),
        };
        format!("{index}: {done} of about {expected} {unit}, {per_second:.0}/s{left}")
    }
}

/// What was done before says nothing about how fast it goes now.
fn begin(bar: &ProgressBar, unit: &str, before: u64) {
    let template =
        format!("{{prefix}} {{wide_bar}} {{human_pos}}/{{human_len}} {unit}, {{per_sec}}, {{eta}} left {{msg}}");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar.set_position(before);
    bar.reset_eta();
}
