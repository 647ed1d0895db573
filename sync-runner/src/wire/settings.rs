//! How servers are reached: the configuration in the words of their adapters.

use sync_core::adapter::elasticsearch::{Auth, ElasticsearchConfig};
use sync_core::adapter::kafka::{self, KafkaConfig, Sasl, SaslMechanism, TopicConfig};
use sync_core::adapter::otlp::OtlpConfig;
use sync_core::adapter::postgres::PostgresConfig;
use sync_core::event::{self, CloudEventsMode};

use crate::config::{Config, Credentials, DebeziumValue, Encoding, Mechanism, Security, Traces};

/// The database.
pub(super) fn postgres(config: &Config) -> PostgresConfig {
    let settings = &config.postgres;
    PostgresConfig {
        url: settings.url.expose().to_owned(),
        password: settings.password.as_ref().map(|password| password.expose().to_owned()),
        ca_file: settings.ca_file.clone(),
        pool_size: settings.pool_size,
        connect_timeout: settings.connect_timeout,
        statement_timeout: settings.statement_timeout,
    }
}

/// The primary as it is searched.
pub(super) fn search_primary(config: &Config) -> PostgresConfig {
    let settings = &config.search.postgres;
    PostgresConfig {
        pool_size: settings.pool_size,
        connect_timeout: settings.connect_timeout,
        statement_timeout: settings.statement_timeout,
        ..postgres(config)
    }
}

/// Its standbys.
pub(super) fn replicas(config: &Config) -> Vec<PostgresConfig> {
    let replicas = config.search.postgres.replicas.iter();
    replicas.map(|url| PostgresConfig { url: url.expose().to_owned(), ..search_primary(config) }).collect()
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
    let sasl = settings.sasl.as_ref().map(|sasl| Sasl {
        mechanism: match sasl.mechanism {
            Mechanism::Plain => SaslMechanism::Plain,
            Mechanism::ScramSha256 => SaslMechanism::ScramSha256,
            Mechanism::ScramSha512 => SaslMechanism::ScramSha512,
        },
        username: sasl.username.clone(),
        password: sasl.password.expose().to_owned(),
    });
    let properties = settings.properties.iter().map(|(name, value)| (name.clone(), value.expose().to_owned()));
    KafkaConfig {
        brokers: settings.brokers.join(","),
        security: match settings.security {
            Security::Plaintext => kafka::Security::Plaintext,
            Security::Ssl => kafka::Security::Ssl,
            Security::SaslPlaintext => kafka::Security::SaslPlaintext,
            Security::SaslSsl => kafka::Security::SaslSsl,
        },
        ca_file: settings.ca_file.clone(),
        certificate_file: settings.certificate_file.clone(),
        key_file: settings.key_file.clone(),
        sasl,
        topics: TopicConfig {
            create: settings.topics.create,
            partitions: settings.topics.partitions,
            replication: settings.topics.replication,
        },
        properties: properties.collect(),
    }
}

/// Where traces are told, if anywhere.
pub(super) fn traces(config: &Config) -> Option<OtlpConfig> {
    let Traces { endpoint, service, timeout } = config.traces.clone();
    Some(OtlpConfig { endpoint: endpoint?, service, timeout })
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
    ElasticsearchConfig {
        urls: settings.urls.clone(),
        auth,
        ca_file: settings.ca_file.clone(),
        request_timeout: settings.request_timeout,
    }
}
