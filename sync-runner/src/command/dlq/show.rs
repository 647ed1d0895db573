//! Dead letters as they are printed.

use jiff::Timestamp;
use serde::Serialize;
use sync_core::port::{DeadLetter, Kept, Origin};

use crate::render;

/// Of an error, this many characters fit beside the rest in a list.
const SHORT: usize = 200;

/// Some letters, and how many there are.
#[derive(Debug, Serialize)]
pub(super) struct Listed<'a> {
    pub(super) letters: Vec<Letter<'a>>,
    pub(super) of: u64,
}

/// One letter.
#[derive(Debug, Serialize)]
pub(super) struct Letter<'a> {
    id: i64,
    reader: &'a str,
    key: Option<&'a str>,
    error_kind: &'a str,
    error: &'a str,
    attempts: u32,
    parked_at: Timestamp,
    topic: &'a str,
    /// Absent of an event that was never published.
    partition: Option<i32>,
    offset: Option<i64>,
    event: Option<i64>,
    value: Option<&'a str>,
}

impl<'a> Letter<'a> {
    pub(super) fn of(kept: &'a Kept) -> Self {
        let DeadLetter { reader, origin, event, key, value, error_kind, error, attempts, parked_at } = &kept.letter;
        let Origin { topic, partition, offset } = origin;
        let was_published = *partition >= 0;
        Self {
            id: kept.id,
            reader,
            key: key.as_deref(),
            error_kind,
            error,
            attempts: *attempts,
            parked_at: *parked_at,
            topic,
            partition: was_published.then_some(*partition),
            offset: was_published.then_some(*offset),
            event: *event,
            value: value.as_deref(),
        }
    }

    /// Everything, a line each.
    pub(super) fn text(&self) -> String {
        let origin = match (self.partition, self.offset) {
            (Some(_), Some(..0)) => format!("topic {}, found by a repair", self.topic),
            (Some(partition), Some(offset)) => format!("topic {}, partition {partition}, offset {offset}", self.topic),
            (None, _) | (_, None) => format!("topic {}, never published", self.topic),
        };
        let lines = [
            ("letter", Some(self.id.to_string())),
            ("reader", Some(self.reader.to_owned())),
            ("key", self.key.map(str::to_owned)),
            ("parked at", Some(format!("{:.0}", self.parked_at))),
            ("attempts", Some(self.attempts.to_string())),
            ("origin", Some(origin)),
            ("event", self.event.map(|event| event.to_string())),
            ("error kind", Some(self.error_kind.to_owned())),
            ("error", Some(self.error.to_owned())),
            ("value", self.value.map(str::to_owned)),
        ];
        let line = |(name, value): (&str, Option<String>)| Some(format!("{name:<11} {}", value?));
        lines.into_iter().filter_map(line).collect::<Vec<_>>().join("\n")
    }

    fn cells(&self) -> [String; 6] {
        let mut error: String = self.error.chars().take(SHORT).map(|c| if c.is_control() { ' ' } else { c }).collect();
        if error.len() < self.error.len() {
            error.push('…');
        }
        [
            self.id.to_string(),
            self.reader.to_owned(),
            self.key.unwrap_or("(none)").to_owned(),
            format!("{:.0}", self.parked_at),
            self.error_kind.to_owned(),
            error,
        ]
    }
}

impl Listed<'_> {
    /// A table, and what it leaves out.
    pub(super) fn text(&self) -> String {
        if self.of == 0 {
            return "No dead letters.".to_owned();
        }
        let header = ["LETTER", "READER", "KEY", "PARKED AT", "KIND", "ERROR"];
        let table = render::table(header, self.letters.iter().map(Letter::cells));
        match self.of.saturating_sub(self.letters.len() as u64) {
            0 => table,
            more => format!("{table}\n{more} more; --limit shows them"),
        }
    }
}
