//! The servers of campaigns, and the network before them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::plan::{Server, Wire};
use crate::support::broker::{Broker, Listener};
use crate::support::index_proxy::IndexProxy;
use crate::support::proxy::{Proxy, host_and_port};
use crate::support::servers;
use crate::support::stack::{OwnStack, StackServer};

/// What transactions need of a cluster of one; sessions that end soon; little to recover after a crash.
const BROKER: &[&str] = &[
    "transaction.state.log.replication.factor=1",
    "transaction.state.log.min.isr=1",
    "transaction.state.log.num.partitions=2",
    "share.coordinator.state.topic.replication.factor=1",
    "share.coordinator.state.topic.min.isr=1",
    "group.min.session.timeout.ms=1000",
    "auto.create.topics.enable=false",
];

/// Where everything is: for the campaign itself directly, for relays and indexers by way of proxies.
pub struct Servers {
    /// A URL of a role that may create databases.
    pub postgres: String,
    pub kafka: String,
    pub elasticsearch: String,
    /// By way of which answers can be spoilt.
    pub index: IndexProxy,
    relay_to_postgres: Proxy,
    indexer_to_postgres: Proxy,
    indexer_to_elasticsearch: Proxy,
    own: Option<Own>,
}

/// Servers that nobody else uses.
struct Own {
    stack: Arc<OwnStack>,
    broker: Arc<Mutex<Broker>>,
    /// Clients go on where the broker tells them to, so each has a listener of its own that names its proxy.
    relay_to_kafka: Proxy,
    indexer_to_kafka: Proxy,
}

impl Servers {
    /// Started for this, so that they may be killed.
    pub async fn own() -> Self {
        let relay_to_kafka = Proxy::to("nowhere").await;
        let indexer_to_kafka = Proxy::to("nowhere").await;
        let listener = |name, proxy: &Proxy| {
            let advertised = Some(proxy.address().to_owned());
            Listener { name, protocol: "PLAINTEXT", advertised }
        };
        let listeners = [listener("RELAY", &relay_to_kafka), listener("INDEXER", &indexer_to_kafka)];
        let broker = spawn_blocking(move || Broker::start(&listeners, BROKER, &[], |_| {}));
        let stack = spawn_blocking(OwnStack::start);
        let (broker, stack) = tokio::join!(broker, stack);
        let (broker, stack) = (broker.unwrap(), stack.unwrap());
        relay_to_kafka.point_at(&broker.address(1));
        indexer_to_kafka.point_at(&broker.address(2));
        let postgres = format!("postgres://sync:sync@{}/sync", stack.address(StackServer::Postgres));
        let (kafka, elasticsearch) = (broker.address(0), stack.address(StackServer::Elasticsearch));
        let (stack, broker) = (Arc::new(stack), Arc::new(Mutex::new(broker)));
        Self::at(postgres, kafka, elasticsearch, Some(Own { stack, broker, relay_to_kafka, indexer_to_kafka })).await
    }

    /// Those of the environment, which others use too. The way to Kafka leads through no proxy.
    pub async fn shared() -> Self {
        let elasticsearch = servers::elasticsearch().trim_start_matches("http://").to_owned();
        Self::at(servers::postgres(), servers::kafka(), elasticsearch, None).await
    }

    async fn at(postgres: String, kafka: String, elasticsearch: String, own: Option<Own>) -> Self {
        let index = IndexProxy::to(&elasticsearch).await;
        Self {
            relay_to_postgres: Proxy::to_database(&postgres).await,
            indexer_to_postgres: Proxy::to_database(&postgres).await,
            indexer_to_elasticsearch: Proxy::to(index.address()).await,
            index,
            postgres,
            kafka,
            elasticsearch,
            own,
        }
    }

    /// The same URL of PostgreSQL by way of this wire's proxy.
    pub fn database(&self, wire: Wire, url: &str) -> String {
        url.replace(host_and_port(url), self.wire(wire).address())
    }

    /// Kafka by way of this wire's proxy, where there is one.
    pub fn brokers(&self, wire: Wire) -> String {
        match self.own {
            Some(_) => self.wire(wire).address().to_owned(),
            None => self.kafka.clone(),
        }
    }

    /// # Panics
    /// When these are not the campaign's own servers and the wire is Kafka's.
    pub fn wire(&self, wire: Wire) -> &Proxy {
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
        let Own { stack, broker, .. } = self.own.as_ref().expect("the campaign's own servers");
        let (stack, broker) = (Arc::clone(stack), Arc::clone(broker));
        match server {
            Server::Postgres | Server::Elasticsearch => {
                let server = of_the_stack(server);
                let restarting = Arc::clone(&stack);
                spawn_blocking(move || stack.kill(server)).await.unwrap();
                sleep(down).await;
                spawn_blocking(move || restarting.restart(server)).await.unwrap();
            }
            Server::Kafka => {
                let restarting = Arc::clone(&broker);
                spawn_blocking(move || broker.lock().unwrap().kill()).await.unwrap();
                sleep(down).await;
                spawn_blocking(move || restarting.lock().unwrap().run()).await.unwrap();
            }
        }
    }

    /// Stops a server where it is, and lets it go that much later.
    pub async fn freeze(&self, server: Server, lasting: Duration) {
        let Own { stack, broker, .. } = self.own.as_ref().expect("the campaign's own servers");
        match server {
            Server::Postgres | Server::Elasticsearch => {
                let stack = Arc::clone(stack);
                let frozen = spawn_blocking(move || stack.freeze(of_the_stack(server))).await.unwrap();
                sleep(lasting).await;
                drop(frozen);
            }
            Server::Kafka => {
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
