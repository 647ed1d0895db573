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
        if EnvFilter::try_new(&filter).is_err() || !filter.split(',').all(is_level_or_of_a_part) {
            section.problem(
                "filter",
                format!("{filter:?} is neither a level (error, warn, info, debug, trace) nor directives of them"),
            );
        }
        Self { filter, format: section.choice("format").unwrap_or(default.format) }
    }
}

/// A bare word is taken for a part of the program by `tracing`, and a mistyped level would silence all others.
fn is_level_or_of_a_part(directive: &str) -> bool {
    let directive = directive.trim();
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    directive.contains(['=', '[']) || levels.iter().any(|level| directive.eq_ignore_ascii_case(level))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_level_is_not_taken_for_a_part_of_the_program() {
        for good in ["info", "WARN", "off", "info,sync_core=debug", "warn, sync_core::relay=trace", "[span]=debug"] {
            assert!(good.split(',').all(is_level_or_of_a_part), "{good}");
        }
        for bad in ["warning", "loud", "info,sync_core", ""] {
            assert!(!bad.split(',').all(is_level_or_of_a_part), "{bad}");
        }
    }
}
