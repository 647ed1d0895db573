//! The body of a bulk and of its answer, read and written anew.

use serde_json::{Value, json};

use super::http::{Answer, Request};

/// One write of a bulk: its action's line, and the document where it has one.
struct Write<'a> {
    action: Value,
    document: Option<&'a str>,
}

impl Write<'_> {
    /// `index` or `delete`.
    fn verb(&self) -> String {
        self.action.as_object().unwrap().keys().next().unwrap().clone()
    }

    fn write_to(&self, body: &mut Vec<u8>) {
        body.extend_from_slice(self.action.to_string().as_bytes());
        body.push(b'\n');
        if let Some(document) = self.document {
            body.extend_from_slice(document.as_bytes());
            body.push(b'\n');
        }
    }
}

fn writes(body: &[u8]) -> Vec<Write<'_>> {
    let mut lines = std::str::from_utf8(body).unwrap().lines();
    let mut writes = Vec::new();
    while let Some(line) = lines.next() {
        let action: Value = serde_json::from_str(line).unwrap();
        let document = if action.get("delete").is_some() { None } else { lines.next() };
        writes.push(Write { action, document });
    }
    writes
}

/// A refusal of the whole request.
pub(super) fn full(status: u16, error_type: &str) -> Answer {
    let body = json!({ "error": { "type": error_type, "reason": "by a test" }, "status": status });
    Answer { status, body: body.to_string().into_bytes() }
}

/// The same bulk with other versions: each write's is replaced by what `mark` makes of it.
pub(super) fn marked(request: Request, mut mark: impl FnMut(u64) -> u64) -> Request {
    let mut body = Vec::with_capacity(request.body.len());
    for mut write in writes(&request.body) {
        let verb = &write.verb();
        // What goes before the writes to OpenSearch has none.
        if let Some(version) = write.action[verb]["version"].as_u64() {
            write.action[verb]["version"] = mark(version).into();
        }
        write.write_to(&mut body);
    }
    Request { body, ..request }
}

/// A bulk of which every other write is refused.
pub(super) struct Split {
    /// The rest, unless nothing is left.
    pub(super) passing: Option<Request>,
    verbs: Vec<String>,
}

fn is_refused(place: usize) -> bool {
    place.is_multiple_of(2)
}

pub(super) fn split(request: &Request) -> Split {
    let writes = writes(&request.body);
    let mut body = Vec::new();
    for (_, write) in writes.iter().enumerate().filter(|(place, _)| !is_refused(*place)) {
        write.write_to(&mut body);
    }
    let passing = (!body.is_empty()).then(|| Request { body, ..request.clone() });
    Split { passing, verbs: writes.iter().map(Write::verb).collect() }
}

impl Split {
    /// The answer to the whole bulk, made of the server's answer to what passed.
    pub(super) fn join(&self, answer: Option<Answer>) -> Answer {
        let mut items = Vec::new();
        if let Some(answer) = answer {
            let Ok(Value::Object(body)) = serde_json::from_slice(&answer.body) else { return answer };
            let Some(Value::Array(applied)) = body.get("items") else { return answer };
            items.clone_from(applied);
        }
        let mut applied = items.into_iter();
        let item = |(place, verb): (usize, &String)| {
            if !is_refused(place) {
                return applied.next().unwrap();
            }
            let (status, error_type) = match place % 4 {
                0 => (429, "es_rejected_execution_exception"),
                _ => (503, "unavailable_shards_exception"),
            };
            json!({ verb: { "status": status, "error": { "type": error_type, "reason": "by a test" } } })
        };
        let items: Vec<Value> = self.verbs.iter().enumerate().map(item).collect();
        Answer { status: 200, body: json!({ "items": items }).to_string().into_bytes() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: &str) -> Request {
        let body = body.as_bytes().to_vec();
        Request { method: "POST".into(), path: "/jobs/_bulk".into(), content_type: String::new(), body }
    }

    const BODY: &str = "{\"index\":{\"_id\":\"a\",\"version\":7}}\n{\"x\":1}\n{\"delete\":{\"_id\":\"b\",\"version\":8}}\n\
                        {\"index\":{\"_id\":\"c\",\"version\":9}}\n{\"x\":2}\n";

    #[test]
    fn of_a_bulk_every_other_write_passes_and_each_gets_its_own_answer() {
        let split = split(&request(BODY));
        let passing = split.passing.as_ref().unwrap();
        assert_eq!(passing.body, b"{\"delete\":{\"_id\":\"b\",\"version\":8}}\n");
        let answer = Answer { status: 200, body: b"{\"items\":[{\"delete\":{\"status\":404}}]}".to_vec() };
        let joined: Value = serde_json::from_slice(&split.join(Some(answer)).body).unwrap();
        let statuses: Vec<_> = ["index", "delete", "index"]
            .iter()
            .enumerate()
            .map(|(place, verb)| joined["items"][place][verb]["status"].as_u64().unwrap())
            .collect();
        assert_eq!(statuses, [429, 404, 503]);
    }

    #[test]
    fn without_the_guard_versions_are_those_of_the_arrival() {
        let mut seen = Vec::new();
        let marked = marked(request(BODY), |claimed| {
            seen.push(claimed);
            seen.len() as u64
        });
        assert_eq!(seen, [7, 8, 9]);
        assert_eq!(
            String::from_utf8(marked.body).unwrap(),
            BODY.replace(":7", ":1").replace(":8", ":2").replace(":9", ":3")
        );
    }
}
