//! Leaves of `outbox.events`: made for the days ahead; emptied, then removed, once they are old and every subscription has
//! passed them. Before that, the versions of keys go whose deletion is the last that was said of them there.

use std::time::Duration;

use super::super::connect::{Failure, Timed};
use super::super::error::from_postgres;
use crate::error::Error;

/// Leaves in one go, at most: the rest waits for the next.
const AT_ONCE: usize = 1_000;

/// Versions of keys whose deletion is about to be forgotten, so many at a time.
const PURGE: &str = "select outbox.purge_versions(make_interval(secs => $1::float8))";

const EMPTY: &str = "select outbox.empty_leaf(make_interval(secs => $1::float8))";

/// Who holds back what is older than that, and how much.
const HELD: &str = "
select name, sum(bytes)::bigint, count(*) from outbox.retained() r, unnest(r.not_passed_by) as name
 where (r.day + interval '1 day') at time zone 'UTC' <= clock_timestamp() - make_interval(secs => $1::float8) group by name order by name";

/// Snapshots of days that are gone, but for a day that is going.
const FORGET: &str = "
delete from outbox.snapshots
 where taken_at < clock_timestamp() - make_interval(secs => $1::float8) - interval '2 days'";

/// Makes the leaves of the days ahead.
pub(super) async fn make_leaves(client: &Timed) -> Result<(), Error> {
    let made = client.query_one("select outbox.maintain()", &[]).await;
    let created: i32 = made.map_err(|error| from_postgres("creating leaves of outbox.events ahead", error))?.get(0);
    if created > 0 {
        tracing::info!(created, "leaves of outbox.events created ahead");
    }
    Ok(())
}

/// Gives up what may be, each leaf in a transaction of its own, and tells who stands in the way. One that fails keeps none of the
/// others from being done; the first failure is returned.
pub(super) async fn apply(client: &Timed, keep: Duration) -> Result<(), Error> {
    let keep = keep.as_secs_f64();
    let emptied = empty(client, keep).await;
    let forgotten = client.execute(FORGET, &[&keep]).await.map(drop);
    let told = tell_who_holds(client, keep).await;
    emptied.and(forgotten).and(told).map_err(|error| from_postgres("emptying old leaves of outbox.events", error))
}

async fn tell_who_holds(client: &Timed, keep: f64) -> Result<(), Failure> {
    for row in client.query(HELD, &[&keep]).await? {
        let (subscription, bytes, leaves): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
        tracing::warn!(
            subscription,
            bytes,
            leaves,
            "it holds back events that are older than the retention: run its relay, or, if nobody wants it any more, `select \
             outbox.forget_subscription('{subscription}')`"
        );
    }
    Ok(())
}

async fn empty(client: &Timed, keep: f64) -> Result<(), Failure> {
    for _ in 0..AT_ONCE {
        let purged: i64 = client.query_one(PURGE, &[&keep]).await?.get(0);
        if purged == 0 {
            break;
        }
        tracing::info!(purged, "versions of keys that were deleted before the retention are forgotten");
    }
    for _ in 0..AT_ONCE {
        let done: Option<String> = client.query_one(EMPTY, &[&keep]).await?.get(0);
        let Some(leaf) = done else { break };
        tracing::info!(leaf, "emptied, or removed: its events are older than the retention and published");
    }
    Ok(())
}
