//! Documents and queries to try searchers with, drawn from a seed.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value as Json, json};

use crate::query::{FieldNames, Fields, Order, Query};

/// The index of these documents. Two shards, so that what each has is put together; refreshed when it is asked for.
pub const SEARCHED_MAPPING: &str = r#"{"settings":{"number_of_shards":2,"refresh_interval":"-1"},"mappings":{"dynamic":"strict","properties":{
    "id":{"type":"keyword"},"title":{"type":"text"},"description":{"type":"text"},"status":{"type":"keyword"},
    "tags":{"type":"keyword"},"priority":{"type":"integer"},"score":{"type":"double"},"active":{"type":"boolean"},
    "created_at":{"type":"date"},"workspace":{"properties":{"name":{"type":"keyword"}}}}}}"#;

/// A table of them.
pub const SEARCHED_TABLE: &str = "
create table notes (id text primary key, title text not null, description text, status text not null, tags text[] not null,
                    priority int, score float8, active boolean, created_at timestamptz, workspace text);
select outbox.watch('notes', 'notes');";

/// What makes them of the rows of that table.
pub const SEARCHED_PROJECTION: &str = "
select n.id as key, jsonb_build_object('id', n.id, 'title', n.title, 'description', n.description, 'status', n.status,
           'tags', n.tags, 'priority', n.priority, 'score', n.score, 'active', n.active, 'created_at', n.created_at,
           'workspace', jsonb_build_object('name', n.workspace)) as document,
       n.title, n.description, n.status, n.tags, n.priority, n.score, n.active, n.created_at,
       n.workspace as \"workspace.name\"
from notes n";

/// What of them can be searched.
///
/// # Panics
/// Never: the mapping is right.
#[must_use]
pub fn searched_fields() -> Arc<Fields> {
    let all = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let names = FieldNames {
        key: "id".to_owned(),
        text: all(&["title^3", "description"]),
        fields: all(&["status", "tags[]", "priority", "score", "active", "created_at", "workspace.name"]),
        order: Some("-created_at".to_owned()),
    };
    match Fields::of_mapping(SEARCHED_MAPPING, &names) {
        Ok(fields) => Arc::new(fields),
        Err(error) => panic!("{error}"),
    }
}

const WORDS: [&str; 12] =
    ["invoice", "report", "annual", "draft", "größe", "migration", "server", "paid", "late", "quick", "brown", "Fox"];
const STATUSES: [&str; 5] = ["OPEN", "PAID", "FAILED", "IN_PROGRESS", "100%_\\done"];
const TAGS: [&str; 5] = ["urgent", "later", "a*b", "q?", "über"];
const WORKSPACES: [&str; 4] = ["web-1", "web-2", "db-1", "Web-1"];

/// That many documents. Many are alike in many fields, some lack fields.
#[must_use]
pub fn searched_documents(seed: u64, count: usize) -> Vec<Json> {
    let mut random = StdRng::seed_from_u64(seed);
    (0..count).map(|number| document(&mut random, number)).collect()
}

fn document(random: &mut StdRng, number: usize) -> Json {
    let words = |random: &mut StdRng, most: usize| {
        let count = random.random_range(1..=most);
        (0..count).map(|_| pick(random, &WORDS)).collect::<Vec<_>>().join(" ")
    };
    let title = words(random, 4);
    let description = random.random_bool(0.7).then(|| words(random, 8));
    let tags: Vec<_> = TAGS.iter().filter(|_| random.random_bool(0.3)).collect();
    let (days, micros) = (random.random_range(1..=28), random.random_range(0..3) * 123_456);
    json!({
        "id": format!("k{number:04}"), "title": title, "description": description, "status": pick(random, &STATUSES), "tags": tags,
        "priority": random.random_bool(0.8).then(|| random.random_range(-2..=5)),
        "score": random.random_bool(0.8).then(|| f64::from(random.random_range(-4..=8)) / 4.0 + 0.1),
        "active": random.random_bool(0.8).then(|| random.random_bool(0.5)),
        "created_at": random.random_bool(0.9).then(|| format!("2026-02-{days:02}T10:00:00.{micros:06}+00:00")),
        "workspace": { "name": random.random_bool(0.8).then(|| pick(random, &WORKSPACES)) },
    })
}

fn pick<'a>(random: &mut StdRng, of: &[&'a str]) -> &'a str {
    of.choose(random).copied().unwrap_or_default()
}

/// That many queries without an order by relevance, as a person writes them.
///
/// # Panics
/// Never: they can be read.
#[must_use]
pub fn searched_queries(seed: u64, count: usize) -> Vec<(String, Query)> {
    let mut random = StdRng::seed_from_u64(seed);
    let fields = searched_fields();
    let mut query = || {
        let parts = random.random_range(1..=3);
        let text = (0..parts).map(|_| part(&mut random)).collect::<Vec<_>>().join(" ");
        let mut query = match Query::parse(&text, &fields) {
            Ok(query) => query,
            Err(error) => panic!("{text}: {error}"),
        };
        let order = pick(
            &mut random,
            &["created_at", "-created_at", "priority", "-score", "status", "-workspace.name", "id", "-id", "active"],
        );
        query.order = Some(Order::parse(order));
        query.facets = vec!["status".to_owned(), "tags".to_owned()];
        query.limit = random.random_range(1..=30);
        (format!("{text}, by {order}"), query)
    };
    (0..count).map(|_| query()).collect()
}

fn part(random: &mut StdRng) -> String {
    let excluded = if random.random_bool(0.25) { "-" } else { "" };
    let number = random.random_range(-2..=5);
    let (from, to) = (random.random_range(1..=28), random.random_range(1..=28));
    let part = match random.random_range(0..13) {
        0 => format!("status:{}", pick(random, &STATUSES)),
        1 => format!("status:{},{}", pick(random, &STATUSES), pick(random, &STATUSES)),
        2 => format!("tags:\"{}\"", pick(random, &TAGS)),
        3 => format!("priority:{}{number}", pick(random, &[">", ">=", "<", "<="])),
        4 => format!("priority:{number}..{}", number + 2),
        5 => format!("score:{}{}", pick(random, &[">", "<="]), f64::from(number) / 4.0 + 0.1),
        6 => format!("created_at:2026-02-{from:02}..2026-02-{to:02}"),
        7 => format!("created_at:{}2026-02-{from:02}T10:00:00.123Z", pick(random, &[">", ">=", "<", "<="])),
        8 => format!("workspace.name:{}", pick(random, &["web-*", "*-1", "*e*1", "W*", "*%*"])),
        9 => format!("{}:*", pick(random, &["priority", "tags", "created_at", "workspace.name", "active"])),
        10 => format!("active:{}", number > 1),
        11 => format!("status:{}", pick(random, &["*%_*", "*\\*", "I*", "*A*"])),
        _ => pick(random, &WORDS).to_owned(),
    };
    format!("{excluded}{part}")
}
