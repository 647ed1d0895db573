//! A commit in PostgreSQL becomes a document in Elasticsearch, on real servers.

use std::time::Duration;

use sync_core::adapter::kafka::{KafkaPublisher, KafkaSubscriber};
use sync_core::event::Outgoing;
use sync_core::port::{Incoming, Polled, Publisher, Sink, Subscriber};
use tokio::time::sleep;

use crate::support::pipeline::{Pipeline, Ran, Way};
use crate::support::postgres::connect;

const JOB: &str = "insert into jobs (id, title, status) select gen_random_uuid(), 'job ' || n, 'PENDING'";

async fn insert_update_delete_and_reinsert(way: Way) {
    let pipeline = Pipeline::new(way).await;
    pipeline
        .beside(async |_| {
            pipeline.execute(&format!("{JOB} from generate_series(1, 300) n")).await;
            pipeline.execute("create temp table kept as select * from jobs where title like '%7'").await;
            pipeline.until_equal().await;
            pipeline.execute("update jobs set title = title || ' again' where title like '%3'").await;
            pipeline.execute("delete from jobs where title like '%7'").await;
            let comparison = pipeline.until_equal().await;
            assert_eq!(comparison.documents, 270);
            pipeline.execute("insert into jobs select * from kept").await;
            let comparison = pipeline.until_equal().await;
            assert_eq!((comparison.documents, comparison.indexed), (300, 300));
        })
        .await;
    assert_eq!(pipeline.count("select count(*) from jobs where es_synced_at is null").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn insert_update_delete_and_reinsert_reach_the_index_through_kafka() {
    insert_update_delete_and_reinsert(Way::Kafka).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn insert_update_delete_and_reinsert_reach_the_index_without_kafka() {
    insert_update_delete_and_reinsert(Way::Direct).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_joined_row_reaches_every_document_it_is_part_of() {
    let pipeline = Pipeline::new(Way::Direct).await;
    pipeline
        .execute(
            "insert into workspaces (id, name, status) values (gen_random_uuid(), 'w', 'CREATING');
             insert into jobs (id, workspace_id, title, status)
             select gen_random_uuid(), w.id, 'job ' || n, 'IN_PROGRESS' from workspaces w, generate_series(1, 20) n",
        )
        .await;
    pipeline
        .beside(async |_| {
            pipeline.until_equal().await;
            pipeline.execute("update workspaces set status = 'FAILED', error_message = 'no address'").await;
            pipeline.until_equal().await;
        })
        .await;
    let keys: Vec<String> =
        pipeline.client.query("select id::text from jobs", &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    for stored in pipeline.sink.fetch(&keys).await.unwrap() {
        assert!(stored.unwrap().document.contains("no address"), "the document shows the workspace's error");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rolled_back_and_prepared_transactions_come_out_right() {
    let pipeline = Pipeline::new(Way::Kafka).await;
    let other = connect(&pipeline.url).await;
    pipeline
        .beside(async |_| {
            pipeline.execute(&format!("begin; {JOB} from generate_series(1, 10) n; rollback")).await;
            pipeline
                .execute(&format!(
                    "begin; {JOB} from generate_series(11, 20) n; savepoint s; {JOB} from generate_series(21, 30) n;
                     rollback to savepoint s; commit"
                ))
                .await;
            for (name, verdict) in [("stays", "commit"), ("goes", "rollback")] {
                let name = format!("{name} {}", pipeline.topic);
                pipeline
                    .execute(&format!(
                        "begin; set local outbox.wake = off; {JOB} from generate_series(31, 40) n;
                         prepare transaction '{name}'"
                    ))
                    .await;
                pipeline.until_equal().await;
                other.batch_execute(&format!("{verdict} prepared '{name}'")).await.unwrap();
            }
            let comparison = pipeline.until_equal().await;
            assert_eq!(comparison.indexed, 20);
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn noting_that_a_document_is_in_the_index_starts_no_loop() {
    let pipeline = Pipeline::new(Way::Direct).await;
    let events = "select count(*) from outbox.events";
    let ran = pipeline
        .beside(async |ran: &Ran| {
            pipeline.execute(&format!("{JOB} from generate_series(1, 50) n")).await;
            pipeline.until_equal().await;
            let written = pipeline.count(events).await;
            while ran.relay.counts().published < u64::try_from(written).unwrap() {
                sleep(Duration::from_millis(10)).await;
            }
            // Every document was noted by now; a loop would have written events for that.
            assert_eq!(pipeline.count("select count(*) from jobs where es_synced_at is not null").await, 50);
            assert_eq!(pipeline.count(events).await, written);
        })
        .await;
    assert_eq!(ran.indexer.counts().applied, 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_and_reversed_messages_in_kafka_leave_the_newest() {
    let pipeline = Pipeline::new(Way::Kafka).await;
    pipeline
        .beside(async |ran: &Ran| {
            pipeline.execute(&format!("{JOB} from generate_series(1, 40) n")).await;
            pipeline.execute("update jobs set title = title || '!'").await;
            pipeline.execute("delete from jobs where title like '%5!'").await;
            let before = pipeline.until_equal().await;
            let mut old = read_topic(&pipeline).await;
            old.reverse();
            let said = ran.indexer.counts().messages + old.len() as u64;
            let publisher = KafkaPublisher::new(&pipeline.kafka()).unwrap();
            publisher.publish(old.into_iter().map(again).collect()).await.unwrap().await.unwrap();
            while ran.indexer.counts().messages < said {
                sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(pipeline.compare().await, before);
        })
        .await;
}

pub(super) async fn read_topic(pipeline: &Pipeline) -> Vec<Incoming> {
    let group = format!("{}-reading", pipeline.topic);
    let subscriber = KafkaSubscriber::new(&pipeline.kafka(), &group, &pipeline.topic, None).unwrap();
    let behind: u64 = subscriber.lag().await.unwrap().iter().map(|partition| partition.behind).sum();
    let mut consumer = subscriber.subscribe().await.unwrap();
    let mut read = Vec::new();
    while (read.len() as u64) < behind {
        if let Polled::Messages(messages) = consumer.poll().await.unwrap() {
            read.extend(messages);
        }
    }
    consumer.close().await.unwrap();
    read
}

pub(super) fn again(message: Incoming) -> Outgoing {
    let text = |bytes: bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    Outgoing {
        topic: message.partition.topic.to_string(),
        key: text(message.key.unwrap()),
        value: message.value.map(text),
        headers: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_indexers_share_the_work_and_one_takes_over_when_the_other_leaves() {
    let pipeline = Pipeline::new(Way::Kafka).await;
    pipeline
        .beside(async |_| {
            pipeline.execute(&format!("{JOB} from generate_series(1, 100) n")).await;
            pipeline.until_equal().await;
            pipeline
                .beside(async |ran: &Ran| {
                    let mut round = 0;
                    while ran.indexer.counts().messages == 0 {
                        round += 1;
                        pipeline.execute(&format!("update jobs set title = 'round {round}'")).await;
                        sleep(Duration::from_millis(100)).await;
                    }
                    pipeline.until_equal().await;
                })
                .await;
            pipeline.execute("update jobs set title = 'after'").await;
            pipeline.until_equal().await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_refuses_its_note_is_indexed_and_holds_up_nobody() {
    let pipeline = Pipeline::new(Way::Direct).await;
    pipeline
        .execute(
            "insert into jobs (title) select 'archived' from generate_series(1, 3) n;
             alter table jobs add check (title <> 'archived' or es_synced_at is null) not valid",
        )
        .await;
    pipeline
        .beside(async |ran: &Ran| {
            pipeline.execute("insert into jobs (title) select 'fine' from generate_series(1, 50) n").await;
            while pipeline.count("select count(*) from jobs where es_synced_at is not null").await < 50 {
                sleep(Duration::from_millis(20)).await;
            }
            pipeline.until_equal().await;
            assert!(ran.indexer.partitions_stopped().is_empty(), "{:?}", ran.indexer.partitions_stopped());
        })
        .await;
    assert_eq!(pipeline.count("select count(*) from jobs where es_synced_at is null").await, 3);
    assert_eq!(pipeline.dead_letters().await, []);
}
