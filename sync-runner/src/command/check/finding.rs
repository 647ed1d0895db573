//! What a check found.

use std::fmt::Display;

use serde::Serialize;
use sync_core::Error;

use crate::exit::Exit;

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// The section of the configuration it is about.
    part: String,
    /// What was tried.
    check: &'static str,
    /// How it went.
    pub(super) verdict: Verdict,
    /// What was found; of a failure the setting and the mend.
    found: String,
    /// What kind of failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip)]
    exit: Exit,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and somebody should know this.
    Warning,
    /// It does not work.
    Failed,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

impl Finding {
    /// As it should be.
    pub(super) fn ok(part: impl Into<String>, check: &'static str, found: impl Display) -> Self {
        Self::new(part, check, Verdict::Ok, found)
    }

    /// It works, and somebody should know this.
    pub(super) fn warning(part: impl Into<String>, check: &'static str, found: impl Display) -> Self {
        Self::new(part, check, Verdict::Warning, found)
    }

    /// It does not work.
    pub(super) fn failed(part: impl Into<String>, check: &'static str, error: &Error) -> Self {
        let finding = Self::new(part, check, Verdict::Failed, error);
        Self { kind: Some(error.kind().name()), exit: Exit::of(error.kind()), ..finding }
    }

    fn new(part: impl Into<String>, check: &'static str, verdict: Verdict, found: impl Display) -> Self {
        Self { part: part.into(), check, verdict, found: found.to_string(), kind: None, exit: Exit::Success }
    }

    /// How the process ends that found only this.
    pub(super) const fn exit(&self) -> Exit {
        self.exit
    }

    /// The line as cells of a table.
    pub(super) fn cells(&self) -> [String; 4] {
        [self.verdict.word(), &self.part, self.check, &self.found].map(str::to_owned)
    }
}
