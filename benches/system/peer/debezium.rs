//! Debezium's outbox event router in a standalone Kafka Connect worker.

use std::fs;

use tokio::process::Command;
use tokio_postgres::Client;

use super::{filled, free_port, installed, until_read};
use crate::Outcome;
use crate::program::Program;
use crate::stage::Stage;
use crate::topic::Topic;

const OUTBOX: &str = include_str!("../../peers/debezium/outbox.sql");
const WORKER: &str = include_str!("../../peers/debezium/worker.properties");
const CONNECTOR: &str = include_str!("../../peers/debezium/connector.properties");
const LOGGING: &str = include_str!("../../peers/debezium/log4j2.properties");

/// Its outbox table, and what its connector reads it through.
pub(crate) const TABLE: &str = "public.debezium_outbox";
const PUBLICATION: &str = "debezium";

/// What a worker is set for: its defaults suit neither.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Aim {
    /// As many as possible a second.
    Throughput,
    /// Each as soon as possible.
    Latency,
}

/// Its outbox, whose slot is at the beginning: each worker reads everything from a copy of it.
pub(crate) struct Debezium {
    origin: String,
    topic: Topic,
}

impl Debezium {
    /// Makes the table, the slot and the topic, before anything is written.
    pub(crate) async fn prepare(stage: &Stage, client: &Client) -> Outcome<Self> {
        let topic = Topic::new(&stage.brokers, &format!("{}-debezium", stage.name)).await?;
        let origin = format!("{}_origin", stage.name);
        let values = [("table", TABLE), ("publication", PUBLICATION), ("slot", &origin)];
        client.batch_execute(&filled(OUTBOX, &values)).await?;
        Ok(Self { origin, topic })
    }

    /// Where its messages go.
    pub(crate) fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Starts a worker that has read nothing, and waits until it reads.
    pub(crate) async fn start(&self, stage: &Stage, client: &Client, aim: Aim) -> Outcome<Program> {
        let directory = installed("SYNC_STACK_DEBEZIUM")?;
        let slot = format!("{}_{:08x}", stage.name, rand::random::<u32>());
        client
            .execute("select pg_copy_logical_replication_slot($1::text::name, $2::text::name)", &[&self.origin, &slot])
            .await?;
        let (plugins, port) = (format!("{directory}/plugins"), free_port()?);
        let file = |name: &str| stage.files().join(name).to_string_lossy().into_owned();
        let offsets = file(&format!("{slot}.offsets"));
        let (poll, linger) = match aim {
            Aim::Throughput => ("50", "20"),
            Aim::Latency => ("2", "0"),
        };
        let server = stage.server()?;
        let worker = [
            ("brokers", stage.brokers.as_str()),
            ("plugins", &plugins),
            ("rest_port", &port),
            ("offsets", &offsets),
            ("linger_ms", linger),
        ];
        let connector = [
            ("host", server.host.as_str()),
            ("port", &server.port),
            ("user", &server.user),
            ("password", &server.password),
            ("database", &stage.name),
            ("slot", &slot),
            ("publication", PUBLICATION),
            ("table", TABLE),
            ("topic", &self.topic.name),
            ("poll_interval_ms", poll),
        ];
        let (worker_file, connector_file) = (file("worker.properties"), file("connector.properties"));
        let logging = file("log4j2.properties");
        fs::write(&worker_file, filled(WORKER, &worker))?;
        fs::write(&connector_file, filled(CONNECTOR, &connector))?;
        fs::write(&logging, LOGGING)?;
        let mut command = Command::new(format!("{}/bin/java", installed("SYNC_STACK_JAVA_HOME")?));
        command.current_dir(stage.files()).args(["-Xms2g", "-Xmx2g", "-XX:+UseParallelGC"]);
        command.arg(format!("-Dlog4j2.configurationFile={logging}")).args(["-cp", &format!("{directory}/connect/*")]);
        command.args(["org.apache.kafka.connect.cli.ConnectStandalone", &worker_file, &connector_file]);
        let mut program = Program::start("Debezium", command)?;
        // Its own interface says that it runs before it does.
        until_read(client, &slot, &mut program).await?;
        Ok(program)
    }
}
