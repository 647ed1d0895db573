//! Where the cluster is, who we are there, and what the index looks like.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Who we are to Elasticsearch.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Auth {
    /// Nobody: security is switched off, or a proxy takes care of it.
    #[default]
    None,
    /// A user.
    Basic {
        /// Its name.
        username: String,
        /// Its password.
        password: String,
    },
    /// An API key in the encoded form Elasticsearch hands out (base64 of `id:key`).
    ApiKey(String),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Basic { username, password: _ } => {
                f.debug_struct("Basic").field("username", username).finish_non_exhaustive()
            }
            Self::ApiKey(_) => f.write_str("ApiKey(..)"),
        }
    }
}

/// How to reach a cluster.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ElasticsearchConfig {
    /// Addresses of its nodes, `http://` or `https://`, without user name and password; `http://localhost:9200` unless
    /// said. They are used in turn; one that cannot be reached is left alone for half a minute. Proxies named in the
    /// environment are not used.
    pub urls: Vec<String>,
    /// Who we are there; [`Auth::None`] unless said.
    pub auth: Auth,
    /// A PEM file with the certificates of the authorities that signed those of the nodes, for `https://`; none unless
    /// said. Public authorities are trusted anyway.
    pub ca_file: Option<PathBuf>,
    /// How long one request may take, from connecting to the last byte of the answer; 30 seconds unless said.
    pub request_timeout: Duration,
}

impl Default for ElasticsearchConfig {
    fn default() -> Self {
        Self {
            urls: vec!["http://localhost:9200".to_owned()],
            auth: Auth::None,
            ca_file: None,
            request_timeout: Duration::from_secs(30),
        }
    }
}

impl ElasticsearchConfig {
    /// The cluster at these addresses, with the defaults for all else.
    #[must_use]
    pub fn new(urls: impl IntoIterator<Item: Into<String>>) -> Self {
        Self { urls: urls.into_iter().map(Into::into).collect(), ..Self::default() }
    }
}

setters! {
    ElasticsearchConfig {
        auth: Auth,
        ca_file: some PathBuf,
        request_timeout: Duration,
    }
}

/// One index as it is to be.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IndexConfig {
    /// What errors call it: `indexes.NAME`.
    pub name: String,
    /// The name searches use: an alias; the index's `name` unless said. The index behind it is `<alias>-000001`, and counts
    /// up with each re-index.
    pub alias: String,
    /// JSON text `{"settings": {…}, "mappings": {…}}`, both optional, as Elasticsearch's "create index" takes them.
    pub mapping: String,
}

impl IndexConfig {
    /// An index of this name, searched under the same, made of this mapping.
    #[must_use]
    pub fn new(name: impl Into<String>, mapping: impl Into<String>) -> Self {
        let name = name.into();
        Self { alias: name.clone(), name, mapping: mapping.into() }
    }
}

setters! {
    IndexConfig {
        alias: into String,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let basic = Auth::Basic { username: "sync".into(), password: "hunter2".into() };
        for auth in [basic, Auth::ApiKey("hunter2".into())] {
            let config = ElasticsearchConfig { auth, ..ElasticsearchConfig::default() };
            let printed = format!("{config:?}");
            assert!(!printed.contains("hunter2"), "{printed}");
        }
    }
}
