//! `[search]`: how people search, and `[indexes.NAME.search]`: what of an index they can search.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sync_core::query::{FieldNames, Fields};

use super::postgres::PostgresUrl;
use super::reader::Section;

/// How searches are answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Search {
    /// Where this process listens for them.
    pub(crate) listen: SocketAddr,
    /// Searches under way at the same time, at most.
    pub(crate) concurrency: usize,
    /// How long Elasticsearch may take in all.
    pub(crate) budget: Duration,
    /// How much of that one node may use before another is asked.
    pub(crate) attempt: Duration,
    /// How long it is waited until what was written can be found.
    pub(crate) wait: Duration,
    /// When Elasticsearch is left alone.
    pub(crate) breaker: Breaker,
    /// The database, when it is.
    pub(crate) postgres: SearchPostgres,
}

/// When Elasticsearch is left alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Breaker {
    /// Searches that are looked back at.
    pub(crate) window: usize,
    /// How many of a hundred of them have to fail.
    pub(crate) failure_percent: u32,
    /// How long it is left alone.
    pub(crate) open_for: Duration,
    /// Searches that try it then.
    pub(crate) probes: u32,
    /// What takes longer counts as failed.
    pub(crate) slow: Duration,
    /// How long it takes until all searches go there again.
    pub(crate) recover_for: Duration,
}

/// The servers of the database that are searched.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SearchPostgres {
    /// Standbys, asked before the primary.
    pub(crate) replicas: Vec<PostgresUrl>,
    /// How far one may be behind to be asked.
    pub(crate) max_lag: Duration,
    /// Connections to each server, at most.
    pub(crate) pool_size: usize,
    /// How long one may take to let us in.
    pub(crate) connect_timeout: Duration,
    /// How long a search may take there.
    pub(crate) statement_timeout: Duration,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            concurrency: 64,
            budget: Duration::from_secs(1),
            attempt: Duration::from_millis(100),
            wait: Duration::from_secs(2),
            breaker: Breaker {
                window: 10,
                failure_percent: 50,
                open_for: Duration::from_secs(30),
                probes: 3,
                slow: Duration::from_millis(250),
                recover_for: Duration::from_secs(10),
            },
            postgres: SearchPostgres {
                replicas: Vec::new(),
                max_lag: Duration::from_secs(30),
                pool_size: 16,
                connect_timeout: Duration::from_secs(1),
                statement_timeout: Duration::from_secs(2),
            },
        }
    }
}

const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

impl Search {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let default = Self::default();
        let read = Self {
            listen: section.address("listen").unwrap_or(default.listen),
            concurrency: section.integer("concurrency", 1..=10_000).unwrap_or(default.concurrency),
            budget: section.duration("budget", MILLISECOND * 10..=MINUTE).unwrap_or(default.budget),
            attempt: section.duration("attempt", MILLISECOND * 10..=MINUTE).unwrap_or(default.attempt),
            wait: section.duration("wait", Duration::ZERO..=MINUTE).unwrap_or(default.wait),
            breaker: Breaker::read(section.section("breaker"), default.breaker),
            postgres: SearchPostgres::read(section.section("postgres"), default.postgres),
        };
        if read.attempt >= read.breaker.slow {
            let why = "is not shorter than search.breaker.slow: to leave a node that says nothing would count as a failure of the \
                       index";
            section.problem("attempt", why);
        }
        if read.breaker.slow > read.budget {
            section.section("breaker").problem("slow", "is longer than search.budget, so nothing would ever be slow");
        }
        read
    }
}

impl Breaker {
    fn read(mut section: Section<'_>, default: Self) -> Self {
        Self {
            window: section.integer("window", 1..=10_000).unwrap_or(default.window),
            failure_percent: section.integer("failure_percent", 1..=100).unwrap_or(default.failure_percent),
            open_for: section.duration("open_for", MILLISECOND * 100..=MINUTE * 60).unwrap_or(default.open_for),
            probes: section.integer("probes", 1..=1_000).unwrap_or(default.probes),
            slow: section.duration("slow", MILLISECOND..=MINUTE).unwrap_or(default.slow),
            recover_for: section.duration("recover_for", Duration::ZERO..=MINUTE * 60).unwrap_or(default.recover_for),
        }
    }
}

impl SearchPostgres {
    fn read(mut section: Section<'_>, default: Self) -> Self {
        const EXPECTED: &str =
            "a list of URLs such as \"postgres://user@replica:5432/database\" (the values are not shown)";
        let mut replicas = Vec::new();
        for url in section.secret_list("replicas", EXPECTED).unwrap_or_default() {
            match PostgresUrl::parse(url.expose().to_owned()) {
                Ok(url) => replicas.push(url),
                Err(expected) => section.problem("replicas", format!("one of them is not as expected: {expected}")),
            }
        }
        Self {
            replicas,
            max_lag: section.duration("max_lag", MILLISECOND * 100..=MINUTE * 10).unwrap_or(default.max_lag),
            pool_size: section.integer("pool_size", 1..=1_000).unwrap_or(default.pool_size),
            connect_timeout: section
                .duration("connect_timeout", MILLISECOND * 100..=MINUTE)
                .unwrap_or(default.connect_timeout),
            statement_timeout: section
                .duration("statement_timeout", MILLISECOND * 100..=MINUTE * 10)
                .unwrap_or(default.statement_timeout),
        }
    }
}

/// What of an index can be searched.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Searchable {
    /// The fields.
    pub(crate) fields: Arc<Fields>,
    /// The text search configuration of the database.
    pub(crate) language: String,
}

impl Searchable {
    /// These fields of an index with this mapping.
    ///
    /// # Errors
    /// As for [`Fields::of_mapping`].
    pub(crate) fn new(mapping: &str, names: &FieldNames, language: String) -> Result<Self, sync_core::Error> {
        Ok(Self { fields: Arc::new(Fields::of_mapping(mapping, names)?), language })
    }

    /// Reads what is said of an index with this mapping; `None` when nothing is.
    pub(super) fn read(mut section: Section<'_>, mapping: Option<&str>) -> Option<Self> {
        let given = ["key", "text", "fields", "order", "language"].iter().any(|key| section.has(key));
        let key = section.text("key");
        let has_key = key.is_some();
        let mut names = FieldNames::new(key.unwrap_or_else(|| "id".to_owned()));
        names.text = section.list("text").unwrap_or_default();
        names.fields = section.list("fields").unwrap_or_default();
        names.order = section.text("order");
        let language = section.text("language").unwrap_or_else(|| "simple".to_owned());
        if !given {
            return None;
        }
        let Some(mapping) = mapping else {
            section.problem("fields", "the index needs a mapping, which says of what type the fields are");
            return None;
        };
        match Self::new(mapping, &names, language) {
            Ok(searchable) => Some(searchable),
            Err(error) => {
                let said = error.to_string();
                let (key, what) = said.split_once(": ").unwrap_or(("key", &said));
                // What is wrong with the mapping is told of the index.
                if key == "mapping" {
                    return None;
                }
                let default =
                    if key == "key" && !has_key { "; `id` is looked for where no other field is named" } else { "" };
                section.problem(key, format!("{what}{default}"));
                None
            }
        }
    }
}
