//! The configured SQL, wrapped: made once the database has told the type of the key.

use tokio_postgres::types::Type;

use super::ProjectionConfig;
use super::as_subquery;
use super::synced_at::SyncedAtStatement;
use crate::adapter::postgres::connect::Timed;
use crate::adapter::postgres::history::PRESENT;
use crate::error::Error;

/// What is run for each call.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) load: String,
    pub(super) scan: String,
    pub(super) states: String,
    pub(super) scan_states: String,
    pub(super) possible: String,
    pub(super) keys: String,
    pub(super) plan: String,
    pub(super) count: String,
    pub(super) synced_at: Option<SyncedAtStatement>,
}

impl Statements {
    /// Finds out what the SQL gives, by preparing it.
    pub(super) async fn wrap(config: &ProjectionConfig, client: &Timed) -> Result<Self, Error> {
        let sql = as_subquery(&config.sql);
        let probe = client
            .prepare(&format!("select * from (\n{sql}\n) as projection limit 0"))
            .await
            .map_err(|error| config.failed(error))?;
        let column = |name: &str| probe.columns().iter().find(|column| column.name() == name);
        let (Some(key), Some(document)) = (column("key"), column("document")) else {
            let have: Vec<_> = probe.columns().iter().map(tokio_postgres::Column::name).collect();
            return Err(config.wrong(format!(
                "its columns are {}, but it must have `key` and `document`",
                if have.is_empty() { "none".to_owned() } else { have.join(", ") }
            )));
        };
        if !matches!(*document.type_(), Type::JSON | Type::JSONB) {
            return Err(config.wrong(format!(
                "its column `document` is of type {}, but must be json or jsonb: json_build_object(…) makes one",
                document.type_()
            )));
        }
        let key_type: String = client
            .query_one("select format_type($1, -1)", &[&key.type_().oid()])
            .await
            .map_err(|error| config.failed(error))?
            .get(0);
        if column("version").is_some() {
            // Its numbers cannot be compared with those of deletes: a deleted row would stay, a new one be refused.
            return Err(config.wrong(
                "it has a column `version`, but versions come from outbox.versions; leave it out, or put it into the \
                 document under that name"
                    .to_owned(),
            ));
        }
        // The history is read in the snapshot of the rows; `$3` is the token of the one that was agreed upon. A document
        // of type json is text already, and passed on as it is.
        let row = |of: &str, wanted: &str, version: &str, beside: &str, from: &str| {
            format!(
                "with here as materialized ({PRESENT})\n\
                 select {of}, {wanted}, {version}, (select epoch from here),\n\
                 (select token = coalesce($3::text, token) from here){beside}\n{from}"
            )
        };
        let versions = "left join outbox.versions v on v.topic = $2 and v.key =";
        // Asked by place, so that neither side has to find its keys again.
        let by_place = |of_key: &str| {
            format!(
                "from unnest($1::text[]) with ordinality as w(key, place)\n\
                 left join (select key, {of_key} from (\n{sql}\n) as projection \
                 where key = any ($1::text[]::{key_type}[])) as p on p.key::text = w.key\n{versions} w.key"
            )
        };
        // `offset 0` keeps the condition outside, where the document that was made is looked at and none made for it.
        let in_order = |of_key: &str| {
            format!(
                "from (select key{of_key} from (select key, document from (\n{sql}\n) as projection\n\
                 where $1::text is null or key > $1::text::{key_type} order by key offset 0) as made\n\
                 where document is not null limit $4) as p\n{versions} p.key::text\norder by p.key"
            )
        };
        let (document, has_document) = ("p.document::text", "coalesce(p.has_document, false)");
        let age = ", extract(epoch from pg_catalog.clock_timestamp() - v.updated_at)::float8";
        // A deletion whose version was purged.
        let or_purged = |is_there: &str| {
            format!(
                "coalesce(v.version, case when not ({is_there}) then \
                 (select purged.version from outbox.purged where purged.topic = $2) end)"
            )
        };
        let (there, has) = (or_purged("p.document is not null"), or_purged(has_document));
        let load = row("w.place", document, &there, "", &by_place("document"));
        let scan = row("p.key::text", document, "v.version", "", &in_order(", document"));
        let states = row("w.place", has_document, &has, age, &by_place("document is not null as has_document"));
        let scan_states = row("p.key::text", "true", "v.version", age, &in_order(""));
        let possible = format!("select $1::text[]::{key_type}[] is null");
        let keys = format!(
            "select key::text from (\n{sql}\n) as projection\n\
             where $1::text is null or key > $1::text::{key_type}\norder by key limit $2"
        );
        let plan = format!("explain (format json) select from (\n{sql}\n) as projection");
        let count = format!("select count(*) from (\n{sql}\n) as projection where document is not null");
        let synced_at = match &config.synced_at {
            Some(synced_at) => Some(SyncedAtStatement::new(synced_at, &config.index, client).await?),
            None => None,
        };
        Ok(Self { load, scan, states, scan_states, possible, keys, plan, count, synced_at })
    }
}
