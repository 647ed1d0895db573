//! The servers of campaigns, and the network before them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::plan::{Server, Wire};
use crate::support::broker::{Broker, Listener};
use crate::support::index_proxy::IndexProxy;
use crate::support::proxy::{Link, Proxy, host_and_port};
use crate::support::servers;
use crate::support::stack::{OwnStack, StackServer};

/// Little to recover after a crash, and no topics that nobody asked for.
const BROKER: &[&str] = &["transaction.state.log.num.partitions=2", "auto.create.topics.enable=false"];

/// What transactions need of a cluster of one.
const ALONE: &[&str] = &["transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1"];

/// Where everything is: for the campaign itself directly, for relays and indexers by way of proxies.
pub struct Servers {
    /// A URL of a role that may create databases.
    pub postgres: String,
    /// All brokers.
    pub kafka: String,
    pub elasticsearch: String,
    /// By way of which answers can be spoilt.
    pub index: IndexProxy,
    relay_to_postgres: [Proxy; 1],
    indexer_to_postgres: [Proxy; 1],
    indexer_to_elasticsearch: [Proxy; 1],
    own: Option<Own>,
}

/// Servers that nobody else uses.
struct Own {
    stack: Arc<OwnStack>,
    brokers: Vec<Arc<Mutex<Broker>>>,
    /// How many of them were struck: they take turns.
    struck: AtomicUsize,
    /// One a broker. Clients go on where brokers tell them to, so each has a listener of its own that names its proxy.
    relay_to_kafka: Vec<Proxy>,
    indexer_to_kafka: Vec<Proxy>,
}

impl Own {
    fn next_broker(&self) -> Arc<Mutex<Broker>> {
        let turn = self.struck.fetch_add(1, Ordering::Relaxed);
        Arc::clone(&self.brokers[turn % self.brokers.len()])
    }
}

impl Servers {
    /// Started for this, so that they may be killed, with that many brokers: one, or three and more.
    pub async fn own(brokers: usize) -> Self {
        let (mut relay_to_kafka, mut indexer_to_kafka, mut listeners) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..brokers {
            let both = [Proxy::to("nowhere").await, Proxy::to("nowhere").await];
            let listener = |name, proxy: &Proxy| {
                let advertised = Some(proxy.address().to_owned());
                Listener { name, protocol: "PLAINTEXT", advertised }
            };
            listeners.push([listener("RELAY", &both[0]), listener("INDEXER", &both[1])]);
            let [relay, indexer] = both;
            relay_to_kafka.push(relay);
            indexer_to_kafka.push(indexer);
        }
        let settings = if brokers == 1 { [BROKER, ALONE].concat() } else { BROKER.to_vec() };
        let brokers = spawn_blocking(move || Broker::cluster(&listeners, &settings));
        let stack = spawn_blocking(OwnStack::start);
        let (brokers, stack) = tokio::join!(brokers, stack);
        let (brokers, stack) = (brokers.unwrap(), stack.unwrap());
        for (broker, (relay, indexer)) in brokers.iter().zip(relay_to_kafka.iter().zip(&indexer_to_kafka)) {
            relay.point_at(&broker.address(1));
            indexer.point_at(&broker.address(2));
        }
        let postgres = format!("postgres://sync:sync@{}/sync", stack.address(StackServer::Postgres));
        let elasticsearch = stack.address(StackServer::Elasticsearch);
        let kafka = brokers.iter().map(|broker| broker.address(0)).collect::<Vec<_>>().join(",");
        let brokers = brokers.into_iter().map(|broker| Arc::new(Mutex::new(broker))).collect();
        let (stack, struck) = (Arc::new(stack), AtomicUsize::new(0));
        let own = Own { stack, brokers, struck, relay_to_kafka, indexer_to_kafka };
        Self::at(postgres, kafka, elasticsearch, Some(own)).await
    }

    /// Those of the environment, which others use too. The way to Kafka leads through no proxy.
    pub async fn shared() -> Self {
        let elasticsearch = servers::elasticsearch().trim_start_matches("http://").to_owned();
        Self::at(servers::postgres(), servers::kafka(), elasticsearch, None).await
    }

    async fn at(postgres: String, kafka: String, elasticsearch: String, own: Option<Own>) -> Self {
        let index = IndexProxy::to(&elasticsearch).await;
        Self {
            relay_to_postgres: [Proxy::to_database(&postgres).await],
            indexer_to_postgres: [Proxy::to_database(&postgres).await],
            indexer_to_elasticsearch: [Proxy::to(index.address()).await],
            index,
            postgres,
            kafka,
            elasticsearch,
            own,
        }
    }

    /// The same URL of PostgreSQL by way of this wire's proxy.
    pub fn database(&self, wire: Wire, url: &str) -> String {
        url.replace(host_and_port(url), &self.addresses(wire))
    }

    /// Kafka by way of this wire's proxy, where there is one.
    pub fn brokers(&self, wire: Wire) -> String {
        match self.own {
            Some(_) => self.addresses(wire),
            None => self.kafka.clone(),
        }
    }

    /// How many copies of each partition there are.
    pub fn copies(&self) -> usize {
        self.own.as_ref().map_or(1, |own| own.brokers.len())
    }

    /// What a client that takes this wire is to be told.
    pub fn addresses(&self, wire: Wire) -> String {
        self.wire(wire).iter().map(Proxy::address).collect::<Vec<_>>().join(",")
    }

    /// Changes how the network is on this wire.
    pub fn set(&self, wire: Wire, link: Link) {
        self.wire(wire).iter().for_each(|proxy| proxy.set(link));
    }

    /// Its proxies: one for each server.
    ///
    /// # Panics
    /// When these are not the campaign's own servers and the wire is Kafka's.
    pub fn wire(&self, wire: Wire) -> &[Proxy] {
        let own = || self.own.as_ref().expect("a proxy before the campaign's own broker");
        match wire {
            Wire::RelayToPostgres => &self.relay_to_postgres,
            Wire::RelayToKafka => &own().relay_to_kafka,
            Wire::IndexerToKafka => &own().indexer_to_kafka,
            Wire::IndexerToPostgres => &self.indexer_to_postgres,
            Wire::IndexerToElasticsearch => &self.indexer_to_elasticsearch,
        }
    }

    /// Kills a server, and starts it again that much later; returns when it answers.
    pub async fn kill(&self, server: Server, down: Duration) {
        let own = self.own.as_ref().expect("the campaign's own servers");
        match server {
            Server::Postgres | Server::Elasticsearch => {
                let server = of_the_stack(server);
                let stack = Arc::clone(&own.stack);
                let restarting = Arc::clone(&stack);
                spawn_blocking(move || stack.kill(server)).await.unwrap();
                sleep(down).await;
                spawn_blocking(move || restarting.restart(server)).await.unwrap();
            }
            Server::Kafka => {
                let broker = own.next_broker();
                let restarting = Arc::clone(&broker);
                spawn_blocking(move || broker.lock().unwrap().kill()).await.unwrap();
                sleep(down).await;
                spawn_blocking(move || restarting.lock().unwrap().run()).await.unwrap();
            }
        }
    }

    /// Stops a server where it is, and lets it go that much later.
    pub async fn freeze(&self, server: Server, lasting: Duration) {
        let own = self.own.as_ref().expect("the campaign's own servers");
        match server {
            Server::Postgres | Server::Elasticsearch => {
                let stack = Arc::clone(&own.stack);
                let frozen = spawn_blocking(move || stack.freeze(of_the_stack(server))).await.unwrap();
                sleep(lasting).await;
                drop(frozen);
            }
            Server::Kafka => {
                let broker = own.next_broker();
                broker.lock().unwrap().signal("STOP");
                sleep(lasting).await;
                broker.lock().unwrap().signal("CONT");
            }
        }
    }
}

fn of_the_stack(server: Server) -> StackServer {
    match server {
        Server::Postgres => StackServer::Postgres,
        Server::Elasticsearch => StackServer::Elasticsearch,
        Server::Kafka => panic!("Kafka is not of the stack"),
    }
}
