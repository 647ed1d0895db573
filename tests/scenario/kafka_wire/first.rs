//! The first requests of a producer that a broker does not know yet: it takes any sequence number from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use sync_core::adapter::kafka::{KafkaConfig, KafkaPublisher, KafkaTransactor, TransactorConfig};
use sync_core::port::{Mark, Publisher, Transactor};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};
use tokio_util::task::AbortOnDropHandle;

use super::broker::{Broker, Listener};
use super::{at, first_occurrences, message, read, soon};

const TOPIC: &str = "first-requests";
const MESSAGES: usize = 10;

/// How long the request that will fail is kept back for a second one to be under way.
const PATIENCE: Duration = Duration::from_millis(500);

/// A broker, behind a proxy that has the first request to write to the topic fail as if the broker did not lead it yet.
struct Site {
    config: KafkaConfig,
    failed: Arc<AtomicU64>,
    _broker: Broker,
    _accepting: AbortOnDropHandle<()>,
}

impl Site {
    async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let advertised = [Listener { name: "PROXIED", protocol: "PLAINTEXT", advertised: Some(address.clone()) }];
        let settings = ["transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1"];
        let starting = tokio::task::spawn_blocking(move || Broker::start(&advertised, &settings, &[], |_| {}));
        let broker = starting.await.unwrap();
        let (target, failed) = (broker.address(1), Arc::new(AtomicU64::new(0)));
        let counter = Arc::clone(&failed);
        let accepting = tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let Ok(far) = TcpStream::connect(&target).await else { continue };
                tokio::spawn(connection(near, far, Arc::clone(&counter)));
            }
        });
        let mut config = at(&address);
        config.properties.insert("batch.num.messages".to_owned(), "1".to_owned());
        Self { config, failed, _broker: broker, _accepting: AbortOnDropHandle::new(accepting) }
    }

    /// The values in the topic in their order, once one request has failed.
    async fn values(&self) -> Vec<usize> {
        assert_eq!(self.failed.load(Ordering::SeqCst), 1);
        // One more behind them all, so that what is missing does not have the reading wait for ever.
        let last = KafkaPublisher::new(&self.config).unwrap();
        soon(async { last.publish(vec![message(TOPIC, "job", MESSAGES)]).await.unwrap().await.unwrap() }).await;
        let mut count = 1;
        loop {
            let messages = read(&self.config, TOPIC, count).await;
            let values = messages.iter().map(|message| std::str::from_utf8(message.value.as_deref().unwrap()).unwrap());
            let mut values: Vec<usize> = values.map(|value| value.parse().unwrap()).collect();
            if values.last() == Some(&MESSAGES) {
                values.pop();
                return values;
            }
            count = values.len() + 1;
        }
    }
}

async fn connection(mut near: TcpStream, mut far: TcpStream, failed: Arc<AtomicU64>) {
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    let (near_in, mut near_out) = near.split();
    let (mut far_in, mut far_out) = far.split();
    let whole = LengthDelimitedCodec::builder().num_skip(0).length_adjustment(4).max_frame_length(16 << 20).new_codec();
    let mut requests = FramedRead::new(near_in, whole);
    let forth = async {
        while let Some(Ok(mut request)) = requests.next().await {
            let writes = request.get(4..6) == Some(&[0, 0]);
            let name = request.windows(TOPIC.len()).position(|bytes| bytes == TOPIC.as_bytes());
            let mut behind = None;
            if let Some(place) = name.filter(|_| writes && failed.fetch_max(1, Ordering::SeqCst) == 0) {
                // A topic that is not there: what a broker says as well that does not lead it yet.
                request[place] = b'F';
                behind = timeout(PATIENCE, requests.next()).await.ok().flatten().transpose().unwrap();
            }
            for request in [Some(request), behind].into_iter().flatten() {
                far_out.write_all(&request).await.unwrap();
            }
        }
    };
    tokio::select! {
        () = forth => {}
        _ = tokio::io::copy(&mut far_in, &mut near_out) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_stay_complete_and_in_order_when_the_first_request_of_a_new_producer_fails() {
    let site = Site::start().await;
    let publisher = KafkaPublisher::new(&site.config).unwrap();
    let batch = || (0..MESSAGES).map(|value| message(TOPIC, "job", value)).collect();
    // As a relay would: what failed is handed over once more.
    while let Err(error) = soon(async { publisher.publish(batch()).await?.await }).await {
        eprintln!("{error}");
    }
    let values = site.values().await;
    assert_eq!(first_occurrences(&values), (0..MESSAGES).collect::<Vec<_>>(), "{values:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_complete_when_the_first_request_of_a_new_producer_fails() {
    let site = Site::start().await;
    let names = TransactorConfig::default().positions(format!("{TOPIC}-positions"));
    let transactor = KafkaTransactor::new(&site.config, names).unwrap();
    let batch = || (0..MESSAGES).map(|value| message(TOPIC, "job", value)).collect();
    let mark = Mark { window: 1, token: "t".to_owned(), last: None, term: 1, epoch: 0, history: "h".to_owned() };
    let once = async || soon(transactor.begin("search")).await?.publish(batch(), &mark).await;
    while let Err(error) = soon(once()).await {
        eprintln!("{error}");
    }
    assert_eq!(site.values().await, (0..MESSAGES).collect::<Vec<_>>());
}
