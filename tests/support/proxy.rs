//! A network that can be cut: a proxy between a runner and a server that others use too.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::servers;

/// How long until something is sent, at most.
const BOUND: Duration = Duration::from_secs(60);

/// How the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Everything passes.
    Open,
    /// Connections end, and new ones too.
    Cut,
    /// Connections are reset, and new ones too.
    Reset,
    /// Everything passes, each piece that much later.
    Slow(Duration),
    /// Connections are made and stay, and nothing passes.
    Silent,
}

/// Passes connections on to one address.
pub struct Proxy {
    address: String,
    target: Arc<Mutex<String>>,
    link: watch::Sender<Link>,
    withheld: Arc<AtomicU64>,
    _accepting: AbortOnDropHandle<()>,
}

impl Proxy {
    /// A proxy to Elasticsearch.
    pub async fn to_index() -> Self {
        Self::to(servers::elasticsearch().trim_start_matches("http://")).await
    }

    /// A proxy to the PostgreSQL of this URL.
    pub async fn to_database(url: &str) -> Self {
        Self::to(host_and_port(url)).await
    }

    /// A proxy to an address.
    pub async fn to(target: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (link, state) = watch::channel(Link::Open);
        let withheld = Arc::new(AtomicU64::new(0));
        let (count, target) = (Arc::clone(&withheld), Arc::new(Mutex::new(target.to_owned())));
        let behind = Arc::clone(&target);
        let accepting = tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let target = behind.lock().unwrap().clone();
                tokio::spawn(connection(near, target, state.clone(), Arc::clone(&count)));
            }
        });
        Self { address, target, link, withheld, _accepting: AbortOnDropHandle::new(accepting) }
    }

    /// Passes new connections on to another address: for a server that must know the proxy before it is started.
    pub fn point_at(&self, target: &str) {
        target.clone_into(&mut self.target.lock().unwrap());
    }

    /// The address to use instead of the target's.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The same URL by way of this proxy.
    pub fn url(&self, url: &str) -> String {
        url.replace(host_and_port(url), &self.address)
    }

    /// Changes how the network is.
    pub fn set(&self, link: Link) {
        self.withheld.store(0, Ordering::SeqCst);
        self.link.send_replace(link);
    }

    /// Waits until something does not pass.
    pub async fn until_withheld(&self) {
        let withheld = async {
            while self.withheld.load(Ordering::SeqCst) == 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(BOUND, withheld).await.expect("somebody uses the connection");
    }
}

/// Host and port of a URL like `postgres://user:password@host:port/database`.
pub fn host_and_port(url: &str) -> &str {
    let (_, rest) = url.rsplit_once('@').unwrap_or_else(|| url.split_once("://").unwrap());
    rest.split(['/', '?']).next().unwrap()
}

async fn connection(mut near: TcpStream, target: String, link: watch::Receiver<Link>, withheld: Arc<AtomicU64>) {
    let mut cut = link.clone();
    let mut far = None;
    let passing = async {
        let far = far.insert(TcpStream::connect(target).await.ok()?);
        let ((near_in, near_out), (far_in, far_out)) = (near.split(), far.split());
        tokio::join!(pass(near_in, far_out, link.clone(), &withheld), pass(far_in, near_out, link.clone(), &withheld));
        Some(())
    };
    let broken = async {
        // An error says that the proxy is gone, which cuts as well.
        cut.wait_for(is_broken).await.is_ok_and(|link| *link == Link::Reset)
    };
    let is_refused = is_broken(&link.borrow());
    let reset = tokio::select! {
        reset = broken => {
            // One that was there before may not have been in use.
            withheld.fetch_add(u64::from(is_refused), Ordering::SeqCst);
            reset
        }
        _ = passing => false,
    };
    if reset {
        for stream in [Some(near), far].iter().flatten() {
            stream.set_zero_linger().unwrap();
        }
    }
}

fn is_broken(link: &Link) -> bool {
    matches!(link, Link::Cut | Link::Reset)
}

async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut link: watch::Receiver<Link>,
    withheld: &AtomicU64,
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if *link.borrow() != Link::Open {
            withheld.fetch_add(1, Ordering::SeqCst);
        }
        let passes = |link: &Link| matches!(link, Link::Open | Link::Slow(_));
        let Ok(link) = link.wait_for(passes).await.map(|link| *link) else { return };
        if let Link::Slow(delay) = link {
            sleep(delay).await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    // Whoever is at the other end learns that no more comes; it is gone itself when it cannot be told.
    drop(to.shutdown().await);
}
