//! What every client shares: what librdkafka says beside its results, and clean-up that blocks.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use tokio::sync::oneshot;

use super::error::{code_of, unreachable};
use crate::error::{Error, ErrorKind};

/// What went wrong on the way to the brokers, in librdkafka's words.
#[derive(Clone, Debug)]
pub(super) struct Complaint {
    pub(super) code: Option<RDKafkaErrorCode>,
    pub(super) reason: String,
}

/// Logs what librdkafka says and remembers the last complaint: a result only says "transport failure", the complaint
/// before it says which address refused the connection.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    last: Option<Complaint>,
    all_down: bool,
    logged: Option<Instant>,
}

impl Reporter {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn last(&self) -> Option<Complaint> {
        self.heard().last.clone()
    }

    /// Whether waiting longer would tell nothing new: no broker answers, or they refuse us.
    fn is_conclusive(&self) -> bool {
        let heard = self.heard();
        let refused = matches!(&heard.last, Some(Complaint { code: Some(RDKafkaErrorCode::Authentication), .. }));
        heard.all_down || refused
    }

    /// An answer came: what was wrong before is mended.
    fn forget(&self) {
        *self.heard() = Heard::default();
    }

    pub(super) fn note(&self, error: &KafkaError, reason: &str) {
        let code = code_of(error);
        if code == Some(RDKafkaErrorCode::PartitionEOF) {
            // An answer, to clients that asked for it.
            return;
        }
        let mut heard = self.heard();
        let is_known = if code == Some(RDKafkaErrorCode::AllBrokersDown) {
            // It only counts them; what was said before says why.
            std::mem::replace(&mut heard.all_down, true)
        } else {
            let complaint = Complaint { code, reason: reason.to_owned() };
            heard.last.replace(complaint).is_some_and(|last| last.code == code && last.reason == reason)
        };
        // The client passes on some complaints twice, and an outage makes the same ones again and again.
        if !is_known || heard.logged.is_none_or(|logged| logged.elapsed() >= LOG_AGAIN) {
            heard.logged = Some(Instant::now());
            tracing::warn!(target: "librdkafka", ?code, "{reason}");
        }
    }
}

impl ClientContext for Reporter {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.note(&error, reason);
    }
}

impl ConsumerContext for Reporter {}

/// Passes on a line of librdkafka's log.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    // One set of properties serves producers and consumers; each complains of what is meant for the other.
    let level = if facility == "CONFWARN" { RDKafkaLogLevel::Debug } else { level };
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::error!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, "{message}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}

/// A complaint that goes on is logged again after this.
const LOG_AGAIN: Duration = Duration::from_secs(60);

/// How long one attempt may take before it is looked at why there is no answer.
const SLICE: Duration = Duration::from_millis(250);

/// Asks until there is an answer, the time is over, or it is clear that none will come. Blocks.
pub(super) fn ask<T>(
    client: &BaseConsumer<Reporter>,
    brokers: &str,
    deadline: Instant,
    question: impl Fn(&BaseConsumer<Reporter>, Duration) -> KafkaResult<T>,
) -> Result<T, Error> {
    loop {
        let answer = question(client, SLICE);
        // Complaints are heard only by polling: each call passes on log lines and ends at the next complaint.
        while client.poll(Duration::from_millis(1)).is_some() {}
        let reporter = client.context();
        match answer {
            Ok(answer) => {
                reporter.forget();
                return Ok(answer);
            }
            Err(error) if reporter.is_conclusive() || Instant::now() >= deadline => {
                return Err(unreachable(brokers, reporter.last().as_ref(), error));
            }
            Err(_) => {}
        }
    }
}

/// Whether nobody waits for the answer any more.
pub(super) struct Asker<'a>(&'a dyn Fn() -> bool);

impl Asker<'_> {
    /// Somebody who waits to the end.
    pub(super) const HERE: Asker<'static> = Asker(&|| false);

    pub(super) fn is_gone(&self) -> bool {
        (self.0)()
    }
}

/// Does what blocks on a thread of its own, which the end of the process does not wait for. When this is dropped the
/// work goes on until it asks whether its [`Asker`] is gone.
pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce(&Asker<'_>) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (told, answer) = oneshot::channel();
    let blocking = move || {
        let outcome = work(&Asker(&|| told.is_closed()));
        // Nobody there: what the work made is dropped here, where that may block.
        drop(told.send(outcome));
    };
    let failed = |what: &str| Error::new(ErrorKind::Internal, format!("kafka: {what}"));
    let spawned = thread::Builder::new().name("kafka-blocking".to_owned()).spawn(blocking);
    spawned.map_err(|error| failed("no thread for what blocks").with_source(error))?;
    answer.await.unwrap_or_else(|_| Err(failed("a thread ended unexpectedly")))
}

/// Runs what blocks on a thread of its own: dropping a client waits for its threads and for its last requests.
pub(super) fn aside(clean_up: impl FnOnce() + Send + 'static) {
    // Without a thread to spare, the closure is dropped here, and its client with it.
    if let Err(error) = thread::Builder::new().name("kafka-clean-up".to_owned()).spawn(clean_up) {
        tracing::warn!(%error, "kafka: no thread for cleaning up");
    }
}
