//! Where the brokers are, how to be let in, and how topics are made.

mod properties;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use rdkafka::ClientConfig;

use crate::error::{Error, ErrorKind};

/// Where relays keep their positions, unless said.
pub(super) const POSITIONS: &str = "sync-relay-positions";

/// How to reach a Kafka cluster. Plain data; the names in error messages are those of the runner's configuration.
#[derive(Clone)]
#[non_exhaustive]
pub struct KafkaConfig {
    /// `host:port`, several separated by commas; `localhost:9092` unless said. One that answers is enough to find the
    /// others.
    pub brokers: String,
    /// What the brokers' listener speaks; [`Security::Plaintext`] unless said.
    pub security: Security,
    /// Certificates of the authorities to trust, PEM; the system's unless said.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate, PEM, together with [`key_file`](Self::key_file); none unless said.
    pub certificate_file: Option<PathBuf>,
    /// The client's private key, PEM; none unless said.
    pub key_file: Option<PathBuf>,
    /// Credentials, exactly when `security` is one of the SASL kinds; none unless said.
    pub sasl: Option<Sasl>,
    /// What becomes of topics that do not exist; [`TopicConfig::default`] unless said.
    pub topics: TopicConfig,
    /// Topics no event is published to, beside those whose names begin with `__`, which are Kafka's own: where relays keep
    /// their positions, `sync-relay-positions` unless said. An event for one of them is refused.
    pub reserved_topics: Vec<String>,
    /// Further properties for librdkafka; none unless said. Those the guarantees rest on are refused.
    pub properties: BTreeMap<String, String>,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Security {
    /// Neither encrypted nor authenticated.
    #[default]
    Plaintext,
    /// TLS.
    Ssl,
    /// Not encrypted, authenticated by user name and password.
    SaslPlaintext,
    /// TLS, authenticated by user name and password.
    SaslSsl,
}

impl Security {
    const fn protocol(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }

    const fn has_sasl(self) -> bool {
        match self {
            Self::Plaintext | Self::Ssl => false,
            Self::SaslPlaintext | Self::SaslSsl => true,
        }
    }

    const fn has_tls(self) -> bool {
        match self {
            Self::Plaintext | Self::SaslPlaintext => false,
            Self::Ssl | Self::SaslSsl => true,
        }
    }
}

/// A user name and a password.
#[derive(Clone)]
#[non_exhaustive]
pub struct Sasl {
    /// How they are shown to the broker.
    pub mechanism: SaslMechanism,
    /// The user.
    pub username: String,
    /// The password; never printed.
    pub password: String,
}

impl Sasl {
    /// These credentials, shown in this way.
    #[must_use]
    pub fn new(mechanism: SaslMechanism, username: impl Into<String>, password: impl Into<String>) -> Self {
        Self { mechanism, username: username.into(), password: password.into() }
    }
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sasl")
            .field("mechanism", &self.mechanism)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// How a password is shown to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SaslMechanism {
    /// As it is; only over TLS.
    Plain,
    /// SCRAM with SHA-256.
    ScramSha256,
    /// SCRAM with SHA-512.
    ScramSha512,
}

impl SaslMechanism {
    const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// What becomes of topics that do not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicConfig {
    /// Whether to create them; `true` unless said.
    pub create: bool,
    /// Partitions of a created topic, at least one; 6 unless said.
    pub partitions: i32,
    /// Copies of each partition of a created topic; -1 unless said, which leaves it, and `min.insync.replicas`, to the
    /// cluster's defaults. From three on the topic gets `min.insync.replicas=2`, so that an acknowledged message survives a
    /// lost broker.
    pub replication: i16,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self { create: true, partitions: 6, replication: -1 }
    }
}

setters! {
    TopicConfig {
        create: bool,
        partitions: i32,
        replication: i16,
    }
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: "localhost:9092".to_owned(),
            security: Security::default(),
            ca_file: None,
            certificate_file: None,
            key_file: None,
            sasl: None,
            topics: TopicConfig::default(),
            reserved_topics: vec![POSITIONS.to_owned()],
            properties: BTreeMap::new(),
        }
    }
}

impl KafkaConfig {
    /// The cluster of these brokers, with the defaults for all else.
    #[must_use]
    pub fn new(brokers: impl Into<String>) -> Self {
        Self { brokers: brokers.into(), ..Self::default() }
    }
}

setters! {
    KafkaConfig {
        security: Security,
        ca_file: some PathBuf,
        certificate_file: some PathBuf,
        key_file: some PathBuf,
        sasl: maybe Sasl,
        topics: TopicConfig,
        reserved_topics: Vec<String>,
        properties: BTreeMap<String, String>,
    }
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.properties.keys().collect();
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("security", &self.security)
            .field("ca_file", &self.ca_file)
            .field("certificate_file", &self.certificate_file)
            .field("key_file", &self.key_file)
            .field("sasl", &self.sasl)
            .field("topics", &self.topics)
            .field("reserved_topics", &self.reserved_topics)
            // Names only: some properties hold secrets.
            .field("properties", &names)
            .finish()
    }
}

impl KafkaConfig {
    /// Whether no event may be published to it.
    pub(super) fn is_reserved(&self, topic: &str) -> bool {
        topic.starts_with("__") || self.reserved_topics.iter().any(|reserved| reserved == topic)
    }

    /// A client with settings of its kind: `defaults` where `kafka.properties` says nothing else, and `fixed` whatever
    /// it says.
    pub(super) fn client_with(&self, defaults: &[(&str, &str)], fixed: &[(&str, &str)]) -> Result<ClientConfig, Error> {
        let mut client = self.client()?;
        for (name, value) in defaults.iter().filter(|(name, _)| !self.properties.contains_key(*name)).chain(fixed) {
            client.set(*name, *value);
        }
        Ok(client)
    }

    /// What every client has in common. Checks the configuration on the way; connects to nothing.
    pub(super) fn client(&self) -> Result<ClientConfig, Error> {
        self.validate()?;
        let mut client = ClientConfig::new();
        for (name, value) in properties::COMMON {
            client.set(*name, *value);
        }
        client.set("bootstrap.servers", self.brokers.trim()).set("security.protocol", self.security.protocol());
        let files = [
            ("ssl.ca.location", &self.ca_file),
            ("ssl.certificate.location", &self.certificate_file),
            ("ssl.key.location", &self.key_file),
        ];
        for (property, file) in files {
            if let Some(file) = file {
                client.set(property, file.to_string_lossy());
            }
        }
        if let Some(sasl) = &self.sasl {
            client.set("sasl.mechanism", sasl.mechanism.name());
            client.set("sasl.username", &sasl.username).set("sasl.password", &sasl.password);
        }
        for (name, value) in &self.properties {
            client.set(name, value);
        }
        Ok(client)
    }

    fn validate(&self) -> Result<(), Error> {
        if self.brokers.split(',').all(|broker| broker.trim().is_empty()) {
            return Err(wrong("kafka.brokers: is empty; name at least one broker as host:port"));
        }
        self.validate_security()?;
        if self.topics.partitions < 1 {
            return Err(wrong("kafka.topics.partitions: must be at least 1"));
        }
        if self.topics.replication < 1 && self.topics.replication != -1 {
            return Err(wrong("kafka.topics.replication: must be at least 1, or -1 for the cluster's default"));
        }
        properties::validate(&self.properties)
    }

    fn validate_security(&self) -> Result<(), Error> {
        match (&self.sasl, self.security.has_sasl()) {
            (None, true) => return Err(wrong("kafka.sasl: is missing; kafka.security asks for a user and a password")),
            (Some(_), false) => {
                let what =
                    "kafka.sasl: would not be used; set kafka.security to sasl_ssl or sasl_plaintext, or remove it";
                return Err(wrong(what));
            }
            (None, false) | (Some(_), true) => {}
        }
        if self.certificate_file.is_some() != self.key_file.is_some() {
            return Err(wrong("kafka.certificate_file, kafka.key_file: one is of no use without the other"));
        }
        let files = [
            ("kafka.ca_file", &self.ca_file),
            ("kafka.certificate_file", &self.certificate_file),
            ("kafka.key_file", &self.key_file),
        ];
        for (setting, file) in files {
            let Some(file) = file else { continue };
            if !self.security.has_tls() {
                let what = "would not be used; set kafka.security to ssl or sasl_ssl, or remove it";
                return Err(wrong(format!("{setting}: {what}")));
            }
            readable(setting, file)?;
        }
        Ok(())
    }
}

fn wrong(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Configuration, what)
}

/// The client would only say later, and in OpenSSL's words, that a file is not there.
fn readable(setting: &str, file: &Path) -> Result<(), Error> {
    let opened = File::open(file);
    opened.map(drop).map_err(|cause| wrong(format!("{setting}: cannot read {}", file.display())).with_source(cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut KafkaConfig)) -> String {
        let mut config = KafkaConfig::default();
        change(&mut config);
        let error = config.client().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        error.to_string()
    }

    #[test]
    fn the_default_is_a_configuration_the_client_takes() {
        KafkaConfig::default().client().unwrap().create_native_config().unwrap();
    }

    #[test]
    fn an_error_names_the_setting_that_is_wrong() {
        assert!(refused(|config| config.brokers = " , ".into()).starts_with("kafka.brokers:"));
        assert!(refused(|config| config.security = Security::SaslSsl).starts_with("kafka.sasl:"));
        assert!(refused(|config| config.ca_file = Some("ca.pem".into())).starts_with("kafka.ca_file:"));
        assert!(refused(|config| config.topics.partitions = 0).starts_with("kafka.topics.partitions:"));
        assert!(refused(|config| config.topics.replication = 0).starts_with("kafka.topics.replication:"));
        let missing = refused(|config| {
            config.security = Security::Ssl;
            config.ca_file = Some("/nowhere/ca.pem".into());
        });
        assert!(missing.starts_with("kafka.ca_file: cannot read /nowhere/ca.pem"), "{missing}");
        let half = refused(|config| config.key_file = Some("key.pem".into()));
        assert!(half.starts_with("kafka.certificate_file"), "{half}");
        let sasl = Sasl { mechanism: SaslMechanism::Plain, username: "u".into(), password: "p".into() };
        assert!(refused(|config| config.sasl = Some(sasl)).starts_with("kafka.sasl: would not be used"));
    }

    #[test]
    fn no_secret_is_ever_printed() {
        let sasl = Sasl { mechanism: SaslMechanism::ScramSha512, username: "user".into(), password: "hunter2".into() };
        let properties = BTreeMap::from([("ssl.key.password".to_owned(), "hunter2".to_owned())]);
        let config = KafkaConfig { sasl: Some(sasl), properties, ..KafkaConfig::default() };
        let printed = format!("{config:?} {config:#?}");
        assert!(printed.contains("user") && printed.contains("ssl.key.password"), "{printed}");
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}
