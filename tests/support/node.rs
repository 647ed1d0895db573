//! Elasticsearch of a test's own: nodes of one cluster, each of which may be killed and frozen.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::process::{self, Frozen, as_owner, free_port, owner};

/// How long a node may take to start and to find the others.
const BOUND: Duration = Duration::from_secs(300);

/// How long it may take to answer a question about its cluster.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the stack keeps Elasticsearch for the user who runs it.
fn distribution() -> PathBuf {
    let place = std::env::var_os("SYNC_STACK_ELASTICSEARCH");
    place.expect("SYNC_STACK_ELASTICSEARCH is not set: run scripts/stack up elasticsearch").into()
}

/// Ports of a node.
#[derive(Clone, Copy)]
struct Ports {
    http: u16,
    transport: u16,
}

/// One node. The server is ended and its directory removed when this is dropped, also after a failed test.
pub struct Node {
    directory: TempDir,
    ports: Ports,
    /// How many nodes the cluster has.
    members: usize,
    server: Option<Child>,
}

impl Node {
    /// A cluster of that many nodes, whose first one is its first master: two can do without the second, not without
    /// the first. Who does not answer within two seconds is left out. Blocks.
    pub fn cluster(members: usize) -> Vec<Self> {
        let ports: Vec<_> = (0..members).map(|_| Ports { http: free_port(), transport: free_port() }).collect();
        let mut nodes: Vec<_> = (0..members).map(|number| Self::new(number, &ports)).collect();
        run_all(&mut nodes.iter_mut().collect::<Vec<_>>());
        nodes
    }

    /// One that does not run yet.
    fn new(number: usize, ports: &[Ports]) -> Self {
        let directory = tempfile::Builder::new().prefix("node-").tempdir().unwrap();
        let (config, temporary) = (directory.path().join("config"), directory.path().join("tmp"));
        let seeds: Vec<_> = ports.iter().map(|ports| format!("\"127.0.0.1:{}\"", ports.transport)).collect();
        let (Ports { http, transport }, seeds) = (ports[number], seeds.join(","));
        let own = directory.path().display();
        let settings = format!(
            "cluster.name: sync-{}\nnode.name: node-{number}\ncluster.initial_master_nodes: [node-0]\n\
             discovery.seed_hosts: [{seeds}]\nnetwork.host: 127.0.0.1\nhttp.port: {http}\n\
             transport.port: {transport}\npath.data: {own}/data\npath.logs: {own}/logs\n\
             xpack.security.enabled: false\ncluster.routing.allocation.disk.threshold_enabled: false\n\
             cluster.max_shards_per_node: 5000\ncluster.fault_detection.follower_check.interval: 500ms\n\
             cluster.fault_detection.follower_check.timeout: 1s\n\
             cluster.fault_detection.follower_check.retry_count: 2\n",
            ports[0].transport,
        );
        let options = fs::read_to_string(distribution().join("config/jvm.options")).unwrap();
        let is_wanted = |line: &&str| !line.starts_with("-Xlog:gc") && !line.contains("HeapDumpOnOutOfMemoryError");
        let options: Vec<_> = options.lines().filter(is_wanted).collect();
        let log = "status = error\nappender.console.type = Console\nappender.console.name = console\n\
                   appender.console.layout.type = PatternLayout\n\
                   appender.console.layout.pattern = %d{ISO8601} %-5p [%c{1}] %m%n\n\
                   rootLogger.level = warn\nrootLogger.appenderRef.console.ref = console\n";
        for place in [&config, &temporary] {
            fs::create_dir(place).unwrap();
        }
        let files = [
            ("elasticsearch.yml", settings),
            ("jvm.options", options.join("\n")),
            ("log4j2.properties", log.to_owned()),
        ];
        for (name, text) in files {
            fs::write(config.join(name), text).unwrap();
        }
        if let Some((user, group)) = owner() {
            for place in [directory.path(), &config, &temporary] {
                chown(place, Some(user), Some(group)).unwrap();
            }
        }
        Self { directory, ports: ports[number], members: ports.len(), server: None }
    }

    fn spawn(&mut self) {
        assert!(self.server.is_none(), "it runs already");
        let within = |name: &str| self.directory.path().join(name);
        let log = fs::File::options().create(true).append(true).open(within("server.log")).unwrap();
        let mut command = as_owner(distribution().join("bin/elasticsearch"));
        command.current_dir(self.directory.path());
        command.env("ES_JAVA_HOME", std::env::var_os("SYNC_STACK_JAVA_HOME").expect("SYNC_STACK_JAVA_HOME is set"));
        command.env("ES_JAVA_OPTS", "-Xms384m -Xmx384m").env("ES_PATH_CONF", within("config"));
        command.env("ES_TMPDIR", within("tmp")).env_remove("JAVA_HOME").env_remove("ES_HOME");
        self.server = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    }

    /// Waits until all nodes of the cluster are there and every document can be found.
    fn await_cluster(&mut self) {
        let began = Instant::now();
        let health = format!("/_cluster/health?wait_for_nodes=>={}&wait_for_status=yellow&timeout=1s", self.members);
        while !self.ask("GET", &health).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            let ended = self.server.as_mut().expect("it was started").try_wait().unwrap();
            if ended.is_some() || began.elapsed() > BOUND {
                let unassigned = self.ask("GET", "/_cluster/allocation/explain");
                panic!("it does not start: {:?}, {unassigned:?}, {}", self.ask("GET", "/_cluster/health"), self.told());
            }
            std::thread::sleep(Duration::from_millis(100));
            // After some failures it leaves a shard alone until somebody asks for it.
            drop(self.ask("POST", "/_cluster/reroute?retry_failed=true&metric=none"));
        }
    }

    fn ask(&self, method: &str, path: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.address())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let headers = format!("host: {}\r\ncontent-length: 0\r\nconnection: close", self.address());
        write!(stream, "{method} {path} HTTP/1.1\r\n{headers}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// The end of its log.
    fn told(&self) -> String {
        process::end_of(&self.directory.path().join("server.log"))
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.http)
    }

    /// Has all it was told on disk, so that it begins without a log to repeat. Blocks.
    pub fn flush(&self) {
        let answer = self.ask("POST", "/_all/_flush?force=true").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// Ends it as a crash would. Blocks.
    pub fn kill(&mut self) {
        process::kill(&mut self.server.take().expect("it runs"));
    }

    /// Lets it stand still until that is dropped. Blocks.
    pub fn freeze(&self) -> Frozen {
        process::freeze(self.server.as_ref().expect("it runs"))
    }
}

/// Starts nodes side by side, each at the address and with the data it had before, and waits until the cluster is whole;
/// the others of it run. Blocks.
pub fn run_all(nodes: &mut [&mut Node]) {
    nodes.iter_mut().for_each(|node| node.spawn());
    nodes.iter_mut().for_each(|node| node.await_cluster());
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the end of the log of the node at {}:\n{}", self.address(), self.told());
        }
        if let Some(mut server) = self.server.take() {
            process::kill(&mut server);
        }
    }
}
