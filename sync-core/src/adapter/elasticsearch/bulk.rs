//! The body of a bulk, and what became of each write in it.

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::client::Answer;
use super::error::{Cause, answered, garbled};
use super::product::Product;
use super::verdict::{Asked, Verdict, verdict};
use crate::error::{Error, ErrorKind};
use crate::port::{Outcome, Write};
use crate::version::Version;

/// The longest document id Elasticsearch takes, in bytes. One longer id fails the whole bulk.
const MAX_KEY_BYTES: usize = 512;

/// Room for the action line of one write beside its key.
const ACTION_BYTES: usize = 96;

/// Goes before the writes to OpenSearch, where no template can keep a write from making a missing index, with a guessed
/// mapping. This action wants an alias where an index is named: it is refused, and none of the bulk's actions may make the
/// index then. Were there an alias of the index's name, it would change nothing in a document that nobody has.
const MAKE_NO_INDEX: &[u8] = b"{\"update\":{\"_id\":\"sync-core\",\"require_alias\":true}}\n{\"doc\":{}}\n";

/// What of a bulk's answer is read.
pub(super) const FILTER: &str = "filter_path=items.*.status,items.*.error";

/// Refuses a write that would spoil the bulk for the others.
pub(super) fn check(write: &Write) -> Result<(), Error> {
    let length = write.key.len();
    if length == 0 || length > MAX_KEY_BYTES {
        return Err(Error::new(
            ErrorKind::Refused,
            format!("a document id has 1 to {MAX_KEY_BYTES} bytes, this key has {length}"),
        ));
    }
    let Some(document) = &write.document else { return Ok(()) };
    // A line break ends the document in a bulk. In valid JSON it is white space and can be replaced.
    if document.contains('\n')
        && let Err(error) = serde_json::from_str::<&RawValue>(document)
    {
        let action = format!("the document of key {:?} is not valid JSON", write.key);
        return Err(Error::new(ErrorKind::Refused, action).with_source(error));
    }
    Ok(())
}

/// The body of a bulk of these writes, which [`check`] let pass.
pub(super) fn body<'a>(product: Product, writes: impl Iterator<Item = &'a Write> + Clone) -> Result<Bytes, Error> {
    #[derive(Serialize)]
    struct Target<'a> {
        _id: &'a str,
        version: u64,
        version_type: &'static str,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "lowercase")]
    enum Action<'a> {
        Index(Target<'a>),
        Delete(Target<'a>),
    }

    let size = |write: &Write| ACTION_BYTES + write.key.len() + write.document.as_ref().map_or(0, String::len);
    let before = match product {
        Product::Elasticsearch => &[][..],
        Product::OpenSearch => MAKE_NO_INDEX,
    };
    let mut body = Vec::with_capacity(before.len() + writes.clone().map(size).sum::<usize>());
    body.extend_from_slice(before);
    for write in writes {
        let target =
            |version: Version| Target { _id: &write.key, version: version.external(), version_type: "external" };
        let action = match write.document {
            Some(_) => Action::Index(target(write.version)),
            None => Action::Delete(target(write.version)),
        };
        serde_json::to_writer(&mut body, &action)
            .map_err(|error| Error::new(ErrorKind::Internal, "cannot write the action of a bulk").with_source(error))?;
        body.push(b'\n');
        if let Some(document) = &write.document {
            let begin = body.len();
            body.extend_from_slice(document.as_bytes());
            for byte in &mut body[begin..] {
                if *byte == b'\n' {
                    *byte = b' ';
                }
            }
            body.push(b'\n');
        }
    }
    Ok(body.into())
}

/// What became of one write; `None` when there is no index to write to.
pub(super) type Settled = Option<Outcome>;

/// Reads the answer to a bulk of these writes.
pub(super) fn settle<'a>(
    product: Product,
    answer: &Answer,
    doing: &str,
    writes: impl ExactSizeIterator<Item = &'a Write>,
) -> Result<Vec<Settled>, Error> {
    #[derive(Deserialize)]
    struct Items {
        items: Vec<Item>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Item {
        Index(Fate),
        Delete(Fate),
        /// Of what goes before the writes.
        Update(IgnoredAny),
    }
    #[derive(Deserialize)]
    struct Fate {
        status: u16,
        error: Option<Cause>,
    }

    let Items { mut items } = answer.read(doing)?;
    match product {
        Product::Elasticsearch => {}
        Product::OpenSearch if matches!(items.first(), Some(Item::Update(_))) => drop(items.remove(0)),
        Product::OpenSearch => {
            return Err(garbled(&answer.url, doing, &answer.body, "the first outcome is not that of the first action"));
        }
    }
    if items.len() != writes.len() {
        let why = format!("{} outcomes for {} writes", items.len(), writes.len());
        return Err(garbled(&answer.url, doing, &answer.body, why));
    }
    let settled = items.into_iter().zip(writes).map(|(item, write)| {
        let (asked, fate) = match (item, &write.document) {
            (Item::Index(fate), Some(_)) => (Asked::Index, fate),
            (Item::Delete(fate), None) => (Asked::Delete, fate),
            (Item::Index(_), None) | (Item::Delete(_), Some(_)) | (Item::Update(_), _) => {
                return Err(garbled(&answer.url, doing, &answer.body, "the outcomes are not those of the writes"));
            }
        };
        let cause = fate.error.unwrap_or_default();
        Ok(match verdict(asked, fate.status, cause.kind.as_deref()) {
            Verdict::Done => Some(Outcome::Applied),
            Verdict::Stale => Some(Outcome::Stale),
            Verdict::IndexMissing => None,
            Verdict::Failed(kind) => {
                let doing = format!("{doing}: key {:?}", write.key);
                Some(Outcome::Failed(answered(kind, &answer.url, &doing, fate.status, &cause)))
            }
        })
    });
    settled.collect()
}

/// The body of a bulk of these writes, for benchmarks: every document passes through here.
///
/// # Errors
/// `Refused` for a write that would spoil the bulk for the others.
#[cfg(feature = "testkit")]
pub fn write_bulk(writes: &[Write]) -> Result<Bytes, Error> {
    writes.iter().try_for_each(check)?;
    body(Product::Elasticsearch, writes.iter())
}

/// What an answer to [`write_bulk`]'s body says of each write, for benchmarks. A write whose index is missing is left
/// out.
///
/// # Errors
/// `Unavailable` when the answer cannot be read, or does not fit the writes.
#[cfg(feature = "testkit")]
pub fn read_bulk(answer: Bytes, writes: &[Write]) -> Result<Vec<Outcome>, Error> {
    let answer = Answer { url: String::new(), status: 200, body: answer };
    Ok(settle(Product::Elasticsearch, &answer, "reading the answer to a bulk", writes.iter())?
        .into_iter()
        .flatten()
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(key: &str, document: Option<&str>) -> Write {
        Write { key: key.into(), version: Version::from_external(7), document: document.map(str::to_owned) }
    }

    fn text(writes: &[Write]) -> String {
        String::from_utf8(body(Product::Elasticsearch, writes.iter()).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn a_bulk_is_lines_of_actions_and_documents() {
        assert_eq!(
            text(&[write("a\"\n", Some(r#"{"n": 1}"#)), write("b", None)]),
            "{\"index\":{\"_id\":\"a\\\"\\n\",\"version\":7,\"version_type\":\"external\"}}\n{\"n\": 1}\n\
             {\"delete\":{\"_id\":\"b\",\"version\":7,\"version_type\":\"external\"}}\n"
        );
    }

    #[test]
    fn a_line_break_between_values_becomes_a_space_and_any_other_is_refused() {
        let pretty = write("a", Some("{\n  \"n\": 1\r\n}"));
        check(&pretty).unwrap();
        assert!(text(&[pretty]).ends_with("}}\n{   \"n\": 1\r }\n"));
        for document in ["{\"n\":1}\n{\"n\":2}", "{\"a\n\":1}", "{\"n\":\n}"] {
            assert_eq!(check(&write("a", Some(document))).unwrap_err().kind(), ErrorKind::Refused, "{document:?}");
        }
    }

    #[test]
    fn an_answer_that_does_not_fit_the_writes_is_no_answer() {
        let writes = [write("a", Some("{}")), write("b", None)];
        let settled = |body: &str| {
            let answer = Answer { url: "http://h".into(), status: 200, body: body.to_owned().into() };
            settle(Product::Elasticsearch, &answer, "bulk", writes.iter())
        };
        for body in [
            "",
            "{}",
            "[]",
            r#"{"items":[]}"#,
            r#"{"items":[{"index":{"status":201}}]}"#,
            r#"{"items":[{"index":{"status":201}},{"index":{"status":201}}]}"#,
            r#"{"items":[{"delete":{"status":200}},{"index":{"status":201}}]}"#,
            r#"{"items":[{"index":{"status":201}},{"delete":{"status":200}}"#,
            r#"{"items":[{"index":{}},{"delete":{"status":200}}]}"#,
            r#"{"items":[{"update":{"status":404}},{"delete":{"status":200}}]}"#,
            r#"{"items":[{"index":{"status":70000}},{"delete":{"status":200}}]}"#,
        ] {
            assert_eq!(settled(body).unwrap_err().kind(), ErrorKind::Unavailable, "{body}");
        }
        let fine = settled(r#"{"items":[{"index":{"status":201}},{"delete":{"status":404}}]}"#).unwrap();
        assert!(matches!(fine[..], [Some(Outcome::Applied), Some(Outcome::Stale)]), "{fine:?}");
    }

    #[test]
    fn a_bulk_to_opensearch_begins_with_an_action_that_is_refused_and_has_an_outcome_of_its_own() {
        let writes = [write("a", Some("{}")), write("b", None)];
        let body = body(Product::OpenSearch, writes.iter()).unwrap();
        let lines: Vec<_> = body.split(|byte| *byte == b'\n').collect();
        assert!(lines[0].starts_with(b"{\"update\"") && lines[2].starts_with(b"{\"index\""), "{body:?}");
        let settled = |body: &str| {
            let answer = Answer { url: "http://h".into(), status: 200, body: body.to_owned().into() };
            settle(Product::OpenSearch, &answer, "bulk", writes.iter())
        };
        let refused = r#"{"update":{"status":404,"error":{"type":"index_not_found_exception","reason":"no alias"}}}"#;
        let fine =
            settled(&format!(r#"{{"items":[{refused},{{"index":{{"status":201}}}},{{"delete":{{"status":404}}}}]}}"#));
        assert!(matches!(fine.unwrap()[..], [Some(Outcome::Applied), Some(Outcome::Stale)]));
        for body in [
            r#"{"items":[{"index":{"status":201}},{"delete":{"status":404}}]}"#.to_owned(),
            format!(r#"{{"items":[{refused},{{"index":{{"status":201}}}}]}}"#),
            format!(r#"{{"items":[{{"index":{{"status":201}}}},{refused},{{"delete":{{"status":404}}}}]}}"#),
            r#"{"items":[]}"#.to_owned(),
        ] {
            assert_eq!(settled(&body).unwrap_err().kind(), ErrorKind::Unavailable, "{body}");
        }
    }
}
