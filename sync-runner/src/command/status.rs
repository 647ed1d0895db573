//! `status`: how far each stage is behind.

use std::collections::BTreeSet;
use std::time::Duration;

use sync_core::alerts::Health;
use tokio::time::sleep;

use crate::cli::StatusArgs;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::outbox::{Installed, Retained};
use crate::render;
use crate::report::{Answer, Documents, Leaves, Letters, Outbox, Queue, Reindex, Report, Stages};
use crate::wire::Wire;

/// Pause between two reports of `--watch`.
const EVERY: Duration = Duration::from_secs(2);

/// Prints the report, once or again and again.
pub(super) async fn status(config: &Config, args: &StatusArgs) -> Result<Exit, Failure> {
    let wire = Wire::new(config)?;
    let stages = Stages::new(config, &wire)?;
    loop {
        let report = Report::ask(&stages).await;
        if args.output.json {
            render::json(&report)?;
        } else {
            if args.watch {
                render::fresh_screen()?;
            }
            render::text(&lines(&report))?;
        }
        if !args.watch {
            return Ok(report.exit());
        }
        sleep(EVERY).await;
    }
}

impl Report {
    /// How the process ends after this report.
    fn exit(&self) -> Exit {
        self.refusals().map(|(_, refusal)| refusal.exit).max().unwrap_or(Exit::Success)
    }
}

fn lines(report: &Report) -> String {
    let watches = row("tables to outbox".to_owned(), &report.watches, |watches| watched(watches));
    let mut rows = vec![watches, row("outbox to relay".to_owned(), &report.outbox, Outbox::cells)];
    rows.extend(report.bus.iter().map(|(name, queue)| row(format!("bus to indexer of {name}"), queue, Queue::cells)));
    rows.extend(report.indexes.iter().map(|(name, index)| row(format!("index {name}"), index, Documents::cells)));
    match &report.reindexes {
        Answer::Said(all) => rows.extend(all.iter().map(|(name, reindex)| {
            let [behind, state] = reindex.cells();
            [format!("re-index of {name}"), behind, state]
        })),
        Answer::Failed { .. } => rows.push(row("re-indexes".to_owned(), &report.reindexes, |_| Default::default())),
    }
    rows.push(row("outbox kept".to_owned(), &report.retained, Leaves::cells));
    rows.push(row("dead letters".to_owned(), &report.dead_letters, Letters::cells));
    render::table(["STAGE", "BEHIND", "STATE"], rows)
}

/// What a stage is behind, and how it stands; or why that is not known.
fn row<T>(stage: String, answer: &Answer<T>, cells: impl Fn(&T) -> [String; 2]) -> [String; 3] {
    let [behind, state] = match answer {
        Answer::Said(said) => cells(said),
        Answer::Failed { error } => ["unknown".to_owned(), error.message.clone()],
    };
    [stage, behind, state]
}

/// How many tables write events, and which of them do not as they should.
fn watched(watches: &[Installed]) -> [String; 2] {
    let faulty: Vec<_> = watches.iter().filter_map(Installed::told_of_faults).collect();
    let tables: BTreeSet<_> = watches.iter().map(|watch| &watch.table).collect();
    let mut state = format!("{} watched or routed", render::counted(tables.len() as u64, "table"));
    if !faulty.is_empty() {
        state.push_str(&format!("; {}; `sync-runner check` says what to mend", faulty.join("; ")));
    }
    [String::new(), state]
}

impl Outbox {
    fn cells(&self) -> [String; 2] {
        let Some(reading) = &self.reading else {
            return ["all".to_owned(), format!("subscription {:?}: no relay has run yet", self.subscription)];
        };
        let behind = format!("{}, {:.1} s", render::counted(reading.events_behind, "event"), reading.seconds_behind);
        let holder = reading.place.holder.as_ref().map_or_else(
            || "no relay runs".to_owned(),
            |holder| format!("{holder} holds the lease, term {}", reading.place.term),
        );
        let kept = if reading.place.mirrored { " (it follows the one in Kafka)" } else { "" };
        let position = &reading.place.position;
        [behind, format!("subscription {:?}: {holder}, position {position}{kept}", self.subscription)]
    }
}

impl Queue {
    /// Of the partitions those that are behind, by number; all others are done.
    fn cells(&self) -> [String; 2] {
        let behind: Vec<_> = self
            .partitions
            .iter()
            .filter(|partition| partition.messages_behind > 0)
            .map(|partition| format!("{}: {}", partition.number, partition.messages_behind))
            .collect();
        let topic = format!("topic {}, {}", self.topic, render::counted(self.partitions.len() as u64, "partition"));
        let mut state = if behind.is_empty() {
            format!("{topic}, all done")
        } else {
            format!("{topic}, behind in {}", behind.join(", "))
        };
        let age = self.seconds_behind.map(|seconds| format!(", {seconds:.1} s")).unwrap_or_default();
        if self.waiting_for_retry > 0 {
            state.push_str(&format!(", {} to be tried again", self.waiting_for_retry));
        }
        [format!("{}{age}", render::counted(self.messages_behind, "message")), state]
    }
}

impl Documents {
    fn cells(&self) -> [String; 2] {
        let health = match self.health {
            Health::Untold => String::new(),
            Health::Green | Health::Yellow | Health::Red | Health::Silent => {
                format!(", {} is {}", self.of, self.health.name())
            }
        };
        let state = match self.documents {
            Some(documents) => format!("{} in {:?}{health}", render::counted(documents, "document"), self.alias),
            None => format!("no index {:?} yet: the indexer makes it when it first runs", self.alias),
        };
        [String::new(), state]
    }
}

impl Reindex {
    fn cells(&self) -> [String; 2] {
        let Self { phase, old, new, began_at, problem } = self;
        let mut state = format!("{phase}: {new} in the place of {old}, begun {began_at:.0}");
        if let Some(problem) = problem {
            state.push_str(&format!("; it ended: {problem}"));
        }
        [String::new(), state]
    }
}

impl Leaves {
    /// What is kept, and a warning where a subscription keeps more than is wanted.
    fn cells(&self) -> [String; 2] {
        let Retained { bytes, days, held_back } = &self.retained;
        let size = |bytes: i64| format!("{:.1} MB", bytes as f64 / 1e6);
        let mut state = format!("{}, {}", render::counted(*days as u64, "day"), size(*bytes));
        for (subscription, bytes) in held_back {
            let mend = match subscription.strip_prefix("reindex ") {
                Some(_) => "that re-index goes on when its command is run again, and --abort gives it up".to_owned(),
                None => format!("run its relay, or select outbox.forget_subscription('{subscription}')"),
            };
            let held = size(*bytes);
            state.push_str(&format!(
                "; subscription {subscription:?} holds back {held} longer than relay.retention: {mend}"
            ));
        }
        [String::new(), state]
    }
}

impl Letters {
    fn cells(&self) -> [String; 2] {
        let state = match self.oldest {
            Some(oldest) => format!("{}, the oldest since {oldest:.0}", render::counted(self.letters, "letter")),
            None => "none".to_owned(),
        };
        [String::new(), state]
    }
}
