//! A way to Elasticsearch that understands what passes: it answers in the server's place, loses answers, holds requests
//! back, and takes the version guard away.

mod bulk;
mod http;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio_util::task::AbortOnDropHandle;

use self::bulk::{full, marked};
use self::http::{Answer, Request, ask, read_request, reset, write_answer};

/// What becomes of bulks. Other requests always pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bulks {
    Pass,
    /// Answered 429 as a whole, and not applied.
    Refused,
    /// Answered 503 as a whole, and not applied.
    Unavailable,
    /// Every other write is answered 429 or 503 in the server's place; the rest is applied.
    HalfRefused,
    /// Applied, and the connection breaks in the middle of the answer.
    AnswerLost,
    /// Applied with versions of this proxy's own, so that whatever arrives later wins.
    Unguarded,
}

/// Passes requests on to the nodes of one cluster.
pub struct IndexProxy {
    addresses: Vec<String>,
    bulks: watch::Sender<Bulks>,
    world: Arc<World>,
    _accepting: Vec<AbortOnDropHandle<()>>,
}

/// What all connections share.
struct World {
    bulks: watch::Receiver<Bulks>,
    /// The next bulk waits here, if it has something to wait for.
    hold: Mutex<Option<Held>>,
    claims: Mutex<Claims>,
}

/// Of writes without the guard: the version each had before this proxy gave it another, by that one.
#[derive(Default)]
struct Claims {
    by_arrival: HashMap<u64, u64>,
}

struct Held {
    reached: Arc<Semaphore>,
    release: oneshot::Receiver<()>,
    passed: Arc<Semaphore>,
}

/// A bulk that waits at the proxy.
pub struct HeldBulk {
    reached: Arc<Semaphore>,
    release: oneshot::Sender<()>,
    passed: Arc<Semaphore>,
}

impl HeldBulk {
    /// Returns once the bulk is there.
    pub async fn reached(&self) {
        self.reached.acquire().await.unwrap().forget();
    }

    /// Lets it go on, and waits until the server has answered it.
    pub async fn release(self) {
        self.release.send(()).expect("the connection waits");
        self.passed.acquire().await.unwrap().forget();
    }
}

impl IndexProxy {
    /// A proxy to these addresses, host and port.
    pub async fn to(targets: &[String]) -> Self {
        let (bulks, state) = watch::channel(Bulks::Pass);
        let world = Arc::new(World { bulks: state, hold: Mutex::default(), claims: Mutex::default() });
        let (mut addresses, mut accepting) = (Vec::new(), Vec::new());
        for target in targets {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            addresses.push(listener.local_addr().unwrap().to_string());
            let serving = tokio::spawn(serve(listener, target.clone(), Arc::clone(&world)));
            accepting.push(AbortOnDropHandle::new(serving));
        }
        Self { addresses, bulks, world, _accepting: accepting }
    }

    /// The addresses to use instead of the targets', in their order.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// From now on.
    pub fn set(&self, bulks: Bulks) {
        self.bulks.send_replace(bulks);
    }

    /// Keeps the next bulk back until it is released.
    pub fn hold_next(&self) -> HeldBulk {
        let (reached, passed) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (sender, release) = oneshot::channel();
        let held = Held { reached: Arc::clone(&reached), release, passed: Arc::clone(&passed) };
        *self.world.hold.lock().unwrap() = Some(held);
        HeldBulk { reached, release: sender, passed }
    }

    /// The version a write had that was applied without the guard under this one; the same where there is none.
    pub fn claimed(&self, version: u64) -> u64 {
        self.world.claims.lock().unwrap().by_arrival.get(&version).copied().unwrap_or(version)
    }
}

impl Claims {
    /// A version for a write that just arrived; those before it have lower ones.
    fn mark(&mut self, claimed: u64) -> u64 {
        let arrival = self.by_arrival.len() as u64 + 1;
        self.by_arrival.insert(arrival, claimed);
        arrival
    }
}

async fn serve(listener: TcpListener, target: String, world: Arc<World>) {
    loop {
        let (near, _) = listener.accept().await.unwrap();
        let (target, world) = (target.clone(), Arc::clone(&world));
        // How a connection ends is for its two sides to judge.
        tokio::spawn(async move { world.converse(BufReader::new(near), &target).await.ok() });
    }
}

impl World {
    async fn converse(&self, mut near: BufReader<TcpStream>, target: &str) -> io::Result<()> {
        while let Some(request) = read_request(&mut near).await? {
            if !request.is_bulk() {
                write_answer(&mut near, &ask(target, &request).await?).await?;
                continue;
            }
            let held = self.hold.lock().unwrap().take();
            let passed = match held {
                Some(Held { reached, release, passed }) => {
                    reached.add_permits(1);
                    // It goes on as well when nobody can release it any more.
                    drop(release.await);
                    Some(passed)
                }
                None => None,
            };
            let answer = self.bulk(request, target).await;
            if let Some(passed) = passed {
                passed.add_permits(1);
            }
            match answer? {
                Some(answer) => write_answer(&mut near, &answer).await?,
                None => return reset(near).await,
            }
        }
        Ok(())
    }

    /// What a bulk is answered; nothing when the connection is to break.
    async fn bulk(&self, request: Request, target: &str) -> io::Result<Option<Answer>> {
        let bulks = *self.bulks.borrow();
        match bulks {
            Bulks::Pass => ask(target, &request).await.map(Some),
            Bulks::Refused => Ok(Some(full(429, "es_rejected_execution_exception"))),
            Bulks::Unavailable => Ok(Some(full(503, "unavailable_shards_exception"))),
            Bulks::HalfRefused => {
                let split = bulk::split(&request);
                let answer = match &split.passing {
                    Some(passing) => Some(ask(target, passing).await?),
                    None => None,
                };
                Ok(Some(split.join(answer)))
            }
            Bulks::AnswerLost => ask(target, &request).await.map(|_| None),
            Bulks::Unguarded => {
                let request = marked(request, |claimed| self.claims.lock().unwrap().mark(claimed));
                ask(target, &request).await.map(Some)
            }
        }
    }
}
