//! Alerts as HTTP requests: to a chat, a pager, or a service of one's own.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use serde_json::{Value, json};

use crate::error::{Error, ErrorKind};
use crate::port::{Alert, AlertHandler, ConditionAlert, KeptLetter, LetterAlert};

/// Where alerts are sent.
#[derive(Clone)]
#[non_exhaustive]
pub struct WebhookConfig {
    /// `http://` or `https://`; may hold a secret and is never printed. Proxies named in the environment are used.
    pub url: String,
    /// Sent along, such as `Authorization`; none unless said. Never printed.
    pub headers: Vec<(String, String)>,
    /// How long one request may take; 10 seconds unless said.
    pub timeout: Duration,
}

impl WebhookConfig {
    /// This address, without headers; a request may take 10 seconds.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), headers: Vec::new(), timeout: Duration::from_secs(10) }
    }
}

setters! {
    WebhookConfig {
        headers: Vec<(String, String)>,
        timeout: Duration,
    }
}

impl fmt::Debug for WebhookConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookConfig").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// Letters that one request lists; it says how many there are.
const LISTED: usize = 20;

/// Sends each alert as a POST of JSON: `alert` (`"dead_letters"`), `text` (one line for people, which chats show),
/// `count`, and the first twenty `dead_letters`, each with `id`, `reader`, `topic`, `partition` and `offset` (null of an
/// event that was never published), `event`, `key`, `error_kind`, `error`, `attempts`, `parked_at`. Long keys and errors
/// are cut. Of a condition: `alert` (its name), `text`, `state` (`"firing"` or `"resolved"`), `severity`, `key` (the same for
/// all that is told of it), `subject`, `summary`, `since`, `runbook`. Any answer from 200 to 299 is a yes; redirects are not
/// followed.
pub struct Webhook {
    client: Client,
    url: Url,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").finish_non_exhaustive()
    }
}

impl Webhook {
    /// Checks the configuration; reaches out to nobody.
    ///
    /// # Errors
    /// `Configuration`, naming the setting and not its value.
    pub fn new(config: &WebhookConfig) -> Result<Self, Error> {
        let wrong = |what: &str| Error::new(ErrorKind::Configuration, format!("alerts.webhook.{what}"));
        let url: Url = config.url.parse().map_err(|_| wrong("url: not a URL (the value is not shown)"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong("url: expected http:// or https:// and a host (the value is not shown)"));
        }
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        for (name, value) in &config.headers {
            let header: HeaderName =
                name.parse().map_err(|_| wrong(&format!("headers: {name:?} is not the name of a header")))?;
            let mut value = HeaderValue::from_str(value)
                .map_err(|_| wrong(&format!("headers.{name}: not the value of a header (it is not shown)")))?;
            value.set_sensitive(true);
            headers.insert(header, value);
        }
        let client = Client::builder().default_headers(headers).timeout(config.timeout).redirect(Policy::none());
        let client = client.build().map_err(|error| wrong("url: cannot prepare requests").with_source(error))?;
        Ok(Self { client, url })
    }
}

#[async_trait]
impl AlertHandler for Webhook {
    async fn alert(&self, alert: &Alert) -> Result<(), Error> {
        let body = match alert {
            Alert::Letters(LetterAlert { letters }) => {
                let (text, count) = (alert.to_string(), letters.len());
                let letters: Vec<_> = letters.iter().take(LISTED).map(shown).collect();
                json!({ "alert": "dead_letters", "text": text, "count": count, "dead_letters": letters })
            }
            Alert::Condition(condition) => condition_of(condition),
        };
        let request = self.client.post(self.url.clone()).body(body.to_string());
        let answer = request.send().await.map_err(|error| {
            // Its address may be a secret.
            Error::new(ErrorKind::Unavailable, "alerts.webhook.url: no answer").with_source(error.without_url())
        })?;
        let status = answer.status();
        let kind = match status {
            _ if status.is_success() => return Ok(()),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorKind::Denied,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => ErrorKind::Unavailable,
            _ if status.is_server_error() => ErrorKind::Unavailable,
            _ => ErrorKind::Configuration,
        };
        Err(Error::new(kind, format!("alerts.webhook.url: it answered {status}")))
    }
}

fn condition_of(alert: &ConditionAlert) -> Value {
    json!({
        "alert": alert.name,
        "text": alert.to_string(),
        "state": alert.state,
        "severity": alert.severity,
        "key": alert.key(),
        "subject": alert.subject,
        "summary": alert.summary,
        "since": alert.since,
        "runbook": alert.runbook(),
    })
}

fn shown(KeptLetter { id, letter }: &KeptLetter) -> Value {
    let was_published = !letter.origin.is_unpublished();
    json!({
        "id": id,
        "reader": letter.reader,
        "topic": letter.origin.topic,
        "partition": was_published.then_some(letter.origin.partition),
        "offset": was_published.then_some(letter.origin.offset),
        "event": letter.event,
        "key": letter.short_key(),
        "error_kind": letter.error_kind,
        "error": letter.short_error(),
        "attempts": letter.attempts,
        "parked_at": letter.parked_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str, headers: &[(&str, &str)]) -> WebhookConfig {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        WebhookConfig { url: url.to_owned(), headers, timeout: Duration::from_secs(10) }
    }

    #[test]
    fn what_is_wrong_is_named_and_never_shown() {
        let wrong = [
            (config("hunter2", &[]), "alerts.webhook.url"),
            (config("ftp://hunter2/", &[]), "alerts.webhook.url"),
            (config("http://", &[]), "alerts.webhook.url"),
            (config("http://h/hunter2", &[("a b", "hunter2")]), "alerts.webhook.headers"),
            (config("http://h/hunter2", &[("Authorization", "hunter2\n")]), "alerts.webhook.headers.Authorization"),
        ];
        for (config, setting) in wrong {
            let said = Webhook::new(&config).unwrap_err().to_string();
            assert!(said.contains(setting) && !said.contains("hunter2"), "{said}");
        }
        let good = config("http://h/hunter2", &[("Authorization", "hunter2")]);
        let printed = format!("{good:?} {:?}", Webhook::new(&good).unwrap());
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}
