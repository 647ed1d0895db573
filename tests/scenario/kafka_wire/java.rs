//! Kafka's own client, in Java.

use std::collections::BTreeMap;
use std::process::Command;

use sync_core::adapter::kafka::KafkaPublisher;
use sync_core::adapter::partition_for;

use super::{broker, config, message, publish, read};
use crate::support::servers;

/// Writes one message for each line of its input, and says in which partition it is.
const PRODUCER: &str = r#"
import java.io.*;
import java.util.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.StringSerializer;

public class Partitions {
    public static void main(String[] args) throws Exception {
        var in = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
        var settings = new Properties();
        settings.put("bootstrap.servers", args[0]);
        try (var producer = new KafkaProducer<String, String>(settings, new StringSerializer(), new StringSerializer())) {
            for (String key; (key = in.readLine()) != null; )
                System.out.println(producer.send(new ProducerRecord<>(args[1], key, "java")).get().partition());
        }
    }
}
"#;

/// Runs a Java program with Kafka's classes and gives its output; `None` where there is no JDK: the servers do without.
pub(super) async fn run(name: &str, source: &str, arguments: &[&str], input: String) -> Option<String> {
    let modules = Command::new("java").arg("--list-modules").output().unwrap();
    if !String::from_utf8_lossy(&modules.stdout).contains("jdk.compiler") {
        eprintln!("no JDK here: {name}.java does not run");
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let (file, standard_input) = (directory.path().join(format!("{name}.java")), directory.path().join("input"));
    std::fs::write(&file, source).unwrap();
    std::fs::write(&standard_input, input).unwrap();
    let mut java = broker::java();
    java.arg(&file).args(arguments).stdin(std::fs::File::open(&standard_input).unwrap());
    let output = tokio::task::spawn_blocking(move || java.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_on_the_partitions_where_javas_client_puts_them() {
    let topic = servers::unique("partitions");
    let mut config = config();
    config.topics.partitions = 7;
    let mut keys: Vec<_> = (0..200).map(|key| format!("job-{key}")).collect();
    keys.extend(["", "21", "foobar", "größe", "\u{1F980}", "a-little-bit-longer-string"].map(str::to_owned));
    let publisher = KafkaPublisher::new(&config).unwrap();
    publish(&publisher, keys.iter().map(|key| message(&topic, key, "rust")).collect()).await;

    let messages = read(&config, &topic, keys.len()).await;
    let ours: BTreeMap<_, _> = messages.iter().map(|one| (one.key.clone().unwrap(), one.partition.number)).collect();
    assert_eq!(ours.len(), keys.len());
    for (key, partition) in &ours {
        assert_eq!(*partition, partition_for(key, 7), "{key:?}");
    }

    let lines = keys.iter().map(|key| format!("{key}\n")).collect();
    let Some(output) = run("Partitions", PRODUCER, &[&servers::kafka(), &topic], lines).await else { return };
    let javas: Vec<i32> = output.lines().map(|line| line.parse().unwrap()).collect();
    let expected: Vec<_> = keys.iter().map(|key| ours[key.as_bytes()]).collect();
    assert_eq!(javas, expected);
}
