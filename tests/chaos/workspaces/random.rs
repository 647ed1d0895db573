//! Creations and deletions at random while the process that does them is killed again and again; and rows that are not
//! committed yet.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::CreateContainerOptions;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::sleep;

use crate::chaos::writers::seed;
use crate::support::engine;
use crate::support::postgres::connect;
use crate::support::servers;
use crate::support::workplace::{Workplace, doomed, fine};

/// Creations of an ordinary day; at scale 5 there are 200.
const CREATIONS: u64 = 40;

/// Workspaces that are to be there in the end, and those that are not.
#[derive(Default)]
struct Wanted {
    live: BTreeSet<String>,
    gone: BTreeSet<String>,
}

async fn order_and_delete(workplace: &Workplace, mut random: StdRng) -> Wanted {
    let mut wanted = Wanted::default();
    for _ in 0..CREATIONS * servers::scale() {
        let fails = random.random_bool(0.2);
        let id = workplace.order(if fails { doomed() } else { fine() }).await;
        if fails {
            wanted.gone.insert(id)
        } else {
            wanted.live.insert(id)
        };
        if random.random_bool(0.5) && !wanted.live.is_empty() {
            // Also such as are still being created.
            let victim = wanted.live.iter().nth(random.random_range(0..wanted.live.len())).unwrap().clone();
            wanted.live.remove(&victim);
            workplace.delete(&victim).await;
            wanted.gone.insert(victim);
        }
        sleep(Duration::from_millis(random.random_range(0..400))).await;
    }
    wanted
}

#[tokio::test]
async fn no_orphan_is_left_and_no_live_workspace_lost_while_the_worker_is_killed_every_few_seconds() {
    let Some(engine) = servers::docker() else { return };
    let workplace = Workplace::new(&engine).await;
    workplace.configure();
    let _indexing = workplace.indexing();
    let (mut random, is_done) = (StdRng::seed_from_u64(seed()), AtomicBool::new(false));
    let began = Instant::now();
    let orders = StdRng::seed_from_u64(random.random());
    let ordering = async {
        let wanted = order_and_delete(&workplace, orders).await;
        is_done.store(true, Ordering::SeqCst);
        wanted
    };
    let mut killer = StdRng::seed_from_u64(random.random());
    let killing = async {
        let (mut worker, mut kills) = (workplace.deployment.runner("worker", "workspaces,cleanup"), 0);
        while !is_done.load(Ordering::SeqCst) {
            worker.start();
            sleep(Duration::from_millis(killer.random_range(500..3_000))).await;
            worker.kill().await;
            kills += 1;
        }
        worker.start();
        (worker, kills)
    };
    let (wanted, (mut worker, kills)) = tokio::join!(ordering, killing);
    // One whose time was over, or one of whose steps lost its process too often, was given up, which is its right.
    let mut live = BTreeSet::new();
    for id in &wanted.live {
        workplace.until_over(id).await;
        let (workspace, job, error) = workplace.told(id).await;
        match workspace.as_str() {
            "RUNNING" => drop(live.insert(id.clone())),
            other => {
                assert_eq!((other, job.as_str(), error.is_some()), ("FAILED", "FAILED", true), "{id}");
                println!("workspaces: given up: {}", error.unwrap_or_default());
            }
        }
    }
    for id in &wanted.gone {
        workplace.until_over(id).await;
        let (workspace, ..) = workplace.told(id).await;
        assert!(["FAILED", "DELETED"].contains(&workspace.as_str()), "{id}: {workspace}");
    }
    worker.stop().await;
    let mut removed = 0;
    for _ in 0..2 {
        removed += workplace.cleanup().round(false).await.unwrap().removed.len();
    }
    assert_eq!(workplace.occupied().await, live.iter().cloned().collect::<Vec<_>>());
    for id in &live {
        assert_eq!(workplace.remains(id).await.len(), 3, "{id}");
    }
    workplace.deployment.domain.until_equal().await;
    let (all, given_up) = (CREATIONS * servers::scale(), wanted.live.len() - live.len());
    println!(
        "workspaces: {all} creations, {} deleted or refused, {kills} kills, {given_up} given up, {removed} removed by two last \
         rounds of the cleanup, in {:?}",
        wanted.gone.len(),
        began.elapsed()
    );
}

/// A container that somebody else made for a workspace.
async fn container(workplace: &Workplace, id: &str) {
    let client = engine::client(&workplace.engine).await;
    let labels = [("workspace-id", id), ("workspace-owner", &workplace.owner)];
    let body = ContainerCreateBody {
        image: Some(engine::IMAGE.to_owned()),
        cmd: Some(vec!["sleep".to_owned(), "100000".to_owned()]),
        labels: Some(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
        ..ContainerCreateBody::default()
    };
    client.create_container(None::<CreateContainerOptions>, body).await.unwrap();
}

#[tokio::test]
async fn a_container_of_a_workspace_that_is_not_committed_yet_is_not_removed() {
    let Some(engine) = servers::docker() else { return };
    let workplace = Workplace::new(&engine).await;
    let cleanup = workplace.cleanup();
    for verdict in ["commit", "rollback"] {
        let (client, id) = (connect(&workplace.deployment.domain.url).await, uuid::Uuid::now_v7().to_string());
        client
            .batch_execute(&format!("begin; insert into workspaces (id, name) values ('{id}', 'late')"))
            .await
            .unwrap();
        container(&workplace, &id).await;
        for _ in 0..3 {
            let report = cleanup.round(false).await.unwrap();
            assert_eq!((report.removed.len(), report.waiting), (0, vec![id.clone()]), "{verdict}");
        }
        // A process that looks for the first time knows no more.
        let first_look = workplace.cleanup().round(false).await.unwrap();
        assert_eq!(first_look.waiting, std::slice::from_ref(&id));
        client.batch_execute(verdict).await.unwrap();
        if verdict == "commit" {
            let report = cleanup.round(false).await.unwrap();
            assert_eq!((report.removed.len(), report.waiting.len()), (0, 0));
            assert_eq!(workplace.remains(&id).await, ["a container"]);
            workplace
                .deployment
                .domain
                .execute(&format!("update workspaces set status = 'FAILED' where id = '{id}'"))
                .await;
        }
        // Others on this server may have transactions of their own open.
        while !workplace.remains(&id).await.is_empty() {
            cleanup.round(false).await.unwrap();
            sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test]
async fn while_the_database_is_away_nothing_is_removed() {
    let Some(engine) = servers::docker() else { return };
    let mut workplace = Workplace::new(&engine).await;
    let id = uuid::Uuid::now_v7().to_string();
    container(&workplace, &id).await;
    let url = std::mem::replace(&mut workplace.deployment.domain.url, "postgres://sync@127.0.0.1:1/nowhere".to_owned());
    let away = workplace.cleanup().round(false).await.unwrap_err();
    assert_eq!(away.kind(), sync_core::ErrorKind::Unavailable, "{away}");
    workplace.deployment.domain.url = url;
    assert_eq!(workplace.remains(&id).await, ["a container"]);
    while !workplace.remains(&id).await.is_empty() {
        workplace.cleanup().round(false).await.unwrap();
        sleep(Duration::from_millis(100)).await;
    }
}
