//! Applications that write without end, through outages of their database: what they do follows from a seed, what of it
//! is committed is only known to the database.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_postgres::{Client, Error, NoTls};
use tokio_util::sync::CancellationToken;

use super::TABLES;

/// Keys all writers change.
const HOT: usize = 5;

/// Keys whose documents the index refuses now and then: never so many that the mapping could be suspected.
const POISON: usize = 3;

/// Keys of each writer that only it changes.
const OWN: usize = 25;

/// Rows of the occasional large transaction.
const MANY: usize = 150;

/// How long a writer may take to finish once all servers are up.
const BOUND: Duration = Duration::from_secs(120);

/// Writers at work.
pub struct Workload {
    url: String,
    stop: CancellationToken,
    writing: JoinSet<()>,
}

impl Workload {
    pub fn start(url: &str, seed: u64, writers: u64) -> Self {
        let (stop, mut writing) = (CancellationToken::new(), JoinSet::new());
        for number in 0..writers {
            let random = StdRng::seed_from_u64(seed ^ ((number + 1) << 32));
            let mut writer = Writer { url: url.to_owned(), number, random, client: None, prepared: 0 };
            let stop = stop.clone();
            writing.spawn(async move { writer.write_until(&stop).await });
        }
        Self { url: url.to_owned(), stop, writing }
    }

    /// Lets them finish the transactions they are in. The database must be up.
    pub async fn stop(self) {
        self.stop.cancel();
        timeout(BOUND, self.writing.join_all()).await.expect("the writers finish");
        let client = connect(&self.url).await.unwrap();
        finish_prepared(&client, "").await.unwrap();
    }
}

async fn connect(url: &str) -> Result<Client, Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Commits what a crash left prepared: it keeps its locks until then.
async fn finish_prepared(client: &Client, prefix: &str) -> Result<(), Error> {
    let sql = "select gid from pg_prepared_xacts where database = current_database() and starts_with(gid, $1)";
    for row in client.query(sql, &[&prefix]).await? {
        let gid: String = row.get(0);
        client.batch_execute(&format!("commit prepared '{gid}'")).await?;
    }
    Ok(())
}

struct Writer {
    url: String,
    number: u64,
    random: StdRng,
    client: Option<Client>,
    prepared: u64,
}

impl Writer {
    async fn write_until(&mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let pause = match self.write().await {
                Ok(()) => self.random.random_range(1..30),
                // The database is down. Whether the last transaction was committed need not be known.
                Err(_) => {
                    self.client = None;
                    100
                }
            };
            sleep(Duration::from_millis(pause)).await;
        }
    }

    /// What the names of its prepared transactions begin with; they are the server's, not the database's.
    fn prefix(&self) -> String {
        let (_, database) = self.url.rsplit_once('/').unwrap();
        let (database, _) = database.split_once('?').unwrap();
        format!("{database}-{}-", self.number)
    }

    async fn write(&mut self) -> Result<(), Error> {
        let client = match self.client.take() {
            Some(client) => client,
            None => {
                let client = connect(&self.url).await?;
                finish_prepared(&client, &self.prefix()).await?;
                client
            }
        };
        self.transaction(&client).await?;
        self.client = Some(client);
        Ok(())
    }

    /// One transaction at random. No writer waits for another that waits for it: a key of all is the last thing it
    /// touches.
    async fn transaction(&mut self, client: &Client) -> Result<(), Error> {
        client.batch_execute("begin").await?;
        let is_prepared = self.random.random_bool(0.03);
        if is_prepared {
            client.batch_execute("set local outbox.wake = off").await?;
        }
        for _ in 0..self.random.random_range(1..6) {
            let statement = self.statement();
            let savepoint = self.random.random_range(0..10);
            match savepoint {
                0 => client.batch_execute(&format!("savepoint s; {statement}; rollback to savepoint s")).await?,
                1 => client.batch_execute(&format!("savepoint s; {statement}; release savepoint s")).await?,
                _ => client.batch_execute(&statement).await?,
            }
        }
        // A long one, beside which all others go on.
        if self.random.random_bool(0.02) {
            sleep(Duration::from_millis(self.random.random_range(200..4_000))).await;
        }
        if self.random.random_bool(0.4) {
            client.batch_execute(&self.shared()).await?;
        }
        let commits = self.random.random_bool(0.85);
        if !is_prepared {
            return client.batch_execute(if commits { "commit" } else { "rollback" }).await;
        }
        self.prepared += 1;
        let gid = format!("{}{}", self.prefix(), self.prepared);
        client.batch_execute(&format!("prepare transaction '{gid}'")).await?;
        sleep(Duration::from_millis(self.random.random_range(0..500))).await;
        let verdict = if commits { "commit" } else { "rollback" };
        client.batch_execute(&format!("{verdict} prepared '{gid}'")).await
    }

    /// Something about its own keys. Right in any state of the database, because the writer may not know it.
    fn statement(&mut self) -> String {
        let table = TABLES.choose(&mut self.random).unwrap();
        let key = format!("own-{}-{}", self.number, self.random.random_range(0..OWN));
        match self.random.random_range(0..100) {
            0..45 => put(table, &key, false, &mut self.random),
            45..60 => format!("delete from {table} where id = '{key}'"),
            // Gone and back in one transaction.
            60..70 => {
                let put = put(table, &key, false, &mut self.random);
                format!("delete from {table} where id = '{key}'; {put}")
            }
            70..85 => {
                let (n, name) = (self.random.random_range(0..3), self.random.random::<u16>());
                format!(
                    "insert into parts (item_id, n, name)
                     select id, {n}, '{name}' from items where id = '{key}'
                     on conflict (item_id, n) do update set name = excluded.name"
                )
            }
            85..90 => format!("delete from parts where item_id = '{key}'"),
            // An event about nothing that changed; what it advises need not be right.
            90..95 => {
                format!("select outbox.emit((select topic from topics where name = '{table}'), '{key}', 'DELETE')")
            }
            95..99 => format!("update {table} set revision = revision + 1 where id like 'own-{}-1%'", self.number),
            _ => {
                let title = self.random.random::<u16>();
                format!(
                    "insert into {table} (id, title)
                     select 'many-{}-' || n, '{title}' from generate_series(1, {MANY}) n
                     on conflict (id) do update set title = excluded.title, revision = {table}.revision + 1",
                    self.number
                )
            }
        }
    }

    /// Something about a key of all writers.
    fn shared(&mut self) -> String {
        let table = TABLES.choose(&mut self.random).unwrap();
        let is_poison = self.random.random_bool(0.05);
        let (name, count) = if is_poison { ("poison", POISON) } else { ("hot", HOT) };
        let key = format!("{name}-{}", self.random.random_range(0..count));
        if self.random.random_bool(0.15) {
            format!("delete from {table} where id = '{key}'")
        } else {
            let is_poisoned = is_poison && self.random.random_bool(0.5);
            put(table, &key, is_poisoned, &mut self.random)
        }
    }
}

fn put(table: &str, key: &str, is_poisoned: bool, random: &mut StdRng) -> String {
    let title = random.random::<u16>();
    format!(
        "insert into {table} (id, title, poisoned) values ('{key}', '{title}', {is_poisoned})
         on conflict (id) do update
            set title = excluded.title, poisoned = excluded.poisoned, revision = {table}.revision + 1"
    )
}
