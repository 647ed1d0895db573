//! `/api/dead-letters`: reading is free, deciding is for whoever shows the token.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, RawQuery, State as Shared};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::json;
use subtle::ConstantTimeEq as _;
use sync_core::port::{DeadLetters as _, KeptLetter, LetterSelection};
use sync_core::{Error, ErrorKind};
use tokio::time::timeout;

use super::{State, failed, refuse, status_of};
use crate::http::answer;
use crate::letters::{Letter, LetterDesk, Tried};

/// How long a letter that is asked for waits for others that are being read.
const PATIENCE: Duration = Duration::from_secs(20);

/// Letters of one answer, at most.
const MOST: usize = 200;

/// `GET /api/dead-letters?after=ID&limit=N`: lowest numbers first.
pub(super) async fn list(Shared(state): Shared<Arc<State>>, RawQuery(query): RawQuery) -> Response {
    let Ok(_place) = state.reads.acquire().await else { return failed(&closed()) };
    match page(&state.desk, query.as_deref().unwrap_or_default()).await {
        Ok((letters, more)) => {
            let shown: Vec<_> = letters.iter().map(Letter::of).collect();
            answer::json(StatusCode::OK, &json!({ "letters": shown, "more": more }))
        }
        Err(error) => failed(&error),
    }
}

async fn page(desk: &LetterDesk, query: &str) -> Result<(Vec<KeptLetter>, bool), Error> {
    let (mut after, mut limit) = (0, 50);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let wrong = |what: &str| Error::new(ErrorKind::Refused, format!("{name}: {value:?} is {what}"));
        match &*name {
            "after" => after = value.parse().map_err(|_| wrong("no number of a letter"))?,
            "limit" => {
                let count = value.parse().ok().filter(|count| (1..=MOST).contains(count));
                limit = count.ok_or_else(|| wrong("no number from 1 to 200"))?;
            }
            _ => return Err(wrong("not known; there are after and limit")),
        }
    }
    let mut letters = desk.letters.list(&LetterSelection::default(), after, limit + 1).await?;
    let more = letters.len() > limit;
    letters.truncate(limit);
    Ok((letters, more))
}

/// `GET /api/dead-letters/ID`: with all it holds, which may be megabytes. So many are in memory at a time, until their readers
/// have them.
pub(super) async fn one(Shared(state): Shared<Arc<State>>, Path(id): Path<String>) -> Response {
    let Ok(Ok(place)) = timeout(PATIENCE, Arc::clone(&state.reads).acquire_owned()).await else {
        let error = Error::new(ErrorKind::Unavailable, "others are reading letters, slowly; try again");
        return failed(&error);
    };
    match found(&state.desk, &id).await {
        Ok(kept) => answer::json_bit_by_bit(&Letter::of(&kept), place),
        Err((status, error)) => refuse(status, &error),
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Internal, "no more letters are shown")
}

async fn found(desk: &LetterDesk, id: &str) -> Result<KeptLetter, (StatusCode, Error)> {
    let missing = || {
        let what = format!("there is no dead letter {id:?}; it may have been tried again, or discarded");
        (StatusCode::NOT_FOUND, Error::new(ErrorKind::Refused, what))
    };
    let number = id.parse().map_err(|_| missing())?;
    let kept = desk.letters.get(number).await.map_err(|error| (status_of(&error), error))?;
    kept.ok_or_else(missing)
}

/// `POST /api/dead-letters/ID/replay`.
pub(super) async fn replay(state: Shared<Arc<State>>, id: Path<String>, headers: HeaderMap) -> Response {
    decide(state, id, headers, async |desk, kept| match desk.replay(&kept).await? {
        Tried::Done => Ok(()),
        Tried::Impossible(error) => Err(Error::new(ErrorKind::Contract, error.to_string())),
        Tried::ParkedAnew(error, id) => {
            let number = id.map_or_else(|| "another number".to_owned(), |id| format!("the number {id}"));
            let what = format!("it failed again, and is kept under {number}: {error}");
            Err(Error::new(ErrorKind::Contract, what))
        }
    })
    .await
}

/// `POST /api/dead-letters/ID/discard`.
pub(super) async fn discard(state: Shared<Arc<State>>, id: Path<String>, headers: HeaderMap) -> Response {
    decide(state, id, headers, async |desk, kept| desk.letters.remove(&[kept.id]).await.map(drop)).await
}

async fn decide(
    Shared(state): Shared<Arc<State>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    decision: impl AsyncFnOnce(&LetterDesk, KeptLetter) -> Result<(), Error>,
) -> Response {
    if let Err((status, error)) = authorize(&state, &headers) {
        return refuse(status, &error);
    }
    let Ok(_place) = state.changes.try_acquire() else {
        let error = Error::new(ErrorKind::Unavailable, "other letters are being decided about; try again");
        return failed(&error);
    };
    let kept = match found(&state.desk, &id).await {
        Ok(kept) => kept,
        Err((status, error)) => return refuse(status, &error),
    };
    match decision(&state.desk, kept).await {
        Ok(()) => answer::json(StatusCode::OK, &json!({ "done": 1 })),
        Err(error) => failed(&error),
    }
}

fn authorize(state: &State, headers: &HeaderMap) -> Result<(), (StatusCode, Error)> {
    let denied = |status, what: &str| Err((status, Error::new(ErrorKind::Denied, what)));
    let Some(token) = &state.token else {
        let what = "nobody may change anything here: set admin.token; or use `sync-runner dlq`";
        return denied(StatusCode::FORBIDDEN, what);
    };
    let shown = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    if shown.is_some_and(|shown| bool::from(shown.ct_eq(token.expose().as_bytes()))) {
        return Ok(());
    }
    denied(StatusCode::UNAUTHORIZED, "this needs the token of admin.token, as `Authorization: Bearer TOKEN`")
}
