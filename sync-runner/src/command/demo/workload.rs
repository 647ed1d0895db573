//! An application at work: many connections, small transactions, some taken back, one that takes long.

use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sync_core::adapter::postgres::Postgres;
use sync_core::{Error, ErrorKind};

/// Connections that write at the same time.
pub(super) const WRITERS: usize = 6;

/// Rows the long transaction writes before it waits for everybody else.
const LATE_JOBS: i64 = 50;

/// What was written, as far as it is committed.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) committed: AtomicU64,
    pub(super) rolled_back: AtomicU64,
    pub(super) rows: AtomicU64,
}

impl Tally {
    fn commit(&self, rows: u64) {
        self.committed.fetch_add(1, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }
}

/// Writes about `jobs` jobs, with updates and deletes. The long transaction begins first and commits last.
pub(super) async fn write(database: &Postgres, jobs: u64, tally: &Tally) -> Result<(), Error> {
    let late = database.client().await?;
    late.batch_execute("begin").await.map_err(failed)?;
    late.execute(INSERT, &[&LATE_JOBS, &"held open", &0_i64, &"the long transaction"]).await.map_err(failed)?;

    let share = jobs.div_ceil(WRITERS as u64);
    let writers = (0..WRITERS as u64).map(|number| one_writer(database, number, share, tally));
    futures::future::try_join_all(writers).await?;

    late.batch_execute("commit").await.map_err(failed)?;
    tally.commit(LATE_JOBS.unsigned_abs());
    Ok(())
}

/// Writes a job every second, until it is dropped.
pub(super) async fn go_on(database: &Postgres) -> Result<(), Error> {
    let client = database.client().await?;
    let mut second = tokio::time::interval(std::time::Duration::from_secs(1));
    for place in 0_i64.. {
        second.tick().await;
        client.execute(INSERT, &[&1_i64, &"just now", &place, &"going on"]).await.map_err(failed)?;
    }
    Ok(())
}

async fn one_writer(database: &Postgres, number: u64, share: u64, tally: &Tally) -> Result<(), Error> {
    let client = database.client().await?;
    let mut random = StdRng::seed_from_u64(number);
    let connection = format!("connection {number}");
    let mut inserted = 0;
    while inserted < share {
        client.batch_execute("begin").await.map_err(failed)?;
        let mut rows = 0;
        let jobs = random.random_range(1..=20).min(share - inserted);
        let title = ["invoice", "report", "backup", "import"][random.random_range(0..4)];
        let place = i64::try_from(inserted).unwrap_or(i64::MAX);
        let count = i64::try_from(jobs).unwrap_or(i64::MAX);
        rows += client.execute(INSERT, &[&count, &title, &place, &connection]).await.map_err(failed)?;
        // Each writer changes its own rows, as users do; nobody waits in a circle.
        rows += match random.random_range(0..10) {
            0..5 => client.execute(UPDATE, &[&connection]).await.map_err(failed)?,
            5..7 => client.execute(DELETE, &[&connection]).await.map_err(failed)?,
            7 => client.execute(WORKSPACE, &[&connection]).await.map_err(failed)?,
            _ => 0,
        };
        if random.random_bool(0.1) {
            client.batch_execute("rollback").await.map_err(failed)?;
            tally.rolled_back.fetch_add(1, Ordering::Relaxed);
        } else {
            client.batch_execute("commit").await.map_err(failed)?;
            tally.commit(rows);
            inserted += jobs;
        }
    }
    Ok(())
}

fn failed(error: tokio_postgres::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "writing to the reference domain").with_source(error)
}

/// Jobs in a workspace of their own.
const INSERT: &str = "
with workspace as (
    insert into public.workspaces (name, status, host)
    values ($4, 'RUNNING', 'host-' || $3::bigint % 7) returning id)
insert into public.jobs (workspace_id, title, status, priority, tags)
select workspace.id, $2 || ' ' || $3::bigint + n, 'IN_PROGRESS', n % 5, array[$2]
  from workspace, generate_series(1, $1::bigint) n";

const UPDATE: &str = "
update public.jobs set status = 'COMPLETED', completed_at = now(), title = title || ' (done)'
 where id in (select job.id from public.jobs job join public.workspaces workspace on workspace.id = job.workspace_id
               where workspace.name = $1 and job.status = 'IN_PROGRESS' order by job.id limit 15)";

const DELETE: &str = "
delete from public.jobs
 where id in (select job.id from public.jobs job join public.workspaces workspace on workspace.id = job.workspace_id
               where workspace.name = $1 order by job.id limit 5)";

const WORKSPACE: &str = "
update public.workspaces set status = 'FAILED', error_message = 'setup failed'
 where id = (select id from public.workspaces where name = $1 and status = 'RUNNING' order by id limit 1)";
