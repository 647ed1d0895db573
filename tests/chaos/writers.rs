//! Applications that write jobs at random, each on a connection of its own.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::domain::Domain;
use crate::support::postgres::connect;

/// Jobs that all writers change.
const SHARED: usize = 8;

/// A seed: the one of the environment, to repeat a run, or a new one. Printed, and so shown when the test fails.
pub fn seed() -> u64 {
    let given = std::env::var("SYNC_TEST_SEED").ok().map(|seed| seed.parse().expect("SYNC_TEST_SEED is a number"));
    let seed = given.unwrap_or_else(rand::random);
    eprintln!("SYNC_TEST_SEED={seed}");
    seed
}

/// Writers at work.
pub struct Writers {
    stop: CancellationToken,
    writing: JoinSet<u64>,
}

impl Writers {
    pub async fn start(domain: &Domain, seed: u64, count: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let shared: Vec<_> = (0..SHARED).map(|_| new_id(&mut random)).collect();
        for id in &shared {
            insert(&domain.client, *id, None).await;
        }
        let (stop, mut writing) = (CancellationToken::new(), JoinSet::new());
        for number in 1..=count {
            let mut writer = Writer {
                client: connect(&domain.url).await,
                random: StdRng::seed_from_u64(seed ^ (number << 32)),
                workspace: new_id(&mut random),
                jobs: Vec::new(),
                shared: shared.clone(),
            };
            let stop = stop.clone();
            writing.spawn(async move { writer.write_until(&stop).await });
        }
        Self { stop, writing }
    }

    /// Lets them finish the transactions they are in; says how many they committed.
    pub async fn stop(self) -> u64 {
        self.stop.cancel();
        self.writing.join_all().await.into_iter().sum()
    }
}

struct Writer {
    client: Client,
    random: StdRng,
    /// Its own workspace, in which some of its jobs are.
    workspace: Uuid,
    /// Its own jobs, that are committed.
    jobs: Vec<Uuid>,
    shared: Vec<Uuid>,
}

fn new_id(random: &mut StdRng) -> Uuid {
    uuid::Builder::from_random_bytes(random.random()).into_uuid()
}

async fn insert(client: &Client, id: Uuid, workspace: Option<Uuid>) {
    let sql = "insert into jobs (id, title, workspace_id) values ($1, 'new', $2)";
    client.execute(sql, &[&id, &workspace]).await.unwrap();
}

async fn change(client: &Client, id: Uuid) {
    let sql = "update jobs set title = 'changed', priority = priority + 1 where id = $1";
    client.execute(sql, &[&id]).await.unwrap();
}

impl Writer {
    async fn write_until(&mut self, stop: &CancellationToken) -> u64 {
        self.client.execute("insert into workspaces (id, name) values ($1, 'w')", &[&self.workspace]).await.unwrap();
        let mut committed = 0;
        while !stop.is_cancelled() {
            committed += u64::from(self.transaction().await);
            sleep(Duration::from_millis(self.random.random_range(1..20))).await;
        }
        committed
    }

    /// One transaction at random; whether it was committed. No writer ever waits for another while that one waits for
    /// it: a shared job is the last thing it touches.
    async fn transaction(&mut self) -> bool {
        self.client.batch_execute("begin").await.unwrap();
        let mut jobs = self.jobs.clone();
        for _ in 0..self.random.random_range(1..8) {
            self.step(&mut jobs).await;
        }
        if self.random.random_bool(0.2) {
            let id = *self.shared.choose(&mut self.random).unwrap();
            change(&self.client, id).await;
        }
        let commit = self.random.random_bool(0.85);
        self.client.batch_execute(if commit { "commit" } else { "rollback" }).await.unwrap();
        if commit {
            self.jobs = jobs;
        }
        commit
    }

    async fn step(&mut self, jobs: &mut Vec<Uuid>) {
        let some = jobs.choose(&mut self.random).copied();
        match (self.random.random_range(0..100), some) {
            (0..20, Some(id)) => change(&self.client, id).await,
            (20..35, Some(id)) => {
                jobs.retain(|job| *job != id);
                self.client.execute("delete from jobs where id = $1", &[&id]).await.unwrap();
            }
            (35..37, _) => {
                let sql = "update workspaces set host = 'host-' || version where id = $1";
                self.client.execute(sql, &[&self.workspace]).await.unwrap();
            }
            (37..42, _) => {
                let id = new_id(&mut self.random);
                self.client.batch_execute("savepoint s").await.unwrap();
                insert(&self.client, id, None).await;
                self.client.batch_execute("rollback to savepoint s").await.unwrap();
            }
            _ => {
                let id = new_id(&mut self.random);
                let workspace = self.random.random_bool(0.02).then_some(self.workspace);
                insert(&self.client, id, workspace).await;
                jobs.push(id);
            }
        }
    }
}
