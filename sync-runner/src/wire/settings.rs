//! How servers are reached: the configuration in the words of their adapters.

use sync_core::adapter::elasticsearch::{Auth, ElasticsearchConfig};
use sync_core::adapter::kafka::{self, KafkaConfig, Sasl, SaslMechanism, TopicConfig};
use sync_core::adapter::otlp::OtlpConfig;
use sync_core::adapter::postgres::PostgresConfig;
use sync_core::event::{self, CloudEventsMode};

use crate::config::{Config, Credentials, DebeziumValue, Encoding, Mechanism, PostgresUrl, Security, Traces};

/// The database.
pub(super) fn postgres(config: &Config) -> PostgresConfig {
    let settings = &config.postgres;
    let mut postgres = PostgresConfig::new(settings.url.expose())
        .pool_size(settings.pool_size)
        .connect_timeout(settings.connect_timeout)
        .statement_timeout(settings.statement_timeout);
    postgres.password = settings.password.as_ref().map(|password| password.expose().to_owned());
    postgres.ca_file = settings.ca_file.clone();
    postgres
}

/// The primary as it is searched.
pub(super) fn search_primary(config: &Config) -> PostgresConfig {
    let settings = &config.search.postgres;
    postgres(config)
        .pool_size(settings.pool_size)
        .connect_timeout(settings.connect_timeout)
        .statement_timeout(settings.statement_timeout)
}

/// Its standbys.
pub(super) fn replicas(config: &Config) -> Vec<PostgresConfig> {
    let replica = |url: &PostgresUrl| {
        let mut replica = search_primary(config);
        replica.url = url.expose().to_owned();
        replica
    };
    config.search.postgres.replicas.iter().map(replica).collect()
}

/// How events are written into messages.
pub(super) fn encoding(config: &Config) -> event::Encoding {
    let settings = &config.relay;
    let cloudevents = |mode| event::Encoding::CloudEvents { mode, source: settings.cloudevents_source.clone() };
    match settings.encoding {
        Encoding::Standard => event::Encoding::Standard,
        Encoding::Debezium => event::Encoding::Debezium(match settings.debezium_value {
            DebeziumValue::Json => event::DebeziumValue::Json,
            DebeziumValue::String => event::DebeziumValue::JsonString,
        }),
        Encoding::CloudEvents => cloudevents(CloudEventsMode::Binary),
        Encoding::CloudEventsStructured => cloudevents(CloudEventsMode::Structured),
    }
}

/// The brokers.
pub(super) fn kafka(config: &Config) -> KafkaConfig {
    let settings = &config.kafka;
    let security = match settings.security {
        Security::Plaintext => kafka::Security::Plaintext,
        Security::Ssl => kafka::Security::Ssl,
        Security::SaslPlaintext => kafka::Security::SaslPlaintext,
        Security::SaslSsl => kafka::Security::SaslSsl,
    };
    let sasl = settings.sasl.as_ref().map(|sasl| {
        let mechanism = match sasl.mechanism {
            Mechanism::Plain => SaslMechanism::Plain,
            Mechanism::ScramSha256 => SaslMechanism::ScramSha256,
            Mechanism::ScramSha512 => SaslMechanism::ScramSha512,
        };
        Sasl::new(mechanism, &sasl.username, sasl.password.expose())
    });
    let topics = TopicConfig::default()
        .create(settings.topics.create)
        .partitions(settings.topics.partitions)
        .replication(settings.topics.replication);
    let properties = settings.properties.iter().map(|(name, value)| (name.clone(), value.expose().to_owned()));
    let mut kafka = KafkaConfig::new(settings.brokers.join(","))
        .security(security)
        .sasl(sasl)
        .topics(topics)
        .reserved_topics(vec![config.relay.positions_topic.clone()])
        .properties(properties.collect());
    kafka.ca_file = settings.ca_file.clone();
    kafka.certificate_file = settings.certificate_file.clone();
    kafka.key_file = settings.key_file.clone();
    kafka
}

/// Where traces are told, if anywhere.
pub(super) fn traces(config: &Config) -> Option<OtlpConfig> {
    let Traces { endpoint, service, timeout } = config.traces.clone();
    Some(OtlpConfig::new(endpoint?).service(service).timeout(timeout))
}

/// The cluster.
pub(super) fn elasticsearch(config: &Config) -> ElasticsearchConfig {
    let settings = &config.elasticsearch;
    let auth = match &settings.credentials {
        None => Auth::None,
        Some(Credentials::Basic { username, password }) => {
            Auth::Basic { username: username.clone(), password: password.expose().to_owned() }
        }
        Some(Credentials::ApiKey(key)) => Auth::ApiKey(key.expose().to_owned()),
    };
    let mut cluster = ElasticsearchConfig::new(&settings.urls).auth(auth).request_timeout(settings.request_timeout);
    cluster.ca_file = settings.ca_file.clone();
    cluster
}
