//! `GET /search` and `GET /indexes`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State as Shared};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::Response;
use metrics::counter;
use serde_json::json;
use sync_core::query::FieldKind;
use sync_core::telemetry::metrics::SEARCH_REJECTED;
use sync_core::{Error, ErrorKind};
use tokio::time::timeout;

use super::parameters::Parameters;
use super::{SearchedIndex, State};
use crate::http::answer;

/// No search takes longer, whatever else is set.
const LONGEST: Duration = Duration::from_secs(30);

/// What whoever searches can do about it.
const TOO_MUCH: &str = "this search takes too long while only the database can answer it; ask for less: another word, a filter \
                        more, a narrower range";

/// Answers a search.
pub(super) async fn search(Shared(state): Shared<Arc<State>>, RawQuery(query): RawQuery) -> Response {
    let Ok(_place) = state.permits.try_acquire() else {
        counter!(SEARCH_REJECTED.name).increment(1);
        let full = Error::new(ErrorKind::Unavailable, "too many searches are under way; try again");
        return refuse(&full, &full.to_string());
    };
    match timeout(LONGEST, find(&state, query.as_deref().unwrap_or_default())).await {
        Ok(Ok(found)) => answer::json(StatusCode::OK, &found),
        Ok(Err(error)) => failed(&error),
        Err(_) => failed(&Error::new(ErrorKind::Unavailable, "the search took too long")),
    }
}

async fn find(state: &State, query: &str) -> Result<sync_core::search::Answer, Error> {
    let parameters = Parameters::read(query)?;
    let SearchedIndex { search, fields } = named(state, parameters.get("index"))?;
    search.search(&parameters.query(fields)?).await
}

/// The index that is meant; where there is one, it need not be named.
fn named<'a>(state: &'a State, name: Option<&str>) -> Result<&'a SearchedIndex, Error> {
    let mut all = state.indexes.values();
    let found = match (name, all.next(), all.next()) {
        (Some(name), ..) => state.indexes.get(name),
        (None, only, None) => only,
        (None, _, Some(_)) => None,
    };
    found.ok_or_else(|| {
        let names: Vec<_> = state.indexes.keys().map(String::as_str).collect();
        Error::new(ErrorKind::Refused, format!("index: expected one of {}", names.join(", ")))
    })
}

fn failed(error: &Error) -> Response {
    match error.kind() {
        // What the caller did; its words are for the caller.
        ErrorKind::Refused => refuse(error, &error.to_string()),
        ErrorKind::TooLarge => {
            tracing::warn!(%error, "a search was too much");
            refuse(error, TOO_MUCH)
        }
        ErrorKind::Unavailable
        | ErrorKind::Blocked
        | ErrorKind::Fenced
        | ErrorKind::Unexplained
        | ErrorKind::Denied
        | ErrorKind::Configuration
        | ErrorKind::Contract
        | ErrorKind::History
        | ErrorKind::Internal
        | _ => {
            // Its words may name servers, which are nobody's business.
            tracing::error!(kind = error.kind().name(), %error, "a search was not answered");
            refuse(error, "the search cannot be answered now; the reason is in the log")
        }
    }
}

fn refuse(error: &Error, message: &str) -> Response {
    let status = match error.kind() {
        ErrorKind::Refused => StatusCode::BAD_REQUEST,
        ErrorKind::TooLarge => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::Unavailable | ErrorKind::Blocked | ErrorKind::Fenced | ErrorKind::Unexplained => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        ErrorKind::Denied
        | ErrorKind::Configuration
        | ErrorKind::Contract
        | ErrorKind::History
        | ErrorKind::Internal
        | _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut refusal = answer::refusal(status, error.kind(), message);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        refusal.headers_mut().insert(RETRY_AFTER, 1.into());
    }
    refusal
}

/// What can be searched, for the page and for whoever writes a client.
pub(super) async fn indexes(Shared(state): Shared<Arc<State>>) -> Response {
    let index = |(name, SearchedIndex { search, fields }): (&String, &SearchedIndex)| {
        let others = fields.filterable().iter().map(|(name, field)| {
            let kind = match field.kind {
                FieldKind::Keyword => "keyword",
                FieldKind::Integer => "integer",
                FieldKind::Long => "long",
                FieldKind::Double => "double",
                FieldKind::Date => "date",
                FieldKind::Boolean => "boolean",
            };
            json!({ "name": name, "kind": kind, "many": field.is_many })
        });
        let text: Vec<_> = fields.text().iter().map(|field| &field.name).collect();
        json!({
            "index": name, "text": text, "fields": others.collect::<Vec<_>>(), "order": fields.order().to_string(),
            "breaker": search.breaker().name(),
        })
    };
    let indexes: Vec<_> = state.indexes.iter().map(index).collect();
    answer::json(StatusCode::OK, &json!({ "indexes": indexes }))
}
