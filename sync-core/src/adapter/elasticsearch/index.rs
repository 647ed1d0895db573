//! Makes the index what the configuration says: the concrete index, its alias, its mapping, its protection.

use std::collections::BTreeMap;

use ::elasticsearch::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::client::{Answer, Client, Judged};
use super::config::IndexConfig;
use super::error::{Cause, garbled};
use super::meta::{self, Held};
use super::name::{illegal_name, segment};
use super::product::Product;
use super::verdict::Asked;
use crate::error::{Error, ErrorKind};

/// How long the version of a deleted document counts. Elasticsearch's own 60 s is shorter than a message may be late.
const GC_DELETES: &str = "1h";

/// Above the templates that Elasticsearch and its integrations bring along.
const TEMPLATE_PRIORITY: usize = 500;

/// An index as it is to be, checked.
#[derive(Debug)]
pub(super) struct Index {
    name: String,
    alias: String,
    settings: Map<String, Value>,
    mappings: Map<String, Value>,
    /// What the configuration says of `index.gc_deletes`.
    gc_deletes: Option<Value>,
}

impl Index {
    pub(super) fn new(config: IndexConfig) -> Result<Self, Error> {
        let IndexConfig { name, alias, mapping } = config;
        if let Some(why) = illegal_name(&alias) {
            return Err(Error::new(ErrorKind::Configuration, format!("indexes.{name}: {why}")));
        }
        let wrong = |why: &str| Error::new(ErrorKind::Configuration, format!("indexes.{name}.mapping: {why}"));
        let body: Value =
            serde_json::from_str(&mapping).map_err(|error| wrong("this is not JSON").with_source(error))?;
        let Value::Object(mut body) = body else { return Err(wrong("this is not a JSON object")) };
        let mut part = |name: &str| match body.remove(name) {
            None => Ok(Map::new()),
            Some(Value::Object(part)) => Ok(part),
            Some(_) => Err(wrong(&format!("\"{name}\" is not a JSON object"))),
        };
        let (mut settings, mappings) = (part("settings")?, part("mappings")?);
        if let Some(unknown) = body.keys().next() {
            return Err(wrong(&format!("only \"settings\" and \"mappings\" belong here, not {unknown:?}")));
        }
        if let Some(theirs) = mappings.get("_meta") {
            let Value::Object(theirs) = theirs else { return Err(wrong("\"_meta\" is not a JSON object")) };
            if theirs.contains_key(meta::KEY) {
                return Err(wrong(&format!("_meta.{} is kept by the indexer; leave it out", meta::KEY)));
            }
        }
        let configured = by_name(&settings);
        let gc_deletes = configured.get("gc_deletes").cloned();
        if gc_deletes.is_none() {
            settings.insert("index.gc_deletes".to_owned(), GC_DELETES.into());
        }
        if !configured.contains_key("number_of_replicas") && !configured.contains_key("auto_expand_replicas") {
            // One copy more than the primary as soon as there is a second node; alone, a replica would stay unassigned
            // and the cluster yellow.
            settings.insert("index.auto_expand_replicas".to_owned(), "0-1".into());
        }
        Ok(Self { name, alias, settings, mappings, gc_deletes })
    }

    /// What errors call it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn alias(&self) -> &str {
        &self.alias
    }

    pub(super) fn mappings(&self) -> &Map<String, Value> {
        &self.mappings
    }

    /// Finds the concrete index or creates it; may be run by many at once. Returns its name.
    pub(super) async fn prepare(&self, client: &Client) -> Result<String, Error> {
        if let Some(index) = self.behind_alias(client).await? {
            self.protect(client, &[&index]).await?;
            self.adapt(client, &index).await?;
            return Ok(index);
        }
        self.protect(client, &[]).await?;
        let index = format!("{}-000001", self.alias);
        if self.create(client, &index).await? {
            tracing::info!(alias = self.alias, index, "created the index from its configured mapping");
            return Ok(index);
        }
        // Somebody else was faster, and has set the alias in the same step.
        match self.behind_alias(client).await? {
            Some(index) => Ok(index),
            None => Err(Error::new(
                ErrorKind::Configuration,
                format!(
                    "indexes.{}: the index {index} is there, but no alias {} points to it; set the alias, or delete \
                     the index",
                    self.name, self.alias
                ),
            )),
        }
    }

    /// The concrete index behind the alias.
    pub(super) async fn behind_alias(&self, client: &Client) -> Result<Option<String>, Error> {
        #[derive(Deserialize)]
        struct Anything {}

        let doing = format!("indexes.{}: looking up the alias", self.name);
        let answer = client.send(Method::Get, &format!("/_alias/{}", segment(&self.alias)), None).await?;
        if answer.status == 404 {
            return Ok(None);
        }
        if answer.judge(Asked::Other, &doing)? == Judged::IndexMissing {
            return Ok(None);
        }
        let found: BTreeMap<String, Anything> = answer.read(&doing)?;
        let names: Vec<_> = found.into_keys().collect();
        match <[String; 1]>::try_from(names) {
            Ok([index]) => Ok(Some(index)),
            Err(names) if names.is_empty() => Ok(None),
            Err(names) => Err(Error::new(
                ErrorKind::Configuration,
                format!(
                    "indexes.{}: the alias points to several indexes ({}); leave it on one of them",
                    self.name,
                    names.join(", ")
                ),
            )),
        }
    }

    /// Keeps the names from being created by a write, which would give them a guessed mapping.
    async fn protect(&self, client: &Client, indexes: &[&str]) -> Result<(), Error> {
        match client.product().await? {
            Product::Elasticsearch => {}
            // Its templates know no such word; each bulk sees to it instead.
            Product::OpenSearch => return Ok(()),
        }
        let own = format!("{}-0", self.alias);
        let mut patterns = vec![self.alias.clone(), format!("{own}*")];
        patterns.extend(indexes.iter().filter(|index| !index.starts_with(&own)).map(|index| (*index).to_owned()));
        let template = json!({
            "index_patterns": patterns,
            "allow_auto_create": false,
            // Where one alias begins with another, the patterns overlap, and the longer has to win.
            "priority": TEMPLATE_PRIORITY + self.alias.len(),
            "_meta": { "description": "Created by sync-core: these indexes are created from its configuration only." },
        });
        let path = format!("/_index_template/sync-{}", segment(&self.alias));
        let doing = format!("indexes.{}: protecting the name by an index template", self.name);
        set(client, &path, &template, &doing).await
    }

    /// Has Elasticsearch read settings and mapping; nothing is made of them.
    pub(super) async fn rehearse(&self, client: &Client) -> Result<(), Error> {
        let body = json!({
            "index_patterns": [format!("{}-0*", self.alias)],
            "priority": TEMPLATE_PRIORITY + self.alias.len() + 1,
            "template": { "settings": self.settings, "mappings": self.mappings },
        });
        let doing = format!("indexes.{}.mapping", self.name);
        let answer = client.send(Method::Post, "/_index_template/_simulate", Some(body.to_string().into())).await?;
        answer.judge(Asked::Other, &doing).map(drop)
    }

    /// Creates the index with its alias in one step; false when there is one of that name already.
    async fn create(&self, client: &Client, index: &str) -> Result<bool, Error> {
        let body = json!({
            "settings": self.settings,
            "mappings": self.noted(meta::made()),
            "aliases": { self.alias.as_str(): { "is_write_index": true } },
        });
        self.create_as(client, index, &body).await
    }

    /// The same without the alias, with this at our place in `_meta`.
    pub(super) async fn create_unsearched(
        &self,
        client: &Client,
        index: &str,
        searched: &str,
        noted: Value,
    ) -> Result<bool, Error> {
        self.protect(client, &[index, searched]).await?;
        let body = json!({ "settings": self.settings, "mappings": self.noted(noted) });
        self.create_as(client, index, &body).await
    }

    /// The configured mappings with this at our place in `_meta`.
    fn noted(&self, noted: Value) -> Map<String, Value> {
        let mut mappings = self.mappings.clone();
        let theirs = mappings.get("_meta").and_then(Value::as_object).cloned().unwrap_or_default();
        mappings.insert("_meta".to_owned(), Value::Object(meta::with(theirs, noted)));
        mappings
    }

    async fn create_as(&self, client: &Client, index: &str, body: &Value) -> Result<bool, Error> {
        let doing = format!("indexes.{}.mapping: creating the index {index}", self.name);
        let answer = client.send(Method::Put, &format!("/{}", segment(index)), Some(body.to_string().into())).await?;
        match (answer.status, Cause::read(&answer.body).kind.as_deref()) {
            (400, Some("resource_already_exists_exception")) => Ok(false),
            (400, Some("invalid_alias_name_exception")) => Err(Error::new(
                ErrorKind::Configuration,
                format!(
                    "indexes.{}: there is an index of that name, where an alias has to be; choose another name, or \
                     move its documents and delete it",
                    self.name
                ),
            )),
            _ => acknowledged(&answer, &doing).map(|()| true),
        }
    }

    /// Adds what the mapping has in addition, and sees that deletes are remembered.
    async fn adapt(&self, client: &Client, index: &str) -> Result<(), Error> {
        let path = segment(index);
        let doing = format!(
            "indexes.{}.mapping: adding it to {index}; what a field is cannot be changed in place: \
             `sync-runner reindex` (`repair::Reindex`) makes the index anew",
            self.name
        );
        let answer = client.send(Method::Get, &format!("/{path}{}", meta::PATH), None).await?;
        if answer.judge(Asked::Other, &doing)? == Judged::IndexMissing {
            return Ok(());
        }
        let held = Held::read(&answer, &doing)?.meta;
        let mut mappings = self.mappings.clone();
        if meta::instead_of(&held) == Some(&mappings) {
            tracing::warn!(
                alias = self.alias,
                index,
                "the index is of another mapping than the configured one, which a re-index made or left: set indexes.{}.mapping to \
                 that of the index that is searched",
                self.name
            );
            mappings.clear();
        }
        if let Some(Value::Object(configured)) = mappings.remove("_meta") {
            // It is replaced as a whole, and somebody may record a history just now: only when it has to be.
            let merged = meta::merged(&held, configured);
            if merged != held {
                mappings.insert("_meta".to_owned(), Value::Object(merged));
            }
        }
        if !mappings.is_empty() {
            set(client, &format!("/{path}/_mapping"), &mappings, &doing).await?;
        }

        #[derive(Deserialize)]
        struct Settings {
            settings: BTreeMap<String, Value>,
        }
        const NAME: &str = "index.gc_deletes";
        let doing = format!("indexes.{}: reading the settings of {index}", self.name);
        let answer = client.send(Method::Get, &format!("/{path}/_settings/{NAME}?flat_settings=true"), None).await?;
        if answer.judge(Asked::Other, &doing)? == Judged::IndexMissing {
            return Ok(());
        }
        let found: BTreeMap<String, Settings> = answer.read(&doing)?;
        let held = found.get(index).and_then(|index| index.settings.get(NAME));
        let wanted = match (&self.gc_deletes, held) {
            (Some(configured), held) if held != Some(configured) => configured.clone(),
            (None, None) => GC_DELETES.into(),
            (Some(_), _) | (None, Some(_)) => return Ok(()),
        };
        let doing = format!("indexes.{}: setting {NAME} of {index}", self.name);
        set(client, &format!("/{path}/_settings"), &json!({ NAME: wanted }), &doing).await
    }
}

async fn set(client: &Client, path: &str, body: &impl Serialize, doing: &str) -> Result<(), Error> {
    let body = serde_json::to_vec(body)
        .map_err(|error| Error::new(ErrorKind::Internal, "cannot write a request").with_source(error))?;
    let answer = client.send(Method::Put, path, Some(body.into())).await?;
    acknowledged(&answer, doing)
}

pub(super) fn acknowledged(answer: &Answer, doing: &str) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Acknowledged {
        acknowledged: bool,
    }
    let unsure = |why: &str| Err(garbled(&answer.url, doing, &answer.body, why));
    match answer.judge(Asked::Other, doing)? {
        Judged::IndexMissing => unsure("the index was deleted meanwhile"),
        Judged::Done if answer.read::<Acknowledged>(doing)?.acknowledged => Ok(()),
        Judged::Done => unsure("not every node knows of it yet"),
    }
}

/// The settings by their names without `index.`, however deep they are written.
fn by_name(settings: &Map<String, Value>) -> BTreeMap<String, Value> {
    fn walk(prefix: &str, settings: &Map<String, Value>, found: &mut BTreeMap<String, Value>) {
        for (name, value) in settings {
            let name = format!("{prefix}{name}");
            match value {
                Value::Object(deeper) => walk(&format!("{name}."), deeper, found),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    found.insert(name.strip_prefix("index.").unwrap_or(&name).to_owned(), value.clone());
                }
            }
        }
    }
    let mut found = BTreeMap::new();
    walk("", settings, &mut found);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(alias: &str, mapping: &str) -> Result<Index, Error> {
        Index::new(IndexConfig { name: alias.into(), alias: alias.into(), mapping: mapping.into() })
    }

    #[test]
    fn a_mapping_is_checked_before_it_is_sent() {
        for mapping in ["", "[]", "{", r#"{"settings":1}"#, r#"{"mappings":[]}"#, r#"{"properties":{}}"#] {
            let error = index("jobs", mapping).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(error.to_string().starts_with("indexes.jobs.mapping: "), "{error}");
        }
        for meta in ["1", r#"{"sync-core":{}}"#] {
            let error = index("jobs", &format!(r#"{{"mappings":{{"_meta":{meta}}}}}"#)).unwrap_err();
            assert!(error.to_string().contains("_meta"), "{error}");
        }
        index("jobs", "{}").unwrap();
    }

    #[test]
    fn our_settings_yield_to_the_configured_ones_however_they_are_written() {
        let plain = index("jobs", "{}").unwrap();
        assert_eq!(
            Value::Object(plain.settings),
            json!({"index.gc_deletes": "1h", "index.auto_expand_replicas": "0-1"})
        );
        for mapping in [
            r#"{"settings":{"gc_deletes":"2h","number_of_replicas":2}}"#,
            r#"{"settings":{"index.gc_deletes":"2h","index.number_of_replicas":2}}"#,
            r#"{"settings":{"index":{"gc_deletes":"2h","auto_expand_replicas":false}}}"#,
        ] {
            let configured = index("jobs", mapping).unwrap();
            let as_written: Value = serde_json::from_str(mapping).unwrap();
            assert_eq!(Value::Object(configured.settings), as_written["settings"]);
            assert_eq!(configured.gc_deletes, Some("2h".into()));
        }
    }
}
