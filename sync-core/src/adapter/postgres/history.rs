//! The history the database is in: noted when it changes, and agreed upon with what others have recorded.

use super::connect::Timed;
use super::error::from_postgres;
use crate::error::{Error, ErrorKind};
use crate::port::History;

/// Epoch and token of the newest history, if the running server is in it: part of each statement that reads rows, and
/// therefore no function, which would be planned anew each time, and without the database's oid, which is dear to find.
/// Fails on a standby.
pub(super) const PRESENT: &str = "
select h.epoch, h.token::text as token
  from outbox.history h, pg_catalog.pg_control_system() live
 where h.epoch = (select max(newest.epoch) from outbox.history newest)
   and h.system_identifier = live.system_identifier and h.events_oid = 'outbox.events'::regclass::oid
   and h.timeline
     = ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::int";

/// Notes the present history; a promotion begins the next one.
pub(super) async fn note(client: &Timed) -> Result<History, Error> {
    agree(client, None).await
}

/// The same, told what an index has recorded: another history of the same number begins the next one as well.
pub(super) async fn agree(client: &Timed, recorded: Option<&History>) -> Result<History, Error> {
    let (number, token) = (recorded.map(|history| history.epoch), recorded.map(|history| history.token.as_str()));
    let row = client
        .query_one("select epoch, token, verdict from outbox.agree_history($1, $2)", &[&number, &token])
        .await
        .map_err(|error| from_postgres("reading the outbox's history", error))?;
    let (epoch, token, verdict): (i32, String, String) = (row.get(0), row.get(1), row.get(2));
    match verdict.as_str() {
        "same" | "first" => {}
        "promoted" => tracing::warn!(epoch, "PostgreSQL was promoted: versions go on in a new epoch"),
        "apart" => tracing::error!(
            epoch,
            "another copy of this database has written to the index: commits were lost, in a promotion or a restore. \
             Versions go on in a new epoch"
        ),
        "behind" => return Err(behind(epoch, number.unwrap_or_default())),
        _ => return Err(foreign()),
    }
    Ok(History { epoch, token })
}

fn behind(epoch: i32, recorded: i32) -> Error {
    let what = format!(
        "the index was written in epoch {recorded}, this database is in epoch {epoch} and never had that one: either it is \
         no longer the primary, or it was restored from before that. Nothing is written. If it is the database to go \
         on with, run `select outbox.raise_epoch({})`",
        recorded.saturating_add(1)
    );
    Error::new(ErrorKind::History, what)
}

fn foreign() -> Error {
    Error::new(
        ErrorKind::History,
        "the outbox was restored from a dump or copied from another cluster: its transaction ids are not this \
         cluster's, so no position in it can be trusted. Nothing is published. Once no other relay uses it, run \
         `select * from outbox.adopt_history()`: it stamps the retained events anew and publishes them again",
    )
}
