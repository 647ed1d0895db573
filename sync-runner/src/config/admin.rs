//! `[admin]`: what operators see of a process, and may have it do.

use std::net::SocketAddr;
use std::time::Duration;

use super::reader::Section;
use super::secret::Secret;

/// What operators see of a process.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Admin {
    /// Where this process listens for them; `None`: at the usual place where that is free.
    pub(crate) listen: Option<SocketAddr>,
    /// Who shows it may change things; without one nobody may.
    pub(crate) token: Option<Secret>,
    /// How often every stage is looked at.
    pub(crate) interval: Duration,
    /// How often rows are counted; `None`: never.
    pub(crate) count_interval: Option<Duration>,
}

/// A token that could be guessed is none.
const SHORTEST: usize = 16;

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: None,
            token: None,
            interval: Duration::from_secs(5),
            count_interval: Some(Duration::from_secs(300)),
        }
    }
}

impl Admin {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let default = Self::default();
        let listen = section.address("listen");
        let token = section.secret("token");
        let is_one = |token: &Secret| {
            let text = token.expose();
            text.len() >= SHORTEST && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if token.as_ref().is_some_and(|token| !is_one(token)) {
            let what = format!(
                "expected {SHORTEST} characters or more, letters, digits and signs of ASCII, no spaces (the value is not shown)"
            );
            section.problem("token", what);
        }
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3_600));
        Self {
            listen,
            token,
            interval: section.duration("interval", second..=hour).unwrap_or(default.interval),
            count_interval: section.every("count_interval", second..=24 * hour).unwrap_or(default.count_interval),
        }
    }
}
