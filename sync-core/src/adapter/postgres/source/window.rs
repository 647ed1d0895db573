//! One window: every event the snapshot `hi` sees and `lo` does not, in order of id.

use jiff::Timestamp;
use tokio_postgres::Row;

use crate::error::{Error, ErrorKind};
use crate::event::{Action, Event};

/// Parameters: lo, hi, the last id done inside the window, topics or null, bytes of the largest payload that is sent.
///
/// The `offset` lets a payload be written out once, to be measured and sent.
///
/// A transaction that was open at `lo` and is done at `hi` is found by its id; the `except` and the upper bound keep a
/// poll from scanning the rows of transactions that are still open.
pub(super) const WINDOW: &str = "
select id, topic, key, version, action, case when octet_length(sent) <= $5::bigint then sent end, headers, created_at,
       octet_length(sent)
  from (select id, topic, key, version, action, coalesce(value, payload::text) as sent, headers::text, created_at
          from outbox.events
         where ((xid >= pg_snapshot_xmax($1::text::pg_snapshot) and xid < pg_snapshot_xmax($2::text::pg_snapshot))
                or xid = any (array(select pg_snapshot_xip($1::text::pg_snapshot)
                                    except
                                    select pg_snapshot_xip($2::text::pg_snapshot))))
           and not pg_visible_in_snapshot(xid, $1::text::pg_snapshot)
           and pg_visible_in_snapshot(xid, $2::text::pg_snapshot)
           and id > $3
           and ($4::text[] is null or topic = any ($4))
         order by id
        offset 0) as events
 order by id";

fn unreadable(error: tokio_postgres::Error) -> Error {
    let what = "reading a row of outbox.events: not of the shape the migrations gave it";
    Error::new(ErrorKind::Contract, what).with_source(error)
}

/// Reads one row of [`WINDOW`].
pub(super) fn event(row: &Row) -> Result<Event, Error> {
    let id: i64 = row.try_get(0).map_err(unreadable)?;
    let action: &str = row.try_get(4).map_err(unreadable)?;
    let headers: Option<&str> = row.try_get(6).map_err(unreadable)?;
    let created_at: Timestamp = row.try_get(7).map_err(unreadable)?;
    Ok(Event {
        id,
        topic: row.try_get(1).map_err(unreadable)?,
        key: row.try_get(2).map_err(unreadable)?,
        version: row.try_get(3).map_err(unreadable)?,
        action: Action::parse(action).ok_or_else(|| {
            Error::new(ErrorKind::Contract, format!("event {id} of the outbox has the unknown action {action:?}"))
        })?,
        payload: row.try_get(5).map_err(unreadable)?,
        headers: headers.map_or_else(|| Ok(Vec::new()), |text| read_headers(id, text))?,
        created_at,
    })
}

/// How many bytes the payload of a row of [`WINDOW`] has, where the event came without it.
pub(super) fn unsent(row: &Row, event: &Event) -> Result<Option<u64>, Error> {
    let bytes: Option<i32> = row.try_get(8).map_err(unreadable)?;
    Ok(bytes.filter(|_| event.payload.is_none()).map(|bytes| u64::from(bytes.unsigned_abs())))
}

/// About how much memory an event takes.
pub(super) fn size(event: &Event) -> usize {
    let headers: usize = event.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    event.key.len() + event.payload.as_ref().map_or(0, String::len) + headers + 64
}

/// Headers of the event `id`, as `outbox.emit` stores them: one flat object of texts.
///
/// # Errors
/// `Contract` when they are anything else.
#[cfg_attr(not(feature = "testkit"), expect(unreachable_pub, reason = "only the suites reach it from outside"))]
pub fn read_headers(id: i64, text: &str) -> Result<Vec<(String, String)>, Error> {
    let parsed: std::collections::BTreeMap<String, String> = serde_json::from_str(text).map_err(|error| {
        Error::new(
            ErrorKind::Contract,
            format!("the headers of event {id} of the outbox are not a flat JSON object of texts"),
        )
        .with_source(error)
    })?;
    Ok(parsed.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_are_no_flat_object_of_texts_are_refused_by_event() {
        assert_eq!(read_headers(1, r#"{"a":"b"}"#).unwrap(), [("a".to_owned(), "b".to_owned())]);
        for text in ["[]", "{\"a\":1}", "{\"a\":{\"b\":\"c\"}}", "nonsense"] {
            let error = read_headers(41, text).unwrap_err();
            assert!(error.to_string().contains("event 41"), "{error}");
        }
    }
}
