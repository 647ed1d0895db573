//! `[log]`: what is told on standard error.

use tracing_subscriber::EnvFilter;

use super::reader::{Choice, Section};

/// What is told on standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    /// A level, or directives of `tracing` such as `info,sync_core=debug`.
    pub(crate) filter: String,
    /// How a line looks.
    pub(crate) format: Format,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Choice for Format {
    const WORDS: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: Format::Text }
    }
}

impl Log {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let default = Self::default();
        let filter = section.text("filter").unwrap_or(default.filter);
        if EnvFilter::try_new(&filter).is_err() {
            section.problem(
                "filter",
                format!("{filter:?} is neither a level (error, warn, info, debug, trace) nor directives of them"),
            );
        }
        Self { filter, format: section.choice("format").unwrap_or(default.format) }
    }
}
