//! A broker of a test's own, which may be stopped, frozen and locked up.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::process::{self, Frozen, free_port};

/// How long a broker may take to start.
const BOUND: Duration = Duration::from_secs(300);

fn named(variable: &str) -> PathBuf {
    let place = std::env::var_os(variable);
    place.unwrap_or_else(|| panic!("{variable} is not set: run scripts/stack up kafka, then scripts/stack env")).into()
}

/// Java, with the classes of the stack's Kafka.
pub fn java() -> Command {
    let mut java = Command::new(named("SYNC_STACK_JAVA_HOME").join("bin/java"));
    java.args(["-Xms64m", "-Xmx512m", "-cp"]).arg(named("SYNC_STACK_KAFKA").join("*"));
    java
}

/// A listener beside the plain one every broker has.
pub struct Listener {
    pub name: &'static str,
    pub protocol: &'static str,
    /// Where clients are told to go on; its own address when absent.
    pub advertised: Option<String>,
}

/// Who a broker is, and the ports of all controllers of its cluster, in the order of their numbers.
#[derive(Clone, Copy)]
struct Member<'a> {
    number: usize,
    controllers: &'a [u16],
}

/// One broker and controller, alone or of a cluster.
pub struct Broker {
    directory: TempDir,
    ports: Vec<u16>,
    process: Option<Child>,
}

impl Broker {
    /// With these listeners and settings; `{directory}` in a setting stands for the broker's own directory, which
    /// `prepare` may fill first.
    pub fn start(listeners: &[Listener], settings: &[&str], format: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        let alone = Member { number: 0, controllers: &[free_port()] };
        let mut broker = Self::new(alone, listeners, settings, format, prepare);
        broker.run();
        broker
    }

    /// A cluster, each of whose brokers has listeners of its own.
    pub fn cluster<const N: usize>(listeners: &[[Listener; N]], settings: &[&str]) -> Vec<Self> {
        let controllers: Vec<_> = listeners.iter().map(|_| free_port()).collect();
        let members = listeners.iter().enumerate().map(|(number, listeners)| {
            let member = Member { number, controllers: &controllers };
            Self::new(member, listeners, settings, &[], |_| {})
        });
        let mut brokers: Vec<_> = members.collect();
        // Side by side: one alone waits for the others.
        std::thread::scope(|scope| {
            for broker in &mut brokers {
                scope.spawn(|| broker.run());
            }
        });
        brokers
    }

    /// One that does not run yet.
    fn new(
        Member { number, controllers }: Member<'_>,
        listeners: &[Listener],
        settings: &[&str],
        format: &[&str],
        prepare: impl FnOnce(&Path),
    ) -> Self {
        let directory = TempDir::new().unwrap();
        prepare(directory.path());
        let mut ports: Vec<_> = (0..=listeners.len()).map(|_| free_port()).collect();
        ports.push(controllers[number]);
        let plain = [Listener { name: "PLAIN", protocol: "PLAINTEXT", advertised: None }];
        let all = || plain.iter().chain(listeners).zip(&ports);
        let (id, controller, copies) = (number + 1, controllers[number], controllers.len());
        let voters = controllers.iter().enumerate().map(|(number, port)| format!("{}@127.0.0.1:{port}", number + 1));
        let voters = voters.collect::<Vec<_>>().join(",");
        let addresses: Vec<_> = all().map(|(one, port)| format!("{}://127.0.0.1:{port}", one.name)).collect();
        let advertised = all().zip(&addresses).map(|((one, _), own)| match &one.advertised {
            Some(address) => format!("{}://{address}", one.name),
            None => own.clone(),
        });
        let advertised = advertised.collect::<Vec<_>>().join(",");
        let protocols: Vec<_> = all().map(|(one, _)| format!("{}:{}", one.name, one.protocol)).collect();
        let (addresses, protocols) = (addresses.join(","), protocols.join(","));
        let mut properties = format!(
            "process.roles=broker,controller\nnode.id={id}\ncontroller.quorum.voters={voters}\n\
             listeners={addresses},CONTROLLER://127.0.0.1:{controller}\nadvertised.listeners={advertised}\n\
             listener.security.protocol.map={protocols},CONTROLLER:PLAINTEXT\ninter.broker.listener.name=PLAIN\n\
             controller.listener.names=CONTROLLER\nlog.dirs={{directory}}/data\n\
             offsets.topic.replication.factor={copies}\n\
             offsets.topic.num.partitions=2\ngroup.initial.rebalance.delay.ms=0\n\
             broker.heartbeat.interval.ms=200\nbroker.session.timeout.ms=1000\n"
        );
        for setting in settings {
            properties += setting;
            properties.push('\n');
        }
        let properties = properties.replace("{directory}", &directory.path().display().to_string());
        let file = directory.path().join("server.properties");
        fs::write(&file, properties).unwrap();
        let formatted = java()
            .args(["kafka.tools.StorageTool", "format", "-t", "4L6g3nShT-eMCtK--X86sw", "-c"])
            .arg(&file)
            .args(format)
            .output()
            .unwrap();
        assert!(formatted.status.success(), "{formatted:?}");
        Self { directory, ports, process: None }
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("broker.log")
    }

    /// The end of its log.
    fn told(&self) -> String {
        process::end_of(&self.log())
    }

    /// Starts it, on the ports and with the data it had before.
    pub fn run(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.log()).unwrap();
        let process = java()
            .arg("kafka.Kafka")
            .arg(self.directory.path().join("server.properties"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
        let began = Instant::now();
        for port in self.ports.clone() {
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                let ended = self.process.as_mut().expect("it was started").try_wait().unwrap();
                assert!(ended.is_none() && began.elapsed() < BOUND, "the broker does not listen: {}", self.told());
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }

    /// The address of the plain listener (0) or of one of the others, in their order.
    pub fn address(&self, listener: usize) -> String {
        format!("127.0.0.1:{}", self.ports[listener])
    }

    /// Lets it stand still until that is dropped.
    pub fn freeze(&self) -> Frozen {
        process::freeze(self.process.as_ref().expect("it runs"))
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process::kill(&mut process);
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the end of the log of the broker at {}:\n{}", self.address(0), self.told());
        }
        self.kill();
    }
}
