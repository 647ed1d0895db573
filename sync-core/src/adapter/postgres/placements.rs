//! What workspaces occupy, in the table `outbox.placements`.

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::connect::Postgres;
use super::error::{from_postgres, is_duplicate};
use crate::error::{Error, ErrorKind};
use crate::port::{AddressRange, Placement, Placements};

/// How often an address that somebody else took meanwhile is looked for again.
const TRIES: usize = 100;

/// Keeps what workspaces occupy in PostgreSQL.
#[derive(Debug)]
pub struct PostgresPlacements {
    database: Postgres,
}

impl PostgresPlacements {
    /// Connects when it is used.
    #[must_use]
    pub fn new(database: Postgres) -> Self {
        Self { database }
    }

    async fn execute(&self, doing: &str, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64, Error> {
        let client = self.database.timed().await?;
        client.execute(sql, parameters).await.map_err(|error| from_postgres(doing, error))
    }
}

#[async_trait]
impl Placements for PostgresPlacements {
    async fn place(&self, workspace: &str, host: &str) -> Result<String, Error> {
        let client = self.database.timed().await?;
        let placed = client.query_one(PLACE, &[&workspace, &host]).await;
        placed.map_err(|error| from_postgres("placing a workspace", error))?.try_get(0).map_err(unreadable)
    }

    async fn take_address(&self, workspace: &str, AddressRange { first, last }: AddressRange) -> Result<IpAddr, Error> {
        let failed = |error| from_postgres("taking an address", error);
        let client = self.database.timed().await?;
        for _ in 0..TRIES {
            let taken = match client.query_opt(TAKE_ADDRESS, &[&workspace, &first, &last]).await {
                // Another workspace took it at the same moment.
                Err(failure) if is_duplicate(&failure) => continue,
                taken => taken.map_err(failed)?,
            };
            let Some(row) = taken else { return Err(not_placed(workspace)) };
            return row.try_get::<_, Option<IpAddr>>(0).map_err(unreadable)?.ok_or_else(|| {
                let what = format!("no address is left from {first} to {last}: all belong to workspaces");
                Error::new(ErrorKind::Unexplained, what)
            });
        }
        Err(Error::new(ErrorKind::Unavailable, "taking an address: others were faster each time"))
    }

    async fn take_host_name(&self, workspace: &str, name: &str) -> Result<(), Error> {
        let client = self.database.timed().await?;
        let sql = "update outbox.placements set host_name = $2 where workspace = $1";
        match client.execute(sql, &[&workspace, &name]).await {
            Ok(0) => Err(not_placed(workspace)),
            Ok(_) => Ok(()),
            Err(failure) if is_duplicate(&failure) => {
                Err(Error::new(ErrorKind::Refused, format!("the host name {name} belongs to another workspace")))
            }
            Err(error) => Err(from_postgres("taking a host name", error)),
        }
    }

    async fn give_address_back(&self, workspace: &str, address: IpAddr) -> Result<(), Error> {
        let sql = "update outbox.placements set address = null where workspace = $1 and address = $2";
        self.execute("giving an address back", sql, &[&workspace, &address]).await.map(|_| ())
    }

    async fn give_host_name_back(&self, workspace: &str) -> Result<(), Error> {
        let sql = "update outbox.placements set host_name = null where workspace = $1";
        self.execute("giving a host name back", sql, &[&workspace]).await.map(|_| ())
    }

    async fn remove(&self, workspace: &str) -> Result<(), Error> {
        let sql = "delete from outbox.placements where workspace = $1";
        self.execute("removing a placement", sql, &[&workspace]).await.map(|_| ())
    }

    async fn get(&self, workspace: &str) -> Result<Option<Placement>, Error> {
        let client = self.database.timed().await?;
        let row = client.query_opt(&format!("{SELECT} where workspace = $1"), &[&workspace]).await;
        let row = row.map_err(|error| from_postgres("reading a placement", error))?;
        row.map(|row| placement(&row).map_err(unreadable)).transpose()
    }

    async fn list(&self) -> Result<Vec<Placement>, Error> {
        let client = self.database.timed().await?;
        let rows = client.query(&format!("{SELECT} order by workspace"), &[]).await;
        let rows = rows.map_err(|error| from_postgres("reading placements", error))?;
        rows.iter().map(|row| placement(row).map_err(unreadable)).collect()
    }
}

fn not_placed(workspace: &str) -> Error {
    Error::new(ErrorKind::Refused, format!("workspace {workspace} is not placed any more"))
}

fn placement(row: &Row) -> Result<Placement, tokio_postgres::Error> {
    Ok(Placement {
        workspace: row.try_get(0)?,
        host: row.try_get(1)?,
        address: row.try_get(2)?,
        host_name: row.try_get(3)?,
        age: Duration::try_from_secs_f64(row.try_get(4)?).unwrap_or_default(),
    })
}

fn unreadable(error: tokio_postgres::Error) -> Error {
    let what = "reading outbox.placements: not of the shape the migrations gave it";
    Error::new(ErrorKind::Configuration, what).with_source(error)
}

const PLACE: &str = "
insert into outbox.placements as placed (workspace, host) values ($1, $2)
on conflict (workspace) do update set host = placed.host
returning host";

/// The first of the range, or the one after a taken one, whichever is the lowest that nobody has; null when there is none.
const TAKE_ADDRESS: &str = "
update outbox.placements
   set address = coalesce(address, (
       select min(free)
         from (select $2::inet as free
                union all
               select taken.address + 1 from outbox.placements taken where taken.address >= $2 and taken.address < $3) as candidates
        where not exists (select from outbox.placements other where other.address = candidates.free)))
 where workspace = $1
returning address";

const SELECT: &str = "
select workspace, host, address, host_name, extract(epoch from clock_timestamp() - placed_at)::float8
  from outbox.placements";
