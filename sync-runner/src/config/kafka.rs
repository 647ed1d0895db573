//! `[kafka]`: the brokers, how to be let in, and the topics.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::reader::{Choice, Section};
use super::secret::Secret;

/// Where Kafka is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kafka {
    /// `host:port` of some brokers; the others are learnt from them. None where there is no Kafka.
    pub(crate) brokers: Vec<String>,
    /// How the connection is protected.
    pub(crate) security: Security,
    /// PEM file of the certificate authorities to trust instead of the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// PEM file of the client's certificate.
    pub(crate) certificate_file: Option<PathBuf>,
    /// PEM file of the client's key.
    pub(crate) key_file: Option<PathBuf>,
    /// The consumer group of the indexer.
    pub(crate) group: String,
    /// Static membership: a name of its own for each process.
    pub(crate) group_instance_id: Option<String>,
    /// Name and password, where the brokers ask for them.
    pub(crate) sasl: Option<Sasl>,
    /// How missing topics are made.
    pub(crate) topics: Topics,
    /// Further settings of librdkafka, passed through. Any of them may be a secret.
    pub(crate) properties: BTreeMap<String, Secret>,
}

/// How the connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    /// Not at all.
    Plaintext,
    /// TLS.
    Ssl,
    /// A name and a password, without TLS.
    SaslPlaintext,
    /// A name and a password, over TLS.
    SaslSsl,
}

impl Security {
    const fn asks_for_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }

    const fn is_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }
}

impl Choice for Security {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("plaintext", Self::Plaintext),
        ("ssl", Self::Ssl),
        ("sasl_plaintext", Self::SaslPlaintext),
        ("sasl_ssl", Self::SaslSsl),
    ];
}

/// Name and password for the brokers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sasl {
    /// How they are proved.
    pub(crate) mechanism: Mechanism,
    /// The name.
    pub(crate) username: String,
    /// The password.
    pub(crate) password: Secret,
}

/// How name and password are proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    /// The password itself is sent.
    Plain,
    /// SCRAM with SHA-256.
    ScramSha256,
    /// SCRAM with SHA-512.
    ScramSha512,
}

impl Choice for Mechanism {
    const WORDS: &'static [(&'static str, Self)] =
        &[("PLAIN", Self::Plain), ("SCRAM-SHA-256", Self::ScramSha256), ("SCRAM-SHA-512", Self::ScramSha512)];
}

/// How missing topics are made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Topics {
    /// Whether they are.
    pub(crate) create: bool,
    /// Partitions of a new topic.
    pub(crate) partitions: i32,
    /// Copies of each partition of a new topic; -1 leaves it to the cluster.
    pub(crate) replication: i16,
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            brokers: Vec::new(),
            security: Security::Plaintext,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            group: "sync-indexer".to_owned(),
            group_instance_id: None,
            sasl: None,
            topics: Topics { create: true, partitions: 6, replication: -1 },
            properties: BTreeMap::new(),
        }
    }
}

impl Kafka {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let default = Self::default();
        let security = section.choice("security").unwrap_or(default.security);
        let kafka = Self {
            brokers: section.list("brokers").unwrap_or(default.brokers),
            security,
            ca_file: section.path("ca_file"),
            certificate_file: section.path("certificate_file"),
            key_file: section.path("key_file"),
            group: section.text("group").unwrap_or(default.group),
            group_instance_id: section.text("group_instance_id"),
            sasl: Sasl::read(section.section("sasl"), security),
            topics: Topics::read(section.section("topics"), default.topics),
            properties: section.section("properties").everything().into_iter().collect(),
        };
        if kafka.certificate_file.is_some() != kafka.key_file.is_some() {
            let missing = if kafka.key_file.is_none() { "key_file" } else { "certificate_file" };
            section.problem(missing, "is missing: a client certificate is a certificate_file and a key_file");
        }
        if !security.is_tls() {
            let set = [("ca_file", &kafka.ca_file), ("certificate_file", &kafka.certificate_file)];
            for (key, _) in set.iter().filter(|(_, file)| file.is_some()) {
                section.problem(key, "is not used without TLS; set kafka.security to \"ssl\" or \"sasl_ssl\"");
            }
        }
        for broker in &kafka.brokers {
            let port = broker.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none_or(|port| port == 0) || broker.contains("://") {
                section.problem("brokers", format!("{broker:?} is not host:port, such as \"localhost:9092\""));
            }
        }
        kafka
    }
}

impl Sasl {
    fn read(mut section: Section<'_>, security: Security) -> Option<Self> {
        let mechanism = section.choice("mechanism");
        let username = section.text("username");
        let has_password = section.has_secret("password");
        let password = section.secret("password");
        if !security.asks_for_sasl() {
            let given = mechanism.is_some() || username.is_some() || has_password;
            if given {
                section.problem("mechanism", "is not used; set kafka.security to \"sasl_ssl\" or \"sasl_plaintext\"");
            }
            return None;
        }
        if username.is_none() {
            section.problem("username", "is missing: kafka.security asks for it");
        }
        if !has_password {
            section.problem("password", "is missing: kafka.security asks for it, here or in password_file");
        }
        Some(Self { mechanism: mechanism.unwrap_or(Mechanism::ScramSha512), username: username?, password: password? })
    }
}

impl Topics {
    fn read(mut section: Section<'_>, default: Self) -> Self {
        let topics = Self {
            create: section.boolean("create").unwrap_or(default.create),
            partitions: section.integer("partitions", 1..=10_000).unwrap_or(default.partitions),
            replication: section.integer("replication", -1..=100).unwrap_or(default.replication),
        };
        if topics.replication == 0 {
            section.problem("replication", "is 0; expected a number of copies, or -1 for the cluster's own default");
        }
        topics
    }
}
