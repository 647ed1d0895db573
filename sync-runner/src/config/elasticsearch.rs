//! `[elasticsearch]`: the cluster that holds the indexes.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::Section;
use super::secret::Secret;

/// Where Elasticsearch is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Elasticsearch {
    /// Addresses of nodes; without credentials, those have settings of their own. None where there is no cluster.
    pub(crate) urls: Vec<String>,
    /// How to be let in.
    pub(crate) credentials: Option<Credentials>,
    /// PEM file of the certificate authorities to trust beside the public ones.
    pub(crate) ca_file: Option<PathBuf>,
    /// How long one request may take.
    pub(crate) request_timeout: Duration,
}

/// How to be let in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Credentials {
    /// By name and password.
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// By an API key, as Elasticsearch encodes it.
    ApiKey(Secret),
}

impl Default for Elasticsearch {
    fn default() -> Self {
        Self { urls: Vec::new(), credentials: None, ca_file: None, request_timeout: Duration::from_secs(30) }
    }
}

const EXPECTED: &str = "a URL such as \"http://localhost:9200\", or a list of them (the value is not shown)";

impl Elasticsearch {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let default = Self::default();
        Self {
            urls: read_urls(&mut section).unwrap_or(default.urls),
            credentials: read_credentials(&mut section),
            ca_file: section.path("ca_file"),
            request_timeout: section
                .duration("request_timeout", Duration::from_millis(100)..=Duration::from_secs(600))
                .unwrap_or(default.request_timeout),
        }
    }
}

fn read_urls(section: &mut Section<'_>) -> Option<Vec<String>> {
    let urls = section.secret_list("url", EXPECTED)?;
    let mut seen = Vec::with_capacity(urls.len());
    for url in &urls {
        let url = url.expose();
        let place = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        match place {
            Some(place) if place.contains('@') => {
                section.problem("url", "holds a name or password; those belong in elasticsearch.username and password");
            }
            Some(place) if !place.is_empty() && !place.contains(char::is_whitespace) => {
                seen.push(url.trim_end_matches('/').to_owned());
            }
            Some(_) | None => section.problem("url", format!("expected {EXPECTED}")),
        }
    }
    (!seen.is_empty()).then_some(seen)
}

fn read_credentials(section: &mut Section<'_>) -> Option<Credentials> {
    let (has_password, has_api_key) = (section.has_secret("password"), section.has_secret("api_key"));
    let username = section.text("username");
    let password = section.secret("password");
    let api_key = section.secret("api_key");
    let has_basic = username.is_some() || has_password;
    if has_api_key && has_basic {
        section.problem("api_key", "is set beside a username or password; remove one of them");
        return None;
    }
    if has_basic && !has_password {
        section.problem("password", "is missing: elasticsearch.username is set");
    }
    if has_basic && username.is_none() {
        section.problem("username", "is missing: elasticsearch.password is set");
    }
    if has_basic {
        return Some(Credentials::Basic { username: username?, password: password? });
    }
    api_key.map(Credentials::ApiKey)
}
