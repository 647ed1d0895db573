//! The index of an Elasticsearch or OpenSearch cluster as a sink.

use std::collections::HashSet;
use std::mem;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ::elasticsearch::http::Method;
use async_trait::async_trait;
use bytes::Bytes;
use serde::Deserialize;
use tokio::time::Instant;

use super::bulk;
use super::client::{Answer, Client, Judged};
use super::config::{ElasticsearchConfig, IndexConfig};
use super::get::{Held, Wanted};
use super::index::{Index, acknowledged};
use super::meta;
use super::name::segment;
use super::verdict::Asked;
use crate::error::{Error, ErrorKind, Remedy};
use crate::port::{History, Outcome, Sink, Stored, Write};

/// One index of an Elasticsearch or OpenSearch cluster, written under external versions.
///
/// A deleted document's version is remembered for `index.gc_deletes` (one hour, unless the mapping says otherwise), and
/// only as long as the node that holds it lives.
///
/// With security switched on it needs the cluster privilege `manage_index_templates` (and `monitor` for
/// [`check`](super::check())), and on the alias and its indexes `create_index`, `manage`, `read` and `write`. OpenSearch's
/// security wants `cluster:monitor/main`, too, by which it is told from Elasticsearch.
#[derive(Debug)]
pub struct ElasticsearchSink {
    client: Client,
    index: Index,
    place: Place,
    moved_at: RwLock<Option<Instant>>,
}

/// Which concrete index is written to. Writes never name the alias: were it missing, a delete would create an index in
/// its place.
#[derive(Debug)]
enum Place {
    /// The one behind the alias, as it was known last, and when.
    BehindAlias(RwLock<Option<(Arc<str>, Instant)>>),
    /// This one, whoever is searched.
    Fixed(Arc<str>),
}

/// How long it counts which index is behind the alias. A re-index seals the old index once the alias has moved, so no write
/// is lost by it; but a person may move an alias, too, and an index that is taken back is open again.
const KNOWN: Duration = Duration::from_secs(10);

impl ElasticsearchSink {
    /// Checks the configuration; reaches out to nobody.
    ///
    /// # Errors
    /// `Configuration`, naming `elasticsearch.url`, `elasticsearch.ca_file`, `elasticsearch.api_key`,
    /// `indexes.<name>` or `indexes.<alias>.mapping`.
    pub fn new(config: &ElasticsearchConfig, index: IndexConfig) -> Result<Self, Error> {
        Self::at(config, index, Place::BehindAlias(RwLock::new(None)))
    }

    /// The same for one concrete index, which is there, and which the alias may or may not point to.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn of_concrete(config: &ElasticsearchConfig, index: IndexConfig, concrete: &str) -> Result<Self, Error> {
        Self::at(config, index, Place::Fixed(concrete.into()))
    }

    fn at(config: &ElasticsearchConfig, index: IndexConfig, place: Place) -> Result<Self, Error> {
        Ok(Self { client: Client::new(config)?, index: Index::new(index)?, place, moved_at: RwLock::default() })
    }

    /// Whether Elasticsearch understands the configured settings and mapping. Nothing is made of them, and an index that is
    /// there may refuse them still.
    ///
    /// # Errors
    /// `Configuration` when it does not; `Unavailable`, `Denied`.
    pub async fn check_mapping(&self) -> Result<(), Error> {
        self.index.rehearse(&self.client).await
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn alias(&self) -> &str {
        self.index.alias()
    }

    /// Makes every applied write visible to searches.
    pub(super) async fn refresh(&self, doing: &str) -> Result<(), Error> {
        #[derive(Deserialize)]
        struct Refreshed {
            _shards: Shards,
        }

        let answer = self.ask(Method::Post, "/_refresh", None, doing).await?;
        let Refreshed { _shards: shards } = answer.read(doing)?;
        shards.all_answered(doing)
    }

    /// The index that was written to last.
    fn known(&self) -> Option<Arc<str>> {
        match &self.place {
            Place::Fixed(name) => Some(Arc::clone(name)),
            Place::BehindAlias(known) => {
                known.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(name, _)| Arc::clone(name))
            }
        }
    }

    /// Another index has other memories of deletes: what was read before must not be written to it.
    fn moved(&self, to: &str) -> Error {
        let what = format!("{to} is behind the alias {} now; the rows are read again", self.index.alias());
        Error::new(ErrorKind::Blocked, what)
    }

    async fn concrete(&self) -> Result<Arc<str>, Error> {
        let known = match &self.place {
            Place::Fixed(name) => return Ok(Arc::clone(name)),
            Place::BehindAlias(known) => known.read().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        match known {
            None => self.prepare_concrete().await,
            Some((name, since)) if since.elapsed() < KNOWN => Ok(name),
            Some((name, _)) => match self.resolve_alias().await {
                Ok(resolved) => Ok(resolved.unwrap_or(name)),
                Err(error) if error.remedy() == Remedy::Retry => Err(error),
                // It points to several: whoever prepares the index says so.
                Err(_) => Ok(name),
            },
        }
    }

    /// The index the alias points to now; `None` when it points to none, or does not matter here.
    async fn resolve_alias(&self) -> Result<Option<Arc<str>>, Error> {
        match &self.place {
            Place::Fixed(_) => Ok(None),
            Place::BehindAlias(_) => Ok(self.index.behind_alias(&self.client).await?.map(|name| self.know(name))),
        }
    }

    fn know(&self, name: String) -> Arc<str> {
        let name: Arc<str> = name.into();
        if let Place::BehindAlias(known) = &self.place {
            let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
            if known.as_ref().is_some_and(|(before, _)| *before != name) {
                *self.moved_at.write().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            }
            *known = Some((Arc::clone(&name), Instant::now()));
        }
        name
    }

    async fn prepare_concrete(&self) -> Result<Arc<str>, Error> {
        if let Place::Fixed(name) = &self.place {
            return Ok(Arc::clone(name));
        }
        Ok(self.know(self.index.prepare(&self.client).await?))
    }

    /// Makes the index that was found missing, where no other has taken its place.
    async fn replace(&self, missing: &str) -> Result<Arc<str>, Error> {
        if let Place::Fixed(name) = &self.place {
            let what = format!("indexes.{}: the index {name} is gone", self.index.name());
            return Err(Error::new(ErrorKind::Configuration, what));
        }
        tracing::warn!(
            alias = self.index.alias(),
            index = missing,
            "the index is gone; one is created from the configured mapping, and lacks every document until it changes; \
             a backfill brings all"
        );
        self.prepare_concrete().await
    }

    /// The index that has taken the place of this one, which is missing or takes no writes; if one has.
    async fn moved_from(&self, gone: &str) -> Option<Arc<str>> {
        let other = self.resolve_alias().await.ok().flatten().filter(|other| **other != *gone)?;
        tracing::info!(alias = self.index.alias(), index = &*other, "another index has taken the place of {gone}");
        Some(other)
    }

    /// Asks the concrete index, once more when it was missing.
    pub(super) async fn ask(
        &self,
        method: Method,
        after_index: &str,
        body: Option<Bytes>,
        doing: &str,
    ) -> Result<Answer, Error> {
        let mut concrete = self.concrete().await?;
        for again in [true, false] {
            let path = format!("/{}{after_index}", segment(&concrete));
            let answer = self.client.send(method, &path, body.clone()).await?;
            match answer.judge(Asked::Other, doing)? {
                Judged::Done => return Ok(answer),
                Judged::IndexMissing if again => {
                    concrete = match self.moved_from(&concrete).await {
                        Some(other) => other,
                        None => self.replace(&concrete).await?,
                    }
                }
                Judged::IndexMissing => {}
            }
        }
        Err(self.missing_again())
    }

    fn missing_again(&self) -> Error {
        let alias = self.index.alias();
        Error::new(ErrorKind::Unavailable, format!("the index of {alias} was created, and deleted again at once"))
    }

    /// Sends those writes that are open and settles them, all but the ones for which there was no index.
    async fn bulk(
        &self,
        concrete: &str,
        writes: &[Write],
        open: &mut Vec<usize>,
        outcomes: &mut [bulk::Settled],
    ) -> Result<(), Error> {
        let doing = format!("writing to {concrete}");
        let chosen = || open.iter().map(|&place| &writes[place]);
        let product = self.client.product().await?;
        let path = format!("/{}/_bulk?{}", segment(concrete), bulk::FILTER);
        let answer = self.client.send(Method::Post, &path, Some(bulk::body(product, chosen())?)).await?;
        if answer.judge(Asked::Bulk, &doing)? == Judged::IndexMissing {
            return Ok(());
        }
        let settled = bulk::settle(product, &answer, &doing, chosen())?;
        for (&place, outcome) in open.iter().zip(settled) {
            outcomes[place] = outcome;
        }
        open.retain(|&place| outcomes[place].is_none());
        Ok(())
    }
}

#[async_trait]
impl Sink for ElasticsearchSink {
    async fn prepare(&self) -> Result<(), Error> {
        self.prepare_concrete().await.map(drop)
    }

    async fn apply(&self, writes: &[Write]) -> Result<Vec<Outcome>, Error> {
        let mut seen = HashSet::with_capacity(writes.len());
        if let Some(twice) = writes.iter().find(|write| !seen.insert(write.key.as_str())) {
            return Err(Error::new(ErrorKind::Internal, format!("key {:?} is twice in one call", twice.key)));
        }
        let mut outcomes: Vec<bulk::Settled> =
            writes.iter().map(|write| bulk::check(write).err().map(Outcome::Failed)).collect();
        let mut open: Vec<usize> = (0..writes.len()).filter(|&place| outcomes[place].is_none()).collect();
        if !open.is_empty() {
            let before = self.known();
            let concrete = self.concrete().await?;
            if before.is_some_and(|before| before != concrete) {
                return Err(self.moved(&concrete));
            }
            self.bulk(&concrete, writes, &mut open, &mut outcomes).await?;
            if (!open.is_empty() || outcomes.iter().any(is_blocked))
                && let Some(other) = self.moved_from(&concrete).await
            {
                return Err(self.moved(&other));
            }
            if !open.is_empty() {
                let concrete = self.replace(&concrete).await?;
                self.bulk(&concrete, writes, &mut open, &mut outcomes).await?;
            }
        }
        if !open.is_empty() {
            return Err(self.missing_again());
        }
        let settled: Option<Vec<_>> = outcomes.into_iter().collect();
        settled.ok_or_else(|| Error::new(ErrorKind::Internal, "a write of a bulk was left without an outcome"))
    }

    async fn fetch(&self, keys: &[String]) -> Result<Vec<Option<Stored>>, Error> {
        let stored = |held: Option<Held>| match held {
            None => Ok(None),
            Some(Held { version, source: Some(document) }) => Ok(Some(Stored { version, document })),
            Some(Held { source: None, .. }) => Err(Error::new(
                ErrorKind::Configuration,
                format!("documents of {} have no _source; the mapping must not switch it off", self.index.alias()),
            )),
        };
        self.get(keys, Wanted::Documents).await?.into_iter().map(stored).collect()
    }

    async fn history(&self) -> Result<Option<History>, Error> {
        let doing = format!("indexes.{}: reading the history of the index", self.index.name());
        let answer = self.ask(Method::Get, meta::PATH, None, &doing).await?;
        meta::history(&meta::Held::read(&answer, &doing)?.meta, &doing)
    }

    async fn record(&self, history: &History) -> Result<(), Error> {
        let doing = format!("indexes.{}: recording the history of the index", self.index.name());
        let answer = self.ask(Method::Get, meta::PATH, None, &doing).await?;
        let mut held = meta::Held::read(&answer, &doing)?;
        let meta = meta::with_history(mem::take(&mut held.meta), history);
        let body = held.with_meta(meta).to_string();
        let answer = self.ask(Method::Put, "/_mapping", Some(body.into()), &doing).await?;
        acknowledged(&answer, &doing)
    }

    fn moved_at(&self) -> Option<Instant> {
        *self.moved_at.read().unwrap_or_else(PoisonError::into_inner)
    }

    async fn is_foreign(&self) -> Result<bool, Error> {
        let doing = format!("indexes.{}: reading by whom the index was made", self.index.name());
        let answer = self.ask(Method::Get, meta::PATH, None, &doing).await?;
        let is_ours = meta::Held::read(&answer, &doing)?.meta.contains_key(meta::KEY);
        Ok(!is_ours && self.count().await? > 0)
    }

    async fn count(&self) -> Result<u64, Error> {
        #[derive(Deserialize)]
        struct Counted {
            count: u64,
            _shards: Shards,
        }

        let doing = format!("counting the documents of {}", self.index.alias());
        self.refresh(&doing).await?;
        let answer = self.ask(Method::Get, "/_count", None, &doing).await?;
        let Counted { count, _shards: shards } = answer.read(&doing)?;
        shards.all_answered(&doing).map(|()| count)
    }
}

fn is_blocked(outcome: &bulk::Settled) -> bool {
    matches!(outcome, Some(Outcome::Failed(error)) if error.kind() == ErrorKind::Blocked)
}

/// How many shards of an index did something.
#[derive(Deserialize)]
pub(super) struct Shards {
    failed: u64,
}

impl Shards {
    pub(super) fn all_answered(&self, doing: &str) -> Result<(), Error> {
        match self.failed {
            0 => Ok(()),
            _ => Err(Error::new(ErrorKind::Unavailable, format!("{doing}: not every shard answered"))),
        }
    }
}
