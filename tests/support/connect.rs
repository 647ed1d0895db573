//! Kafka Connect with Debezium's connector for PostgreSQL: a worker of a test's own.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::sleep;
use tokio_postgres::Client;

use super::process::{end_of, free_port};
use super::servers;

/// How long a worker may take to begin to read, and to end.
const BOUND: Duration = Duration::from_secs(180);

/// Quiet, so that the log holds nothing but what went wrong.
const LOGGING: &str = "status = error\nappender.c.type = Console\nappender.c.name = c\nappender.c.layout.type = PatternLayout\n\
    appender.c.layout.pattern = %d{ISO8601} %-5p [%c{1}] %m%n\nrootLogger.level = warn\nrootLogger.appenderRef.c.ref = c\n";

/// Where Debezium is; `None` where it was not downloaded, and then whoever asks says that it does nothing.
pub fn debezium() -> Option<PathBuf> {
    let given = std::env::var_os("SYNC_STACK_DEBEZIUM").filter(|given| !given.is_empty()).map(PathBuf::from);
    match &given {
        Some(directory) => assert!(directory.join("plugins").is_dir(), "{} holds no Debezium", directory.display()),
        None => {
            let said = "NOT TESTED: SYNC_STACK_DEBEZIUM is not set; scripts/test debezium brings Debezium and sets it";
            // Not by the macro, whose words nobody sees of a test that passes.
            std::io::stderr().write_all(format!("{said}\n").as_bytes()).unwrap();
        }
    }
    given
}

/// A connector that reads the outbox tables of one database.
pub struct Connector {
    pub name: String,
    /// Its replication slot, unique in the whole cluster.
    pub slot: String,
    /// Settings, one `name=value` a line, beside those that say where PostgreSQL is.
    pub settings: String,
}

impl Connector {
    /// The text of its file.
    fn properties(&self, database: &str) -> String {
        let server: tokio_postgres::Config = servers::postgres().parse().unwrap();
        let [tokio_postgres::config::Host::Tcp(host), ..] = server.get_hosts() else { panic!("a host") };
        let password = String::from_utf8(server.get_password().unwrap_or_default().to_vec()).unwrap();
        let Self { name, slot, settings } = self;
        format!(
            "name={name}\nconnector.class=io.debezium.connector.postgresql.PostgresConnector\ntasks.max=1\n\
             topic.prefix={name}\ndatabase.hostname={host}\ndatabase.port={}\ndatabase.user={}\n\
             database.password={password}\ndatabase.dbname={database}\nplugin.name=pgoutput\nslot.name={slot}\n\
             snapshot.mode=no_data\npoll.interval.ms=50\ntransforms=outbox\n\
             transforms.outbox.type=io.debezium.transforms.outbox.EventRouter\n{settings}\n",
            server.get_ports()[0],
            server.get_user().unwrap(),
        )
    }
}

/// A standalone worker that may be stopped and started again, and goes on where it was.
pub struct Worker {
    debezium: PathBuf,
    directory: TempDir,
    port: u16,
    connectors: Vec<Connector>,
    process: Option<Child>,
}

impl Worker {
    /// With these connectors to this database, not started yet.
    pub fn new(debezium: &Path, database: &str, connectors: Vec<Connector>) -> Self {
        let directory = TempDir::new().unwrap();
        let port = free_port();
        let path = |name: &str| directory.path().join(name);
        let mut worker = format!(
            "bootstrap.servers={}\nplugin.path={}\nplugin.discovery=service_load\nlisteners=http://127.0.0.1:{port}\n\
             offset.storage.file.filename={}\noffset.flush.interval.ms=500\n",
            servers::kafka(),
            debezium.join("plugins").display(),
            path("offsets").display(),
        );
        for converter in ["key", "value", "header"] {
            writeln!(worker, "{converter}.converter=org.apache.kafka.connect.storage.StringConverter").unwrap();
        }
        fs::write(path("worker.properties"), worker).unwrap();
        fs::write(path("log4j2.properties"), LOGGING).unwrap();
        for connector in &connectors {
            fs::write(path(&format!("{}.properties", connector.name)), connector.properties(database)).unwrap();
        }
        Self { debezium: debezium.to_owned(), directory, port, connectors, process: None }
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("connect.log")
    }

    /// Starts it, and waits until each connector reads its slot.
    pub async fn start(&mut self, client: &Client) {
        assert!(self.process.is_none(), "it is running already");
        let log = fs::File::options().create(true).append(true).open(self.log()).unwrap();
        let java = std::env::var("SYNC_STACK_JAVA_HOME").expect("scripts/stack env says where Java is");
        let mut command = Command::new(Path::new(&java).join("bin/java"));
        command.current_dir(self.directory.path()).args([
            "-Xmx768m",
            "-Dlog4j2.configurationFile=log4j2.properties",
            "-cp",
        ]);
        command.arg(self.debezium.join("connect/*")).arg("org.apache.kafka.connect.cli.ConnectStandalone");
        command.arg("worker.properties").args(self.connectors.iter().map(|one| format!("{}.properties", one.name)));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(command.spawn().unwrap());
        let slots: Vec<_> = self.connectors.iter().map(|connector| connector.slot.clone()).collect();
        let read = "select count(*) from pg_replication_slots where active and slot_name = any ($1::text[]::name[])";
        let began = Instant::now();
        while client.query_one(read, &[&slots]).await.unwrap().get::<_, i64>(0) < slots.len() as i64 {
            assert!(began.elapsed() < BOUND && self.is_alive(), "not all slots are read: {}", end_of(&self.log()));
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn is_alive(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.try_wait().unwrap().is_none())
    }

    /// The state of a connector's task, such as `RUNNING` or `FAILED`, and why.
    pub fn task(&self, connector: &str) -> (String, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        write!(stream, "GET /connectors/{connector}/status HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let status: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
        let word = |name: &str| status["tasks"][0][name].as_str().unwrap_or_default().to_owned();
        (word("state"), word("trace"))
    }

    /// Ends it as its operator would, by its process id: what it has read is noted in its offsets and its slots. Blocks.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let asked = Command::new("kill").args(["-s", "TERM", &process.id().to_string()]).status();
        let began = Instant::now();
        while process.try_wait().ok().flatten().is_none() {
            if asked.is_err() || began.elapsed() > BOUND {
                drop(process.kill());
                drop(process.wait());
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Worker {
    /// With `slot.drop.on.stop`, a worker that ends in order leaves no slot behind, which would keep the server's log for ever.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the end of the worker's log:\n{}", end_of(&self.log()));
        }
        self.stop();
    }
}
