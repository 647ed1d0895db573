//! Dead letters as they are printed.

use crate::letters::Letter;
use crate::render;
use serde::Serialize;

/// Of an error, this many characters fit beside the rest in a list.
const SHORT: usize = 200;

/// Some letters, and how many there are.
#[derive(Debug, Serialize)]
pub(super) struct Listed<'a> {
    pub(super) letters: Vec<Letter<'a>>,
    pub(super) of: u64,
}

impl Letter<'_> {
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
