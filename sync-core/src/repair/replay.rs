//! A dead letter once more: the row as it is now, through the same guard.

use crate::error::{Error, ErrorKind, Remedy};
use crate::port::{Clock, Current, DeadLetter, DeadLetters, KeptLetter, Outcome, Projection, Sink, Write};

/// What became of a letter.
#[derive(Debug)]
pub enum Replayed {
    /// The index has the row as it is now, or knows that it is gone; the letter is removed.
    Done,
    /// The index does not take it still; the letter is parked anew, with the new reason.
    Refused(Error),
}

/// Tries a letter of an index again, with the projection and the sink of that index.
///
/// Index and database agree on the history first, as an indexer has them do. The current row is read, so nothing old is brought back however old the letter is; a row that is gone is deleted
/// from the index. May be repeated. Dropped half-way, the document may have been written and the letter be still
/// there.
///
/// # Errors
/// `Contract` for a letter without a key, which nobody can look up. Otherwise only what is not the letter's fault:
/// [`Remedy::Retry`] and [`Remedy::Halt`] as the ports say; the letter is then as it was.
pub async fn replay(
    kept: &KeptLetter,
    projection: &dyn Projection,
    sink: &dyn Sink,
    letters: &dyn DeadLetters,
    clock: &dyn Clock,
) -> Result<Replayed, Error> {
    let Some(key) = &kept.letter.key else {
        let what = format!("dead letter {}: it has no key, so there is no row to read; discard it", kept.id);
        return Err(Error::new(ErrorKind::Contract, what));
    };
    match index(key, projection, sink).await {
        Ok(()) => {
            letters.remove(&[kept.id]).await?;
            Ok(Replayed::Done)
        }
        Err(error) if matches!(error.remedy(), Remedy::Park | Remedy::TryLater) => {
            let letter = DeadLetter {
                error_kind: error.kind().name().to_owned(),
                error: error.to_string(),
                attempts: kept.letter.attempts.saturating_add(1),
                parked_at: clock.now(),
                ..kept.letter.clone()
            };
            letters.park(&letter).await?;
            Ok(Replayed::Refused(error))
        }
        Err(error) => Err(error),
    }
}

async fn index(key: &str, projection: &dyn Projection, sink: &dyn Sink) -> Result<(), Error> {
    let short = |port: &str| Error::new(ErrorKind::Internal, format!("the {port} gave no answer for key {key:?}"));
    let keys = [key.to_owned()];
    let recorded = sink.history().await?;
    let present = projection.agree(recorded.as_ref()).await?;
    if recorded.as_ref() != Some(&present) {
        sink.record(&present).await?;
    }
    let current = projection.load(&keys).await?.pop().ok_or_else(|| short("projection"))?;
    let Current { key, version, document } = current;
    match sink.apply(&[Write { key, version, document }]).await?.pop().ok_or_else(|| short("sink"))? {
        Outcome::Applied | Outcome::Stale => match projection.mark_synced(&keys).await {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.remedy(), Remedy::Park | Remedy::TryLater) => {
                tracing::warn!(key = keys[0], %error, "in the index, and its row does not take the note of it");
                Ok(())
            }
            Err(error) => Err(error),
        },
        Outcome::Failed(error) => Err(error),
    }
}

#[cfg(feature = "testkit")]
#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::*;
    use crate::adapter::memory::{ManualClock, MemoryDatabase, MemoryDeadLetters, MemorySink};
    use crate::port::{History, LetterSelection, Origin};
    use crate::testkit::faults::{Fault, Faulty, Script};

    struct Bench {
        database: MemoryDatabase,
        sink: Faulty<MemorySink>,
        script: Script,
        letters: MemoryDeadLetters,
    }

    impl Bench {
        fn new() -> Self {
            let script = Script::default();
            let sink = Faulty::new(MemorySink::new(), script.clone());
            Self { database: MemoryDatabase::default(), sink, script, letters: MemoryDeadLetters::new() }
        }

        fn put(&self, key: &str, document: &str) {
            let mut transaction = self.database.begin("jobs");
            transaction.put(key, document);
            transaction.commit();
        }

        async fn park(&self, key: Option<&str>) -> KeptLetter {
            let letter = DeadLetter {
                reader: "jobs".into(),
                origin: Origin { topic: "jobs".into(), partition: 0, offset: 4 },
                event: None,
                key: key.map(str::to_owned),
                value: None,
                error_kind: "refused".into(),
                error: "as it was".into(),
                attempts: 1,
                parked_at: Timestamp::UNIX_EPOCH,
            };
            self.letters.park(&letter).await.unwrap();
            self.all().await.pop().unwrap()
        }

        async fn all(&self) -> Vec<KeptLetter> {
            self.letters.list(&LetterSelection::default(), 0, 10).await.unwrap()
        }

        async fn replay(&self, kept: &KeptLetter) -> Result<Replayed, Error> {
            let clock = Arc::new(ManualClock::new(Timestamp::from_second(60).unwrap()));
            replay(kept, &self.database, &self.sink, &self.letters, &*clock).await
        }

        async fn indexed(&self, key: &str) -> Option<String> {
            self.sink.fetch(&[key.to_owned()]).await.unwrap().pop().flatten().map(|stored| stored.document)
        }
    }

    #[tokio::test]
    async fn a_replayed_letter_brings_the_row_as_it_is_now_and_is_gone() {
        let bench = Bench::new();
        bench.put("a", "{\"v\":1}");
        let kept = bench.park(Some("a")).await;
        bench.put("a", "{\"v\":2}");
        assert!(matches!(bench.replay(&kept).await, Ok(Replayed::Done)));
        assert_eq!(bench.indexed("a").await.as_deref(), Some("{\"v\":2}"));
        assert_eq!(bench.all().await, []);
        assert!(bench.database.synced("a") > 0);
    }

    #[tokio::test]
    async fn a_replayed_letter_never_brings_back_a_row_that_is_gone() {
        let bench = Bench::new();
        bench.put("a", "{}");
        let kept = bench.park(Some("a")).await;
        let mut transaction = bench.database.begin("jobs");
        transaction.delete("a");
        transaction.commit();
        assert!(matches!(bench.replay(&kept).await, Ok(Replayed::Done)));
        assert_eq!(bench.indexed("a").await, None);
    }

    #[tokio::test]
    async fn what_is_refused_again_is_kept_with_the_new_reason() {
        let bench = Bench::new();
        bench.put("a", "{}");
        let kept = bench.park(Some("a")).await;
        bench.script.then([Fault::Fail(ErrorKind::TooLarge)]);
        assert!(matches!(bench.replay(&kept).await, Ok(Replayed::Refused(_))));
        let [again] = &bench.all().await[..] else { panic!("one letter") };
        assert!(again.id > kept.id);
        assert_eq!((again.letter.attempts, again.letter.error_kind.as_str()), (2, "too_large"));
        assert_eq!(
            (again.letter.parked_at, &again.letter.origin),
            (Timestamp::from_second(60).unwrap(), &kept.letter.origin)
        );
    }

    #[tokio::test]
    async fn a_letter_is_replayed_only_once_index_and_database_agree_on_the_history() {
        let bench = Bench::new();
        bench.put("a", "{}");
        let kept = bench.park(Some("a")).await;
        bench.sink.record(&History { epoch: 1, token: "elsewhere".into() }).await.unwrap();
        assert_eq!(bench.replay(&kept).await.unwrap_err().kind(), ErrorKind::History);
        assert_eq!((bench.indexed("a").await, bench.all().await), (None, vec![kept.clone()]));
        let next = [bench.database.begin_history(), bench.database.begin_history()].map(|begun| begun.epoch);
        assert!(matches!(bench.replay(&kept).await, Ok(Replayed::Done)));
        let recorded = bench.sink.history().await.unwrap().unwrap();
        assert_eq!((recorded.epoch, bench.all().await), (next[1], Vec::new()));
    }

    #[tokio::test]
    async fn an_outage_leaves_the_letter_as_it_was() {
        let bench = Bench::new();
        bench.put("a", "{}");
        let kept = bench.park(Some("a")).await;
        bench.script.then([Fault::Refuse(ErrorKind::Unavailable)]);
        assert_eq!(bench.replay(&kept).await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(bench.all().await, [kept]);
        let keyless = bench.park(None).await;
        assert_eq!(bench.replay(&keyless).await.unwrap_err().kind(), ErrorKind::Contract);
    }
}
