//! Documents that the index does not take, on real servers: they are tried again or parked, and hold up nothing.

use std::time::Duration;

use sync_core::policy::RetryPolicy;
use sync_core::port::{DeadLetters, KeptLetter};
use tokio::time::sleep;

use crate::support::pipeline::{Pipeline, Ran, Way};

/// A job called `bad` makes a document the strict mapping refuses.
const PROJECTION: &str = "
select id as key, jsonb_build_object(case when title like 'bad%' then 'no_such_field' else 'title' end, title)
       as document
  from jobs";

async fn until_parked(pipeline: &Pipeline, letters: usize) -> Vec<KeptLetter> {
    loop {
        let parked = pipeline.dead_letters().await;
        if parked.len() >= letters {
            return parked;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn exactly_the_refused_are_parked(way: Way) {
    let mut pipeline = Pipeline::projecting(way, PROJECTION).await;
    pipeline.retries = RetryPolicy::default().first(Duration::from_millis(100));
    pipeline
        .beside(async |ran: &Ran| {
            pipeline
                .execute(
                    "insert into jobs (id, title, status)
                     select gen_random_uuid(), case when n % 100 = 7 then 'bad ' else 'good ' end || n, 'PENDING'
                       from generate_series(1, 1000) n",
                )
                .await;
            let parked = until_parked(&pipeline, 10).await;
            let bad = pipeline.client.query("select id::text from jobs where title like 'bad%' order by 1", &[]).await;
            let mut bad: Vec<String> = bad.unwrap().iter().map(|row| row.get(0)).collect();
            bad.sort();
            let mut keys: Vec<_> = parked.iter().filter_map(|kept| kept.letter.key.clone()).collect();
            keys.sort();
            assert_eq!(keys, bad, "exactly those the mapping refuses");
            for KeptLetter { letter, .. } in &parked {
                assert_eq!((letter.error_kind.as_str(), letter.attempts), ("refused", 1));
                assert!(letter.error.contains("no_such_field"), "{}", letter.error);
                assert!(letter.event.is_some(), "the event is named");
            }
            let good = pipeline.count("select count(*) from jobs where title like 'good%'").await;
            while pipeline.sink.documents().await.unwrap() != Some(good as u64) {
                sleep(Duration::from_millis(20)).await;
            }
            assert!(ran.indexer.partitions_stopped().is_empty());
            // The same rows, mended: what is in the dead letters does not stand in their way.
            pipeline.execute("update jobs set title = 'good again' where title like 'bad%'").await;
            pipeline.until_equal().await;
        })
        .await;
    assert_eq!(pipeline.dead_letters().await.len(), 10, "and none beside them");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_documents_exactly_those_the_mapping_refuses_are_parked_and_the_rest_is_indexed() {
    exactly_the_refused_are_parked(Way::Kafka).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_documents_exactly_those_the_mapping_refuses_are_parked_without_a_broker_too() {
    exactly_the_refused_are_parked(Way::Direct).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refused_document_alone_is_parked_and_the_outbox_passes_it() {
    let pipeline = Pipeline::projecting(Way::Direct, PROJECTION).await;
    pipeline
        .beside(async |ran: &Ran| {
            pipeline.execute("insert into jobs (id, title, status) values (gen_random_uuid(), 'bad', 'PENDING')").await;
            let first = until_parked(&pipeline, 1).await;
            while ran.relay.counts().published == 0 {
                sleep(Duration::from_millis(10)).await;
            }
            // Refused once more, it is still one letter, with a new name.
            pipeline.execute("update jobs set title = 'bad as ever'").await;
            let again = loop {
                let parked = pipeline.dead_letters().await;
                if parked[0].id > first[0].id {
                    break parked;
                }
                sleep(Duration::from_millis(10)).await;
            };
            assert_eq!(again.len(), 1);
            assert_eq!(pipeline.letters().remove(&[first[0].id]).await.unwrap(), 0);
            assert_eq!(pipeline.letters().remove(&[again[0].id]).await.unwrap(), 1);
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_mapping_stops_the_indexer_before_anything_is_parked() {
    let pipeline = Pipeline::projecting(Way::Direct, PROJECTION).await;
    pipeline
        .beside(async |ran: &Ran| {
            // So many that one batch has many of them; and deletes, which are taken whatever the mapping is.
            let topic = &pipeline.topic;
            let writing = format!(
                "begin;
                 insert into jobs (id, title, status)
                 select gen_random_uuid(), 'bad ' || n, 'PENDING' from generate_series(1, 400) n;
                 select outbox.emit_many('{topic}', array(select gen_random_uuid()::text from generate_series(1, 400)));
                 commit"
            );
            pipeline.client.batch_execute(&writing).await.unwrap();
            while ran.indexer.partitions_stopped().is_empty() {
                sleep(Duration::from_millis(10)).await;
            }
            let (_, why) = ran.indexer.partitions_stopped().pop_first().unwrap();
            assert!(why.error.contains("wrong mapping") && why.error.contains("no_such_field"), "{}", why.error);
            assert_eq!(pipeline.dead_letters().await, []);
            pipeline.execute("update jobs set title = 'good'").await;
            pipeline.until_equal().await;
        })
        .await;
    assert_eq!(pipeline.dead_letters().await, []);
}
