//! The concrete indexes behind an alias: one is made anew, takes over the alias, and the other one is deleted.

use std::mem;
use std::time::Duration;

use ::elasticsearch::http::Method;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::client::{Answer, Client, Judged};
use super::config::{ElasticsearchConfig, IndexConfig};
use super::error::Cause;
use super::index::{Index, acknowledged};
use super::meta::{self, Held};
use super::name::segment;
use super::verdict::Asked;
use crate::error::{Error, ErrorKind};
use crate::port::ConcreteIndexes;

/// Sealing waits for every write under way, so it may take longer than other requests.
const SEALING: Duration = Duration::from_secs(120);

/// The concrete indexes of one alias.
///
/// With security switched on it needs what [`ElasticsearchSink`](super::ElasticsearchSink) needs, `manage` on the alias'
/// indexes among it.
#[derive(Debug)]
pub struct ElasticsearchIndexes {
    client: Client,
    patient: Client,
    /// As a new one is to be.
    index: Index,
    /// What is configured now; where that is something else, `index` is made instead of it.
    configured: Index,
}

impl ElasticsearchIndexes {
    /// Checks the configuration; reaches out to nobody. A new index is made of `mapping`, for the alias that is
    /// `configured`.
    ///
    /// # Errors
    /// As for [`ElasticsearchSink::new`](super::ElasticsearchSink::new).
    pub fn new(config: &ElasticsearchConfig, configured: IndexConfig, mapping: &str) -> Result<Self, Error> {
        let new = IndexConfig { mapping: mapping.to_owned(), ..configured.clone() };
        let patient = ElasticsearchConfig { request_timeout: config.request_timeout.max(SEALING), ..config.clone() };
        Ok(Self {
            client: Client::new(config)?,
            patient: Client::new(&patient)?,
            index: Index::new(new)?,
            configured: Index::new(configured)?,
        })
    }

    /// Asks about an index that has to be there.
    async fn ask(
        &self,
        (method, name, rest): (Method, &str, &str),
        body: Option<Value>,
        doing: &str,
    ) -> Result<Answer, Error> {
        let body = body.map(|body| body.to_string().into());
        let answer = self.client.send(method, &format!("/{}{rest}", segment(name)), body).await?;
        match answer.judge(Asked::Other, doing)? {
            Judged::Done => Ok(answer),
            Judged::IndexMissing => {
                Err(Error::new(ErrorKind::Configuration, format!("{doing}: the index {name} is gone")))
            }
        }
    }

    /// Its `_meta`, `None` when there is no such index.
    async fn held(&self, name: &str, doing: &str) -> Result<Option<Held>, Error> {
        let answer = self.client.send(Method::Get, &format!("/{}{}", segment(name), meta::PATH), None).await?;
        match answer.judge(Asked::Other, doing)? {
            Judged::Done => Held::read(&answer, doing).map(Some),
            Judged::IndexMissing => Ok(None),
        }
    }

    fn doing(&self, what: &str) -> String {
        format!("indexes.{}: {what}", self.index.name())
    }
}

#[async_trait]
impl ConcreteIndexes for ElasticsearchIndexes {
    async fn searched(&self) -> Result<Option<String>, Error> {
        self.index.behind_alias(&self.client).await
    }

    async fn next_name(&self, searched: &str, used: &[String]) -> Result<String, Error> {
        let alias = self.index.alias();
        let number = searched.strip_prefix(alias).and_then(|rest| rest.strip_prefix('-')?.parse::<u32>().ok());
        let mut next = number.unwrap_or_default();
        loop {
            next = next.saturating_add(1);
            let name = format!("{alias}-{next:06}");
            if !used.contains(&name) && self.held(&name, &self.doing(&format!("looking for {name}"))).await?.is_none() {
                return Ok(name);
            }
        }
    }

    async fn make(&self, name: &str, reindex: i64, searched: &str) -> Result<(), Error> {
        let doing = self.doing(&format!("making {name}"));
        let history = match self.held(searched, &doing).await? {
            Some(held) => meta::history(&held.meta, &doing)?,
            None => None,
        };
        let configured = self.configured.mappings();
        let instead_of = (self.index.mappings() != configured).then_some(configured);
        let noted = meta::of_reindex(reindex, history.as_ref(), instead_of);
        let created = self.index.create_unsearched(&self.client, name, searched, noted).await;
        let created = created.map_err(|error| {
            if error.kind() != ErrorKind::Configuration {
                return error;
            }
            let what =
                self.doing("no index can be made of this mapping: give the re-index up (--abort), begin with another");
            Error::new(ErrorKind::Configuration, what).with_source(error)
        })?;
        if created {
            return Ok(());
        }
        let held = self.held(name, &doing).await?;
        if held.is_some_and(|held| meta::reindex(&held.meta) == Some(reindex)) {
            return Ok(());
        }
        let what =
            format!("{doing}: there is an index of that name; give the re-index up with --abort and delete that index");
        Err(Error::new(ErrorKind::Configuration, what))
    }

    async fn refresh(&self, name: &str) -> Result<(), Error> {
        let doing = self.doing(&format!("refreshing {name}"));
        self.ask((Method::Post, name, "/_refresh"), None, &doing).await.map(drop)
    }

    async fn switch(&self, from: &str, to: &str) -> Result<(), Error> {
        match self.searched().await?.as_deref() {
            Some(searched) if searched == to => return Ok(()),
            Some(searched) if searched == from => {}
            other => {
                let what = format!(
                    "the alias points to {}, neither to {from} nor to {to}; somebody else has changed it",
                    other.unwrap_or("nothing")
                );
                return Err(Error::new(ErrorKind::Configuration, self.doing(&what)));
            }
        }
        let alias = self.index.alias();
        let actions = json!({ "actions": [
            { "remove": { "index": from, "alias": alias, "must_exist": true } },
            { "add": { "index": to, "alias": alias, "is_write_index": true } },
        ]});
        let doing = self.doing(&format!("pointing the alias to {to}"));
        let answer = self.client.send(Method::Post, "/_aliases", Some(actions.to_string().into())).await?;
        match answer.judge(Asked::Other, &doing)? {
            Judged::Done => acknowledged(&answer, &doing),
            Judged::IndexMissing => {
                let what = format!("{doing}: {}", Cause::read(&answer.body).words());
                Err(Error::new(ErrorKind::Configuration, what))
            }
        }
    }

    async fn seal(&self, name: &str) -> Result<(), Error> {
        let doing = self.doing(&format!("sealing {name}"));
        if self.searched().await?.as_deref() == Some(name) {
            return Err(Error::new(ErrorKind::Configuration, format!("{doing}: it is searched, and is not sealed")));
        }
        let answer = self.patient.send(Method::Put, &format!("/{}/_block/write", segment(name)), None).await?;
        match answer.judge(Asked::Other, &doing)? {
            Judged::Done => acknowledged(&answer, &doing),
            // Nothing can be written to it.
            Judged::IndexMissing => Ok(()),
        }
    }

    async fn unseal(&self, name: &str) -> Result<(), Error> {
        let doing = self.doing(&format!("letting {name} be written to"));
        if self.index.mappings() == self.configured.mappings() {
            // It is configured already what the other one is made of, which must not be added to this one.
            let mut held = self.held(name, &doing).await?.unwrap_or_default();
            let meta = meta::with_instead_of(mem::take(&mut held.meta), self.configured.mappings());
            let answer = self.ask((Method::Put, name, "/_mapping"), Some(held.with_meta(meta)), &doing).await?;
            acknowledged(&answer, &doing)?;
        }
        let settings = json!({ "index.blocks.write": null });
        let answer = self.ask((Method::Put, name, "/_settings"), Some(settings), &doing).await?;
        acknowledged(&answer, &doing)
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        if self.searched().await?.as_deref() == Some(name) {
            let what = self.doing(&format!("{name} is searched, and is not deleted"));
            return Err(Error::new(ErrorKind::Configuration, what));
        }
        let doing = self.doing(&format!("deleting {name}"));
        let answer = self.client.send(Method::Delete, &format!("/{}", segment(name)), None).await?;
        match answer.judge(Asked::Other, &doing)? {
            Judged::Done => acknowledged(&answer, &doing),
            Judged::IndexMissing => Ok(()),
        }
    }
}
