//! Documents by their keys, as they are now.

use ::elasticsearch::http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::{Cause, answered, garbled};
use super::sink::ElasticsearchSink;
use super::verdict::{Asked, Verdict, verdict};
use crate::error::{Error, ErrorKind};
use crate::version::Version;

/// What there is of a document.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) version: Version,
    pub(super) source: Option<String>,
}

/// How much is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Versions,
    /// Without a filter on the answer: with one, Elasticsearch writes the documents anew and rounds their numbers.
    Documents,
}

impl ElasticsearchSink {
    /// One answer for each key, in their order.
    pub(super) async fn get(&self, keys: &[String], wanted: Wanted) -> Result<Vec<Option<Held>>, Error> {
        #[derive(Deserialize)]
        struct Found<'a> {
            #[serde(borrow)]
            docs: Vec<Document<'a>>,
        }
        #[derive(Deserialize)]
        struct Document<'a> {
            #[serde(rename = "_version")]
            version: Option<u64>,
            #[serde(borrow, rename = "_source")]
            source: Option<&'a RawValue>,
            error: Option<Cause>,
        }

        // No document has an empty id; asking for one fails, as does asking for nothing.
        let asked: Vec<&str> = keys.iter().map(String::as_str).filter(|key| !key.is_empty()).collect();
        if asked.is_empty() {
            return Ok(keys.iter().map(|_| None).collect());
        }
        let doing = format!("reading documents of {}", self.alias());
        let body = serde_json::to_vec(&serde_json::json!({ "ids": asked }))
            .map_err(|error| Error::new(ErrorKind::Internal, "cannot write a request").with_source(error))?;
        let path = match wanted {
            Wanted::Versions => "/_mget?realtime=true&_source=false",
            Wanted::Documents => "/_mget?realtime=true",
        };
        let answer = self.ask(Method::Post, path, Some(body.into()), &doing).await?;
        let Found { docs } = answer.read(&doing)?;
        if docs.len() != asked.len() {
            let why = format!("{} documents for {} keys", docs.len(), asked.len());
            return Err(garbled(&answer.url, &doing, &answer.body, why));
        }
        let mut docs = docs.into_iter();
        let held = |key: &String| match if key.is_empty() { None } else { docs.next() } {
            None | Some(Document { version: None, error: None, .. }) => Ok(None),
            Some(Document { version: Some(version), source, error: None }) => {
                let source = source.map(|source| source.get().to_owned());
                Ok(Some(Held { version: Version::from_external(version), source }))
            }
            // An error in the place of one document has no status of its own.
            Some(Document { error: Some(cause), .. }) => match verdict(Asked::Other, 500, cause.kind.as_deref()) {
                Verdict::IndexMissing => Ok(None),
                Verdict::Failed(kind) => Err(answered(kind, &answer.url, &doing, answer.status, &cause)),
                Verdict::Done | Verdict::Stale => {
                    Err(answered(ErrorKind::Unavailable, &answer.url, &doing, answer.status, &cause))
                }
            },
        };
        keys.iter().map(held).collect()
    }
}
