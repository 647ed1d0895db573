//! What the client and the cluster say, in the words of the engine.

use std::error::Error as StdError;
use std::time::Duration;

use ::elasticsearch::Error as ClientError;
use serde::Deserialize;

use crate::error::{Error, ErrorKind};

/// How much of an answer that is not understood is quoted, in characters.
const QUOTED: usize = 200;

/// A request that got no answer, or only part of one, in the time that a setting gives it.
pub(super) fn no_answer(url: &str, setting: &str, timeout: Duration, error: ClientError) -> Error {
    let (kind, action) = if error.is_timeout() {
        let action = format!(
            "elasticsearch.url: {url} did not answer within {timeout:?}; look at the cluster's load, or raise {setting}"
        );
        (ErrorKind::Unavailable, action)
    } else if is_about_certificates(&error) {
        let action = format!(
            "elasticsearch.url: the certificate of {url} is not trusted; set elasticsearch.ca_file to the authority \
             that signed it, and use the name it was made out for"
        );
        (ErrorKind::Configuration, action)
    } else {
        let action = format!(
            "elasticsearch.url: cannot reach {url}; is Elasticsearch up, is the address right, is it http or https?"
        );
        (ErrorKind::Unavailable, action)
    };
    Error::new(kind, action).with_source(error)
}

fn is_about_certificates(error: &ClientError) -> bool {
    let mut cause: Option<&dyn StdError> = Some(error);
    while let Some(error) = cause {
        // The TLS library is not named here; its word for every kind of bad certificate is the same.
        if error.to_string().contains("invalid peer certificate") {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A client that cannot be built as configured.
pub(super) fn unusable(setting: &str, error: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Configuration, format!("{setting} cannot be used")).with_source(error)
}

/// Why Elasticsearch did not do something.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Cause {
    #[serde(default, rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    caused_by: Option<Box<Self>>,
}

impl Cause {
    /// The cause in an answer's body; whatever that is, there is something to say.
    pub(super) fn read(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Answer {
            error: Said,
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Said {
            Cause(Cause),
            Text(String),
        }
        match serde_json::from_slice::<Answer>(body) {
            Ok(Answer { error: Said::Cause(cause) }) => cause,
            Ok(Answer { error: Said::Text(reason) }) => Self { reason: Some(reason), ..Self::default() },
            Err(_) => Self { reason: Some(quote(body)), ..Self::default() },
        }
    }

    /// One line for a person.
    pub(super) fn words(&self) -> String {
        let mut words = String::new();
        let mut next = Some(self);
        while let Some(cause) = next {
            for part in [&cause.kind, &cause.reason].into_iter().flatten() {
                if !part.is_empty() && !words.contains(part.as_str()) {
                    words.push_str(if words.is_empty() { "" } else { ": " });
                    words.push_str(part);
                }
            }
            next = cause.caused_by.as_deref();
        }
        words
    }
}

/// The beginning of an answer that nobody expected.
pub(super) fn quote(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    if text.is_empty() { "an empty answer".to_owned() } else { text.chars().take(QUOTED).collect() }
}

/// An answer that says no.
pub(super) fn answered(kind: ErrorKind, url: &str, doing: &str, status: u16, cause: &Cause) -> Error {
    let mend = match kind {
        ErrorKind::Denied => {
            "; check elasticsearch.username and elasticsearch.password, or elasticsearch.api_key, \
                              and what they may do"
        }
        ErrorKind::Blocked => "; the index takes no writes: reopen it, take the block away, or free disk space",
        ErrorKind::TooLarge => "; the request is larger than the cluster takes (http.max_content_length), or malformed",
        ErrorKind::Configuration if cause.kind.is_none() => "; is elasticsearch.url the address of Elasticsearch?",
        ErrorKind::Unavailable
        | ErrorKind::Fenced
        | ErrorKind::Unexplained
        | ErrorKind::Refused
        | ErrorKind::Configuration
        | ErrorKind::Contract
        | ErrorKind::History
        | ErrorKind::Internal => "",
    };
    Error::new(kind, format!("{doing}: {url} answered {status}: {}{mend}", cause.words()))
}

/// A success whose body is not what was asked for. Something between us and the cluster is at fault, or the answer was
/// cut off; either way it is unknown what was carried out.
pub(super) fn garbled(url: &str, doing: &str, body: &[u8], why: impl std::fmt::Display) -> Error {
    let quoted = quote(body);
    Error::new(
        ErrorKind::Unavailable,
        format!("{doing}: cannot understand the answer of {url} ({why}): {quoted}; is something else in between?"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_with_what_caused_it() {
        let body = br#"{"error":{"root_cause":[],"type":"document_parsing_exception",
            "reason":"[1:5] failed to parse field [n] of type [integer]",
            "caused_by":{"type":"number_format_exception","reason":"For input string: \"abc\""}},"status":400}"#;
        assert_eq!(
            Cause::read(body).words(),
            "document_parsing_exception: [1:5] failed to parse field [n] of type [integer]: \
             number_format_exception: For input string: \"abc\""
        );
    }

    #[test]
    fn every_body_has_words() {
        let said = |body: &[u8]| Cause::read(body).words();
        assert_eq!(said(br#"{"error":"alias [jobs] missing","status":404}"#), "alias [jobs] missing");
        assert_eq!(said(b"<html>502 Bad Gateway</html>"), "<html>502 Bad Gateway</html>");
        assert_eq!(said(b""), "an empty answer");
        assert_eq!(said(b"\xff\xfe"), "\u{fffd}\u{fffd}");
        assert_eq!(said(&b"x".repeat(10_000)).len(), QUOTED);
    }
}
