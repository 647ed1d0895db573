//! The servers of campaigns, and the network before them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::pair::{Lost, Pair};
use super::plan::{Server, Whose, Wire};
use crate::support::broker::{Broker, Listener};
use crate::support::index_proxy::IndexProxy;
use crate::support::node::{Node, run_all};
use crate::support::proxy::{Link, Proxy, host_and_port};
use crate::support::servers;

/// One of them may be lost.
pub const BROKERS: usize = 3;

/// The second of them may be lost; without the first nothing is written.
pub const NODES: usize = 2;

/// Little to recover after a crash, and no topics that nobody asked for.
const BROKER: &[&str] = &["transaction.state.log.num.partitions=2", "auto.create.topics.enable=false"];

/// Where everything is: for the campaign itself directly, for relays and indexers by way of proxies.
pub struct Servers {
    /// Name and password of a role that may create databases, as in a URL.
    role: String,
    /// Of all servers of PostgreSQL, one of which is the primary.
    postgres: String,
    /// All brokers.
    pub kafka: String,
    /// All nodes.
    elasticsearch: Vec<String>,
    /// By way of which answers can be spoilt.
    pub index: IndexProxy,
    relay_to_postgres: Ways,
    indexer_to_postgres: Ways,
    indexer_to_elasticsearch: Ways,
    database: Option<Arc<Mutex<Pair>>>,
    own: Option<Own>,
}

/// Servers of Kafka and Elasticsearch that nobody else uses.
struct Own {
    brokers: Vec<Arc<Mutex<Broker>>>,
    nodes: Vec<Arc<Mutex<Node>>>,
    /// Clients go on where brokers tell them to, so for each proxy there is a listener of its own that names it.
    relay_to_kafka: Ways,
    indexer_to_kafka: Ways,
}

/// Of each of two processes, a proxy before every server.
type Ways = [Vec<Proxy>; 2];

async fn ways_to<'a>(addresses: impl Iterator<Item = &'a str> + Clone) -> Ways {
    let way = async || join_all(addresses.clone().map(Proxy::to)).await;
    [way().await, way().await]
}

impl Servers {
    /// Started for this, so that they may be killed: a primary with a standby, three brokers, two nodes.
    pub async fn start() -> Self {
        // Where they lead is known when the brokers are there, and these must know where the proxies are.
        let nowhere = || std::iter::repeat_n("nowhere", BROKERS);
        let (relay_to_kafka, indexer_to_kafka) = (ways_to(nowhere()).await, ways_to(nowhere()).await);
        let ways = || relay_to_kafka.iter().chain(&indexer_to_kafka);
        let listeners: Vec<_> = (0..BROKERS)
            .map(|broker| {
                let mut advertised = ways().map(|way| Some(way[broker].address().to_owned()));
                ["RELAY0", "RELAY1", "INDEXER0", "INDEXER1"].map(|name| {
                    let advertised = advertised.next().expect("a way for each name");
                    Listener { name, protocol: "PLAINTEXT", advertised }
                })
            })
            .collect();
        let brokers = spawn_blocking(move || Broker::cluster(&listeners, BROKER));
        let (database, nodes) = (spawn_blocking(Pair::start), spawn_blocking(|| Node::cluster(NODES)));
        let (brokers, database, nodes) = tokio::join!(brokers, database, nodes);
        let (brokers, database, nodes) = (brokers.unwrap(), database.unwrap(), nodes.unwrap());
        for (listener, way) in ways().enumerate() {
            for (proxy, broker) in way.iter().zip(&brokers) {
                proxy.point_at(&broker.address(1 + listener));
            }
        }
        let postgres = database.addresses().join(",");
        let elasticsearch = nodes.iter().map(Node::address).collect();
        let kafka = brokers.iter().map(|broker| broker.address(0)).collect::<Vec<_>>().join(",");
        let own = Own {
            brokers: brokers.into_iter().map(|broker| Arc::new(Mutex::new(broker))).collect(),
            nodes: nodes.into_iter().map(|node| Arc::new(Mutex::new(node))).collect(),
            relay_to_kafka,
            indexer_to_kafka,
        };
        let servers = Self::at("sync".to_owned(), postgres, kafka, elasticsearch).await;
        Self { database: Some(Arc::new(Mutex::new(database))), own: Some(own), ..servers }
    }

    /// Those of the environment, which others use too. The way to Kafka leads through no proxy.
    pub async fn shared() -> Self {
        let url = servers::postgres();
        let (role, _) = url.trim_start_matches("postgres://").rsplit_once('@').expect("a URL with a role");
        Self::at(role.to_owned(), host_and_port(&url).to_owned(), servers::kafka(), shared_nodes()).await
    }

    /// The same with a database of its own, whose standby may take over.
    pub async fn shared_with_own_database() -> Self {
        let database = spawn_blocking(Pair::start).await.unwrap();
        let addresses = database.addresses().join(",");
        let servers = Self::at("sync".to_owned(), addresses, servers::kafka(), shared_nodes()).await;
        Self { database: Some(Arc::new(Mutex::new(database))), ..servers }
    }

    async fn at(role: String, postgres: String, kafka: String, elasticsearch: Vec<String>) -> Self {
        let index = IndexProxy::to(&elasticsearch).await;
        Self {
            relay_to_postgres: ways_to(postgres.split(',')).await,
            indexer_to_postgres: ways_to(postgres.split(',')).await,
            indexer_to_elasticsearch: ways_to(index.addresses().iter().map(String::as_str)).await,
            index,
            role,
            postgres,
            kafka,
            elasticsearch,
            database: None,
            own: None,
        }
    }

    /// The URL of a database on whoever is the primary.
    pub fn database(&self, name: &str) -> String {
        self.database_at(&self.postgres, name)
    }

    /// The same by way of this wire, as the process of this number takes it.
    pub fn database_by(&self, wire: Wire, number: usize, name: &str) -> String {
        self.database_at(&self.addresses(wire, number), name)
    }

    fn database_at(&self, hosts: &str, name: &str) -> String {
        format!("postgres://{}@{hosts}/{name}?target_session_attrs=read-write", self.role)
    }

    /// Kafka by way of this wire, where there are proxies.
    pub fn brokers(&self, wire: Wire, number: usize) -> String {
        match self.own {
            Some(_) => self.addresses(wire, number),
            None => self.kafka.clone(),
        }
    }

    /// Whether all of them are the campaign's own.
    pub fn can_be_struck(&self) -> bool {
        self.own.is_some()
    }

    /// How many copies of each partition of a topic there are.
    pub fn copies(&self) -> usize {
        self.own.as_ref().map_or(1, |own| own.brokers.len())
    }

    /// How many copies of each shard there are beside the first.
    pub fn replicas(&self) -> usize {
        self.elasticsearch.len() - 1
    }

    /// URLs of all nodes.
    pub fn nodes(&self) -> Vec<String> {
        self.elasticsearch.iter().map(|address| format!("http://{address}")).collect()
    }

    /// The same by way of the proxies of the process of this number.
    pub fn nodes_by_proxy(&self, number: usize) -> Vec<String> {
        self.indexer_to_elasticsearch[number].iter().map(|proxy| format!("http://{}", proxy.address())).collect()
    }

    /// What a client that takes this wire is to be told.
    fn addresses(&self, wire: Wire, number: usize) -> String {
        self.ways(wire)[number].iter().map(Proxy::address).collect::<Vec<_>>().join(",")
    }

    /// Changes how the network is on this wire.
    pub fn set(&self, wire: Wire, whose: Whose, link: Link) {
        let ways = match whose {
            Whose::One(number) => &self.ways(wire)[number..=number],
            Whose::Both => self.ways(wire),
        };
        ways.iter().flatten().for_each(|proxy| proxy.set(link));
    }

    /// Its proxies.
    ///
    /// # Panics
    /// When these are not the campaign's own servers and the wire is Kafka's.
    pub fn ways(&self, wire: Wire) -> &Ways {
        match wire {
            Wire::RelayToPostgres => &self.relay_to_postgres,
            Wire::RelayToKafka => &self.own().relay_to_kafka,
            Wire::IndexerToKafka => &self.own().indexer_to_kafka,
            Wire::IndexerToPostgres => &self.indexer_to_postgres,
            Wire::IndexerToElasticsearch => &self.indexer_to_elasticsearch,
        }
    }

    fn own(&self) -> &Own {
        self.own.as_ref().expect("the campaign's own servers")
    }

    fn pair(&self) -> &Arc<Mutex<Pair>> {
        self.database.as_ref().expect("a database of the campaign's own")
    }

    /// Kills a server, or all of a kind, and starts it again that much later; returns when it answers.
    pub async fn kill(&self, server: Server, down: Duration) {
        let own = self.own();
        match server {
            Server::Postgres => {
                with(self.pair(), Pair::kill).await;
                sleep(down).await;
                with(self.pair(), Pair::run).await;
            }
            Server::Broker(one) => kill_brokers(vec![Arc::clone(&own.brokers[one])], down).await,
            Server::Kafka => kill_brokers(own.brokers.clone(), down).await,
            Server::Node(one) => kill_nodes(vec![Arc::clone(&own.nodes[one])], down).await,
            Server::Elasticsearch => kill_nodes(own.nodes.clone(), down).await,
        }
    }

    /// Stops a server, or all of a kind, where it is, and lets it go that much later.
    pub async fn freeze(&self, server: Server, lasting: Duration) {
        let own = self.own();
        let frozen = match server {
            Server::Postgres => vec![with(self.pair(), |pair| pair.freeze()).await],
            Server::Broker(one) => freeze_all(&own.brokers[one..=one], |broker| broker.freeze()).await,
            Server::Kafka => freeze_all(&own.brokers, |broker| broker.freeze()).await,
            Server::Node(one) => freeze_all(&own.nodes[one..=one], |node| node.freeze()).await,
            Server::Elasticsearch => freeze_all(&own.nodes, |node| node.freeze()).await,
        };
        sleep(lasting).await;
        drop(frozen);
    }

    /// From now on the standby of PostgreSQL gets nothing of what is committed.
    pub async fn cut_off(&self) {
        with(self.pair(), Pair::cut_off).await;
    }

    /// Lets the standby take its primary's place, and says what this database has lost by it.
    pub async fn take_over(&self, database: &str) -> Lost {
        let database = database.to_owned();
        with(self.pair(), move |pair| pair.take_over(&database)).await
    }

    /// Whether clocks can be set.
    pub fn have_clocks(&self) -> bool {
        self.pair().lock().unwrap().has_clocks()
    }

    /// Sets the clock of PostgreSQL's primary that many seconds before the true time, or behind it, for so long.
    pub async fn jump(&self, seconds: i64, lasting: Duration) {
        with(self.pair(), move |pair| pair.jump(seconds)).await;
        sleep(lasting).await;
        with(self.pair(), |pair| pair.set_clocks()).await;
    }
}

fn shared_nodes() -> Vec<String> {
    vec![servers::elasticsearch().trim_start_matches("http://").to_owned()]
}

/// Where waiting is no harm.
async fn with<T: Send + 'static, R: Send + 'static>(
    server: &Arc<Mutex<T>>,
    work: impl FnOnce(&mut T) -> R + Send + 'static,
) -> R {
    let server = Arc::clone(server);
    spawn_blocking(move || work(&mut server.lock().unwrap())).await.unwrap()
}

async fn freeze_all<T: Send + 'static, F: Send + 'static>(
    all: &[Arc<Mutex<T>>],
    freeze: impl Fn(&mut T) -> F + Copy + Send + 'static,
) -> Vec<F> {
    join_all(all.iter().map(|one| with(one, freeze))).await
}

async fn kill_brokers(brokers: Vec<Arc<Mutex<Broker>>>, down: Duration) {
    join_all(brokers.iter().map(|broker| with(broker, Broker::kill))).await;
    sleep(down).await;
    join_all(brokers.iter().map(|broker| with(broker, Broker::run))).await;
}

async fn kill_nodes(nodes: Vec<Arc<Mutex<Node>>>, down: Duration) {
    join_all(nodes.iter().map(|node| with(node, Node::kill))).await;
    sleep(down).await;
    let run = move || {
        let mut nodes: Vec<_> = nodes.iter().map(|node| node.lock().unwrap()).collect();
        run_all(&mut nodes.iter_mut().map(|node| &mut **node).collect::<Vec<_>>());
    };
    spawn_blocking(run).await.unwrap();
}
