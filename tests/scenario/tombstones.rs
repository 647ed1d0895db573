//! Deletes the index has forgotten: its memory of them dies with the node.

use std::sync::Arc;
use std::time::Duration;

use sync_core::Version;
use sync_core::adapter::SystemClock;
use sync_core::adapter::kafka::KafkaPublisher;
use sync_core::adapter::postgres::{PostgresRuns, RunsConfig};
use sync_core::port::{Outcome, Publisher, Sink, Write};
use sync_core::repair::{
    DifferenceKind, Reconcile, ReconcileConfig, ReconcileCounts, ReconcileEnd, ReconcileScope, RepairOf,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::pipeline::{again, read_topic};
use crate::support::node::{Node, run_all};
use crate::support::pipeline::{Pipeline, Ran, Way};
use crate::support::postgres::database;

const JOBS: &str = "insert into jobs (title) select 'job ' || n from generate_series(1, 20) n";

async fn reconcile(pipeline: &Pipeline) -> ReconcileCounts {
    let runs = RunsConfig::new("test").lease(Duration::from_secs(15));
    let reconcile = Reconcile::new(
        RepairOf::new("jobs", &pipeline.topic),
        Arc::clone(&pipeline.projection) as _,
        Arc::clone(&pipeline.sink) as _,
        Arc::new(PostgresRuns::new(database(&pipeline.url), runs)),
        Arc::new(pipeline.letters()),
        Arc::new(SystemClock),
        ReconcileConfig::default().grace(Duration::ZERO),
    );
    let scope = ReconcileScope::default().deep(true);
    assert_eq!(reconcile.run(&scope, CancellationToken::new()).await.unwrap(), ReconcileEnd::Finished);
    reconcile.progress().counts()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_document_does_not_come_back_when_the_index_has_forgotten_its_delete() {
    let mut node = tokio::task::spawn_blocking(|| Node::cluster(1).remove(0)).await.unwrap();
    let mut pipeline = Pipeline::new(Way::Kafka).await;
    pipeline.index_at(format!("http://{}", node.address()));
    pipeline
        .beside(async |ran: &Ran| {
            pipeline.execute(JOBS).await;
            pipeline.until_equal().await;
            let ids = pipeline.client.query("select id::text from jobs limit 2", &[]).await.unwrap();
            let [late, old]: [String; 2] = [ids[0].get(0), ids[1].get(0)];
            pipeline.execute(&format!("delete from jobs where id::text in ('{late}', '{old}')")).await;
            pipeline.until_equal().await;
            let document = Some("{\"title\":\"read before the delete\"}".to_owned());
            let late = [Write { key: late, version: Version::new(0, 1).unwrap(), document }];
            let outcomes = pipeline.sink.apply(&late).await.unwrap();
            assert!(matches!(outcomes[..], [Outcome::Stale]), "the index remembers the delete");

            tokio::task::block_in_place(|| {
                node.flush();
                node.kill();
                run_all(&mut [&mut node]);
            });
            let before = pipeline.until_equal().await;
            // What was under way all the time, the row in its hands, is what brings one back; it is found and mended.
            let outcomes = pipeline.sink.apply(&late).await.unwrap();
            assert!(matches!(outcomes[..], [Outcome::Applied]), "the index has forgotten the delete");
            let counts = reconcile(&pipeline).await;
            assert_eq!((counts.of(DifferenceKind::Orphan), counts.fixed, counts.differing()), (1, 1, 1));
            assert_eq!(pipeline.compare().await, before);

            // Every message there ever was, once more, those of the other deleted row among them: it is read as it is now.
            let messages = read_topic(&pipeline).await;
            assert!(messages.iter().any(|message| message.key.as_deref() == Some(old.as_bytes())));
            let said = ran.indexer.counts().messages + messages.len() as u64;
            let publisher = KafkaPublisher::new(&pipeline.kafka()).unwrap();
            publisher.publish(messages.into_iter().map(again).collect()).await.unwrap().await.unwrap();
            while ran.indexer.counts().messages < said {
                sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(pipeline.compare().await, before);
        })
        .await;
}
