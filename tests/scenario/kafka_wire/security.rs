//! Passwords, certificates and permissions, on a broker that insists on them.

use std::path::{Path, PathBuf};
use std::process::Command;

use sync_core::ErrorKind;
use sync_core::adapter::kafka::{
    KafkaConfig, KafkaPublisher, KafkaSubscriber, KafkaTransactor, Sasl, SaslMechanism, Security, TopicState,
    TransactorConfig, check, check_transactions,
};
use sync_core::port::{Consumer, Mark, Polled, Publisher, Subscriber, Transactor};

use super::broker::{Broker, Listener};
use super::{at, java, message, publish, soon};

const LISTENERS: &[Listener] = &[
    Listener { name: "SASL", protocol: "SASL_PLAINTEXT", advertised: None },
    Listener { name: "TLS", protocol: "SSL", advertised: None },
];

const SETTINGS: &[&str] = &[
    "listener.name.sasl.sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,PLAIN",
    "listener.name.sasl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;",
    "listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;",
    "listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
     user_admin=\"secret\";",
    "listener.name.tls.ssl.keystore.location={directory}/keys.p12",
    "listener.name.tls.ssl.keystore.password=changeit",
    "listener.name.tls.ssl.keystore.type=PKCS12",
    "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    // Nobody comes in by the plain listener and by TLS: they may do everything.
    "super.users=User:ANONYMOUS;User:admin",
    "transaction.state.log.replication.factor=1",
    "transaction.state.log.min.isr=1",
];

const FORMAT: &[&str] = &[
    "--add-scram",
    "SCRAM-SHA-256=[name=reader,password=secret]",
    "--add-scram",
    "SCRAM-SHA-512=[name=reader,password=secret]",
];

/// Lets the reader do something with a topic or a transactional id.
const GRANT: &str = r#"
import java.util.*;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.common.acl.*;
import org.apache.kafka.common.resource.*;

public class Grant {
    public static void main(String[] args) throws Exception {
        try (var admin = Admin.create(Map.<String, Object>of("bootstrap.servers", args[0]))) {
            var what = new ResourcePattern(ResourceType.fromString(args[1]), args[2], PatternType.LITERAL);
            for (var operation : List.of(args).subList(3, args.length)) {
                var allowed = AclOperation.fromString(operation);
                var entry = new AccessControlEntry("User:reader", "*", allowed, AclPermissionType.ALLOW);
                var binding = new AclBinding(what, entry);
                admin.createAcls(List.of(binding)).all().get();
                // The controller has it; the broker that checks it hears of it a moment later.
                while (admin.describeAcls(binding.toFilter()).values().get().isEmpty()) Thread.sleep(10);
            }
        }
    }
}
"#;

fn keytool(directory: &Path, arguments: &[&str]) {
    let store = ["-keystore", "keys.p12", "-storepass", "changeit", "-alias", "broker"];
    let done = Command::new("keytool").current_dir(directory).args(arguments).args(store).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

fn make_certificate(directory: &Path) {
    let name = ["-dname", "CN=127.0.0.1", "-ext", "SAN=IP:127.0.0.1"];
    let key = ["-genkeypair", "-keyalg", "RSA", "-validity", "30", "-storetype", "PKCS12", "-ext", "bc=ca:true"];
    keytool(directory, &[&key[..], &name[..]].concat());
    keytool(directory, &["-exportcert", "-rfc", "-file", "ca.pem"]);
}

fn with_password(broker: &Broker, mechanism: SaslMechanism, username: &str, password: &str) -> KafkaConfig {
    let sasl = Sasl::new(mechanism, username, password);
    at(&broker.address(1)).security(Security::SaslPlaintext).sasl(sasl)
}

fn with_tls(broker: &Broker, ca_file: PathBuf) -> KafkaConfig {
    at(&broker.address(2)).security(Security::Ssl).ca_file(ca_file)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_insists_on_passwords_certificates_and_permissions() {
    let authorities = tempfile::tempdir().unwrap();
    let (trusted, foreign) = (authorities.path().join("trusted.pem"), authorities.path().join("foreign.pem"));
    let prepare = {
        let (trusted, foreign) = (trusted.clone(), foreign.clone());
        move |directory: &Path| {
            make_certificate(directory);
            std::fs::copy(directory.join("ca.pem"), trusted).unwrap();
            let other = tempfile::tempdir().unwrap();
            make_certificate(other.path());
            std::fs::copy(other.path().join("ca.pem"), foreign).unwrap();
        }
    };
    let start = move || Broker::start(LISTENERS, SETTINGS, FORMAT, prepare);
    let broker = tokio::task::spawn_blocking(start).await.unwrap();

    let topic = "guarded".to_owned();
    publish(&KafkaPublisher::new(&at(&broker.address(0))).unwrap(), vec![message(&topic, "job", 1)]).await;
    passwords_are_checked(&broker, &topic).await;
    certificates_are_checked(&broker, &topic, trusted, foreign).await;
    permissions_are_checked(&broker, &topic).await;
    permissions_of_transactions_are_checked(&broker, &topic).await;
}

async fn passwords_are_checked(broker: &Broker, topic: &str) {
    let admin = with_password(broker, SaslMechanism::Plain, "admin", "secret");
    let found = check(&admin, &[topic.to_owned()]).await.unwrap();
    assert!(matches!(found[0].state, TopicState::Present(_)), "{found:?}");
    for mechanism in [SaslMechanism::ScramSha256, SaslMechanism::ScramSha512] {
        // Let in, whatever it may do there.
        check(&with_password(broker, mechanism, "reader", "secret"), &[]).await.unwrap();
    }
    for mechanism in [SaslMechanism::Plain, SaslMechanism::ScramSha256, SaslMechanism::ScramSha512] {
        let config = with_password(broker, mechanism, "reader", "wr0ng");
        let subscriber = KafkaSubscriber::new(&config, "group", topic, None).unwrap();
        for error in [
            check(&config, &[topic.to_owned()]).await.unwrap_err(),
            KafkaPublisher::new(&config).unwrap().publish(vec![message(topic, "job", 2)]).await.err().unwrap(),
            subscriber.subscribe().await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
            let said = error.to_string();
            assert!(said.starts_with("kafka.sasl:") && !said.contains("wr0ng"), "{said}");
        }
    }
}

async fn certificates_are_checked(broker: &Broker, topic: &str, trusted: PathBuf, foreign: PathBuf) {
    let config = with_tls(broker, trusted);
    let found = check(&config, &[topic.to_owned()]).await.unwrap();
    assert!(matches!(found[0].state, TopicState::Present(_)), "{found:?}");
    publish(&KafkaPublisher::new(&config).unwrap(), vec![message(topic, "job", 2)]).await;
    let error = check(&with_tls(broker, foreign), &[topic.to_owned()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.to_string().starts_with("kafka.ca_file:"), "{error}");
    // Plain words to a listener that expects TLS.
    let error = check(&at(&broker.address(2)), &[topic.to_owned()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("kafka.security"), "{error}");
}

async fn permissions_are_checked(broker: &Broker, topic: &str) {
    let config = with_password(broker, SaslMechanism::ScramSha512, "reader", "secret");
    let subscriber = KafkaSubscriber::new(&config, "group", topic, None).unwrap();
    for error in [
        check(&config, &[topic.to_owned()]).await.unwrap_err(),
        check(&config, &["absent".to_owned()]).await.unwrap_err(),
        KafkaPublisher::new(&config).unwrap().publish(vec![message(topic, "job", 3)]).await.err().unwrap(),
        KafkaPublisher::new(&config).unwrap().publish(vec![message("absent", "job", 3)]).await.err().unwrap(),
        subscriber.subscribe().await.unwrap_err(),
        subscriber.lag().await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(error.to_string().contains("grant"), "{error}");
    }

    // It may see and read the topic, but neither write to it nor be in a group.
    if !grant(broker, "TOPIC", topic, &["DESCRIBE", "DESCRIBE_CONFIGS", "READ"]).await {
        return;
    }
    let publisher = KafkaPublisher::new(&config).unwrap();
    // Told by either: the producer may hear that it gets no id before the message is queued or after.
    let error = match soon(publisher.publish(vec![message(topic, "job", 3)])).await {
        Ok(acknowledgement) => soon(acknowledgement).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.to_string().contains(topic), "{error}");
    let mut consumer = soon(subscriber.subscribe()).await.unwrap();
    let error = first_error(&mut *consumer).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    drop(consumer);

    // The permission mended, the same publisher goes on.
    assert!(grant(broker, "TOPIC", topic, &["WRITE"]).await);
    publish(&publisher, vec![message(topic, "job", 3)]).await;
}

async fn first_error(consumer: &mut dyn Consumer) -> sync_core::Error {
    loop {
        match soon(consumer.poll()).await {
            Ok(Polled::Assigned(_) | Polled::Revoked(_)) => {}
            Ok(Polled::Messages(messages)) => panic!("read without permission: {messages:?}"),
            Err(error) => return error,
        }
    }
}

/// The reader may do everything with the topic by now.
async fn permissions_of_transactions_are_checked(broker: &Broker, topic: &str) {
    let config = with_password(broker, SaslMechanism::ScramSha512, "reader", "secret");
    let names = TransactorConfig::default().namespace("team").positions("team-positions");
    let transactor = KafkaTransactor::new(&config, names.clone()).unwrap();
    let refused = async |what: &str| {
        for error in [
            soon(check_transactions(&config, &names)).await.unwrap_err(),
            soon(transactor.begin("check")).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
            assert!(error.to_string().contains(what), "{error}");
        }
    };
    // The topic of the positions may neither be seen nor made.
    refused("team-positions").await;
    let owner = KafkaTransactor::new(&at(&broker.address(0)), names.clone()).unwrap();
    drop(soon(owner.begin("owner")).await.unwrap());
    if !grant(broker, "TOPIC", "team-positions", &["DESCRIBE", "DESCRIBE_CONFIGS", "READ", "WRITE"]).await {
        return;
    }
    refused("team/check").await;
    assert!(grant(broker, "TRANSACTIONAL_ID", "team/check", &["DESCRIBE", "WRITE"]).await);
    soon(check_transactions(&config, &names)).await.unwrap();
    let mut transactions = soon(transactor.begin("check")).await.unwrap();
    let history = "h".to_owned();
    let mark = Mark { window: 1, token: "t".to_owned(), last: None, term: 1, epoch: 0, history };
    soon(transactions.publish(vec![message(topic, "job", 4)], &mark)).await.unwrap();
    assert_eq!(soon(transactions.mark()).await.unwrap(), Some(mark));
}

/// Gives the reader permissions on a topic or another resource; says whether it could.
async fn grant(broker: &Broker, kind: &str, name: &str, operations: &[&str]) -> bool {
    let address = broker.address(0);
    let arguments = [&[address.as_str(), kind, name], operations].concat();
    java::run("Grant", GRANT, &arguments, String::new()).await.is_some()
}
