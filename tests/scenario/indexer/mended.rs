//! A mapping that is mended in the middle of a batch.

use sync_core::ErrorKind;
use sync_core::indexer::IndexerConfig;
use sync_core::testkit::faults::Fault;

use super::{Bench, TOPIC};

/// Some twenty of these in one request.
const DOCUMENT: &str =
    r#"{"text":"of a hundred bytes, so that several of them are sent together, but not all of them at once"}"#;

async fn refused_at_first(bench: &Bench, documents: u32, batch_bytes: usize, refusals: usize) {
    for number in 0..documents {
        bench.put(&format!("key-{number:02}"), DOCUMENT).await;
    }
    bench.writing.then(std::iter::repeat_n(Fault::Fail(ErrorKind::Refused), refusals));
    let config = IndexerConfig::default().batch_bytes(batch_bytes).in_flight(1);
    let indexer = bench.indexer_with(TOPIC, bench.parking(), config);
    bench.beside(&indexer, bench.until_done()).await;
    assert!(bench.writing.is_used_up());
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_before_a_mapping_was_mended_in_the_middle_of_a_batch_is_not_parked() {
    // Not all, or they were all refused; the last of them in the same batch as what is taken.
    for refusals in [1, 2, 4] {
        let bench = Bench::new(1);
        refused_at_first(&bench, 60, 2_000, refusals).await;
        assert_eq!(bench.parked().await, [], "{refusals}");
        bench.assert_equal().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_once_more_in_a_batch_that_stopped_is_not_parked_however_few_it_is() {
    // Three requests of the first try, and one of the second.
    let bench = Bench::new(1);
    refused_at_first(&bench, 12, 600, 4).await;
    assert_eq!(bench.parked().await, []);
    bench.assert_equal().await;
}
