//! Nothing is written before index and database agree on the history.

use std::time::Duration;

use sync_core::Version;
use sync_core::adapter::memory::MemorySink;
use sync_core::port::{History, Projection, Sink, Write};
use sync_core::testkit::faults::{Fault, Hold};
use tokio::time::sleep;

use super::Bench;

/// How long until an indexer looks at the index again, and a little longer.
const A_WHILE: Duration = Duration::from_secs(6);

fn elsewhere(epoch: i32) -> History {
    History { epoch, token: format!("elsewhere {epoch}") }
}

async fn version(index: &MemorySink, key: &str) -> Version {
    index.fetch(&[key.to_owned()]).await.unwrap().remove(0).expect("it is there").version
}

#[tokio::test(start_paused = true)]
async fn a_document_is_written_only_once_its_history_is_recorded_with_the_index() {
    let bench = Bench::new(1);
    bench.put("a", "{}").await;
    let hold = Hold::default();
    bench.writing.then([Fault::Hold(hold.clone())]);
    let indexer = bench.indexer();
    let checks = async {
        hold.reached().await;
        let present = bench.database.agree(None).await.unwrap();
        assert_eq!(bench.index.history().await.unwrap(), Some(present));
        hold.release();
        bench.until_done().await;
    };
    bench.beside(&indexer, checks).await;
    bench.assert_equal().await;
}

#[tokio::test(start_paused = true)]
async fn an_indexer_at_work_takes_up_the_history_that_begins() {
    let bench = Bench::new(1);
    bench.put("a", "{}").await;
    let indexer = bench.indexer();
    let checks = async {
        bench.until_done().await;
        let next = bench.database.begin_history();
        bench.put("a", "{}").await;
        bench.until_done().await;
        assert_eq!(bench.index.history().await.unwrap(), Some(next));
        assert_eq!(version(&bench.index, "a").await.epoch(), 1);
    };
    bench.beside(&indexer, checks).await;
    bench.assert_equal().await;
}

#[tokio::test(start_paused = true)]
async fn an_index_that_another_copy_of_the_database_wrote_in_the_same_epoch_gets_the_next() {
    let bench = Bench::new(1);
    let indexer = bench.indexer();
    let checks = async {
        for epoch in 0..3 {
            // While it works, too.
            bench.index.record(&elsewhere(epoch)).await.unwrap();
            sleep(A_WHILE).await;
            bench.put("a", "{}").await;
            bench.until_done().await;
            assert_eq!(version(&bench.index, "a").await.epoch(), u64::try_from(epoch).unwrap() + 1);
            assert_eq!(bench.index.history().await.unwrap().unwrap().epoch, epoch + 1);
        }
    };
    bench.beside(&indexer, checks).await;
    bench.assert_equal().await;
}

#[tokio::test(start_paused = true)]
async fn an_index_that_something_else_wrote_is_left_as_it_is_until_a_person_decides() {
    let bench = Bench::new(1);
    // As other programs do: under versions of its own, high ones.
    let version = Version::new(0, 1_000_000).unwrap();
    bench.index.apply(&[Write { key: "a".into(), version, document: Some("{}".into()) }]).await.unwrap();
    bench.put("a", r#"{"n":1}"#).await;
    let indexer = bench.indexer();
    let checks = async {
        while indexer.progress().partitions_stopped().is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
        let (_, why) = indexer.progress().partitions_stopped().pop_first().unwrap();
        assert!(why.error.contains("something else wrote") && why.error.contains("reindex"), "{}", why.error);
        assert_eq!((bench.behind().await, bench.index.history().await.unwrap()), (1, None), "nothing is passed");
        bench.index.forget("a");
        bench.until_done().await;
    };
    bench.beside(&indexer, checks).await;
    bench.assert_equal().await;
}

#[tokio::test(start_paused = true)]
async fn into_an_index_of_a_later_epoch_nothing_is_written_until_a_person_decides() {
    let bench = Bench::new(1);
    bench.index.record(&elsewhere(2)).await.unwrap();
    bench.put("a", "{}").await;
    let indexer = bench.indexer();
    let checks = async {
        while indexer.progress().partitions_stopped().is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
        let (_, why) = indexer.progress().partitions_stopped().pop_first().unwrap();
        assert!(why.error.contains("later epoch"), "{}", why.error);
        assert_eq!((bench.behind().await, bench.index.count().await.unwrap()), (1, 0), "nothing is written or passed");
        assert_eq!(bench.index.history().await.unwrap(), Some(elsewhere(2)));
        for _ in 0..3 {
            bench.database.begin_history();
        }
        bench.until_done().await;
        assert_eq!(bench.index.history().await.unwrap().unwrap().epoch, 3);
    };
    bench.beside(&indexer, checks).await;
    bench.assert_equal().await;
}
