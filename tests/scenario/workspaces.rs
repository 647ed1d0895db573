//! What goes wrong with an engine or with an order: a clear error on the job, and a clean end.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sync_core::port::{AddressRange, SagaOutcome};
use sync_core::workspace::{CREATE, DELETE};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::engine::{self, Engine};
use crate::support::postgres::connect;
use crate::support::servers;
use crate::support::workplace::{STEP, Workplace, fine};

/// Has one created that cannot be, and says what its job was told.
async fn refused(workplace: &Workplace, params: Value, time_allowed: Duration) -> String {
    let id = workplace.order_within(params, time_allowed).await;
    let worker = workplace.worker(&servers::unique("worker"), |step| step, STEP);
    let past = workplace.finish(&id, &worker).await;
    assert_eq!(past.outcome, Some(SagaOutcome::Compensated), "{past:?}");
    workplace.assert_whole(&id, &past, "refused").await;
    workplace.told(&id).await.2.unwrap()
}

#[track_caller]
fn tells(error: &str, words: &[&str]) {
    assert!(words.iter().all(|words| error.contains(words)), "{error:?} does not tell {words:?}");
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn what_is_wrong_with_an_order_is_told_at_once_and_nothing_of_it_is_left() {
    let Some(engine) = servers::docker() else { return };
    let workplace = Workplace::new(&engine).await;
    for (params, words) in [
        (json!({ "image": "nowhere:7" }), &["container: ", "No such image", "workspaces.image", "docker pull"][..]),
        (json!({ "command": ["no-such-command"] }), &["container: ", "no-such-command"]),
        (json!({ "command": ["sh", "-c", "echo I cannot; exit 3"] }), &["ended with code 3", "I cannot"]),
        (json!({ "setup": [["sh", "-c", "echo half done; exit 4"]] }), &["setup: ", "ended with code 4", "half done"]),
        (json!({ "setup": [["no-such-command"]] }), &["setup: ", "no-such-command"]),
        (json!({ "host": "two" }), &["place: ", "no host \"two\"", "workspaces.hosts has one"]),
        (json!({ "host_name": "a b" }), &["params: ", "host_name"]),
        (json!({ "imgae": "x" }), &["unknown field `imgae`"]),
        (json!({ "memory": 1_000 }), &["container: ", "emory"]),
    ] {
        tells(&refused(&workplace, params, MINUTE).await, words);
    }
}

#[tokio::test]
async fn a_name_that_somebody_else_has_is_told_and_theirs_is_left_alone() {
    let Some(engine) = servers::docker() else { return };
    let workplace = Workplace::new(&engine).await;
    let id = workplace.order(fine()).await;
    engine::occupy(&workplace.engine, &format!("workspace-{id}")).await;
    let worker = workplace.worker(&servers::unique("worker"), |step| step, STEP);
    let past = workplace.finish(&id, &worker).await;
    workplace.assert_whole(&id, &past, "the name is taken").await;
    tells(&workplace.told(&id).await.2.unwrap(), &["container: ", "belongs to a container of somebody else"]);
    assert!(engine::vacate(&workplace.engine, &format!("workspace-{id}")).await, "it is still there");
}

#[tokio::test]
async fn when_no_address_is_left_the_next_creation_is_taken_back_and_one_that_is_deleted_makes_room() {
    let Some(engine) = servers::docker() else { return };
    let mut workplace = Workplace::new(&engine).await;
    workplace.addresses.last = workplace.addresses.first;
    let first = workplace.order(fine()).await;
    let worker = workplace.worker(&servers::unique("worker"), |step| step, STEP);
    assert_eq!(workplace.finish(&first, &worker).await.outcome, Some(SagaOutcome::Done));
    tells(&refused(&workplace, fine(), MINUTE).await, &["address: ", "no address is left"]);
    workplace.delete(&first).await;
    workplace.finish(&first, &worker).await;
    assert_eq!(workplace.remains(&first).await, [""; 0]);
    let third = workplace.order(fine()).await;
    let past = workplace.finish(&third, &worker).await;
    assert_eq!(past.outcome, Some(SagaOutcome::Done), "{past:?}");
}

#[tokio::test]
async fn an_engine_that_is_down_is_waited_for_and_one_that_stays_down_is_told() {
    let Some(shared) = servers::docker() else { return };
    let mut engine = Engine::new(&shared).await;
    let workplace = Workplace::new(&engine.address()).await;
    engine.kill();
    let worker = workplace.worker(&servers::unique("worker"), |step| step, STEP);
    let early = workplace.order_within(fine(), Duration::from_secs(3)).await;
    let failed = workplace.finish(&early, &worker).await;
    tells(&workplace.told(&early).await.2.unwrap(), &["place: ", "workspaces.hosts.one.engine", "time allowed"]);
    let id = workplace.order(fine()).await;
    let coming_back = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        engine.start().await;
    };
    let (past, ()) = tokio::join!(workplace.finish(&id, &worker), coming_back);
    assert_eq!(past.outcome, Some(SagaOutcome::Done), "{past:?}");
    workplace.assert_whole(&early, &failed, "the engine was down").await;
}

#[tokio::test]
async fn an_address_that_something_else_has_on_the_network_is_passed_over() {
    let Some(engine) = servers::docker() else { return };
    let mut workplace = Workplace::new(&engine).await;
    let IpAddr::V4(some) = workplace.addresses.first else { panic!("of version 4") };
    let [a, b, c, _] = some.octets();
    // The first is the network's gateway.
    let [gateway, only] = [1, 2].map(|last| IpAddr::V4(Ipv4Addr::new(a, b, c, last)));
    workplace.addresses = AddressRange { first: gateway, last: only };
    let worker = workplace.worker(&servers::unique("worker"), |step| step, STEP);
    let id = workplace.order(fine()).await;
    let past = workplace.finish(&id, &worker).await;
    assert_eq!(past.outcome, Some(SagaOutcome::Done), "{past:?}");
    let remains = workplace.remains(&id).await;
    assert!(remains.iter().any(|placement| placement.contains(&format!("Some({only})"))), "{remains:?}");
    tells(&refused(&workplace, fine(), MINUTE).await, &["address: ", "no address is left"]);
}

#[tokio::test]
async fn an_engine_that_says_nothing_is_given_up_in_time() {
    let Some(shared) = servers::docker() else { return };
    let engine = Engine::new(&shared).await;
    let workplace = Workplace::new(&engine.address()).await;
    let frozen = engine.freeze();
    let began = Instant::now();
    let id = workplace.order_within(fine(), Duration::from_secs(4)).await;
    let worker = workplace.worker(&servers::unique("worker"), |step| step, STEP);
    let past = workplace.finish(&id, &worker).await;
    assert_eq!(past.outcome, Some(SagaOutcome::Compensated), "{past:?}");
    tells(&workplace.told(&id).await.2.unwrap(), &["place: ", "no"]);
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    drop(frozen);
    workplace.assert_whole(&id, &past, "it said nothing").await;
}

#[tokio::test]
async fn an_engine_whose_disk_is_full_is_told_and_nothing_is_left_when_there_is_room_again() {
    let Some(shared) = servers::docker() else { return };
    let engine = Engine::with_disk(&shared, 24 << 20).await;
    let workplace = Workplace::new(&engine.address()).await;
    engine.disk().fill();
    let error = refused(&workplace, fine(), Duration::from_secs(10)).await;
    tells(&error, &["no space left on device"]);
    engine.disk().make_room();
    let id = workplace.order(fine()).await;
    let worker = workplace.worker(&servers::unique("worker"), |step| step, STEP);
    let past = workplace.finish(&id, &worker).await;
    assert_eq!(past.outcome, Some(SagaOutcome::Done), "{past:?}");
}

#[tokio::test]
async fn what_cannot_be_undone_while_an_engine_is_down_is_left_and_cleaned_up_when_it_is_back() {
    let Some(shared) = servers::docker() else { return };
    let mut engine = Engine::new(&shared).await;
    let workplace = Workplace::new(&engine.address()).await;
    let id = workplace.order(fine()).await;
    let worker = workplace.worker(&servers::unique("worker"), |step| step, Duration::from_secs(1));
    assert_eq!(workplace.finish(&id, &worker).await.outcome, Some(SagaOutcome::Done));
    engine.kill();
    workplace.delete(&id).await;
    workplace.finish(&id, &worker).await;
    assert_eq!(workplace.told(&id).await.0, "DELETED");
    let report = workplace.cleanup().round(false).await.unwrap();
    assert!(!report.failed.is_empty() && report.removed.is_empty(), "its host says nothing: {report:?}");
    engine.start().await;
    assert_eq!(workplace.remains(&id).await.len(), 2, "the address is nobody else's while the container may have it");
    let told = workplace.cleanup().round(true).await.unwrap();
    let report = workplace.cleanup().round(false).await.unwrap();
    assert_eq!((&told, report.failed.len()), (&report, 0), "a dry run tells the same");
    assert_eq!(workplace.remains(&id).await, [""; 0]);
}

#[tokio::test]
async fn a_workspace_that_is_deleted_while_it_is_created_is_taken_back_and_then_deleted() {
    let Some(engine) = servers::docker() else { return };
    let workplace = Workplace::new(&engine).await;
    let id = workplace.order(json!({ "setup": [["sleep", "60"]] })).await;
    let worker = workplace.worker(&servers::unique("worker"), |step| step, MINUTE);
    let shutdown = CancellationToken::new();
    let deleting = async {
        while !workplace.remains(&id).await.iter().any(|what| what == "a container") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        workplace.delete(&id).await;
        workplace.until_over(&id).await;
        shutdown.cancel();
    };
    timeout(MINUTE, async { tokio::join!(worker.run_for(&id, shutdown.clone()), deleting) }).await.unwrap();
    assert_eq!(workplace.told(&id).await.0, "DELETED");
    assert_eq!(workplace.remains(&id).await, [""; 0]);
}

#[tokio::test]
async fn a_workspace_whose_row_has_its_id_in_another_spelling_is_refused_before_anything_is_made() {
    let Some(engine) = servers::docker() else { return };
    let workplace = Workplace::new(&engine).await;
    let id = uuid::Uuid::now_v7().to_string();
    let capitals = id.to_uppercase();
    workplace.order_as(&capitals, fine(), MINUTE).await;
    let worker = workplace.worker(&servers::unique("worker"), |step| step, STEP);
    let past = workplace.finish(&capitals, &worker).await;
    assert_eq!(past.outcome, Some(SagaOutcome::Compensated), "{past:?}");
    tells(&workplace.told(&id).await.2.unwrap(), &["place: workspaces.known has no workspace", "another one"]);
    assert_eq!(workplace.occupied().await, [""; 0]);
}

#[tokio::test]
async fn a_deletion_that_overtakes_the_transaction_of_a_creation_leaves_nothing_behind() {
    let Some(engine) = servers::docker() else { return };
    let workplace = Workplace::new(&engine).await;
    let (id, early) = (uuid::Uuid::now_v7().to_string(), connect(&workplace.domain().url).await);
    let told = json!({ "workspace": id, "params": {}, "details": { "name": id } });
    let create = format!("begin; select workspace_creating('{told}'), outbox.create_workspace('{id}')");
    early.batch_execute(&create).await.unwrap();
    workplace.domain().execute(&format!("select outbox.delete_workspace('{id}')")).await;
    let worker = workplace.worker(&servers::unique("worker"), |step| step, STEP);
    let past = workplace.finish(&id, &worker).await;
    assert_eq!((past.saga.kind.as_str(), past.outcome), (DELETE, Some(SagaOutcome::Done)), "there is nothing yet");
    early.batch_execute("commit").await.unwrap();
    let past = workplace.finish(&id, &worker).await;
    assert_eq!((past.saga.kind.as_str(), past.outcome), (CREATE, Some(SagaOutcome::Compensated)), "{past:?}");
    tells(&workplace.told(&id).await.2.unwrap(), &["place: ", "was deleted before its creation was committed"]);
    workplace.assert_whole(&id, &past, "a deletion overtook it").await;
}
