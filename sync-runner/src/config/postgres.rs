//! `[postgres]`: the database that holds the outbox and what is projected from it.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::Section;
use super::secret::Secret;

/// Where the database is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Postgres {
    /// Its address.
    pub(crate) url: PostgresUrl,
    /// It was named, and is not the one that is taken otherwise.
    pub(crate) is_named: bool,
    /// Takes the place of a password in the URL.
    pub(crate) password: Option<Secret>,
    /// PEM file of the certificate authorities to trust instead of the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// Pooled connections, at most.
    pub(crate) pool_size: usize,
    /// How long each host may take to let us in, and how long a free connection is waited for.
    pub(crate) connect_timeout: Duration,
    /// How long the answer to a statement is waited for.
    pub(crate) statement_timeout: Duration,
}

impl Default for Postgres {
    fn default() -> Self {
        let url = "postgres://postgres@localhost:5432/postgres?sslmode=prefer";
        Self {
            url: PostgresUrl {
                secret: Secret::new(url.to_owned()),
                shown: "postgres@localhost:5432/postgres".to_owned(),
                hosts: Hosts { count: 1, finds_primary: false },
            },
            is_named: false,
            password: None,
            ca_file: None,
            pool_size: 8,
            connect_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(30),
        }
    }
}

impl Postgres {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let default = Self::default();
        Self {
            is_named: section.has("url"),
            url: section.secret_text("url", PostgresUrl::parse).unwrap_or(default.url),
            password: section.secret("password"),
            ca_file: section.path("ca_file"),
            pool_size: section.integer("pool_size", 1..=1000).unwrap_or(default.pool_size),
            connect_timeout: section
                .duration("connect_timeout", Duration::from_millis(100)..=Duration::from_secs(600))
                .unwrap_or(default.connect_timeout),
            statement_timeout: section
                .duration("statement_timeout", Duration::from_millis(100)..=Duration::from_secs(24 * 3600))
                .unwrap_or(default.statement_timeout),
        }
    }
}

/// A PostgreSQL URL, which may hold a password, and the part of it that may be seen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PostgresUrl {
    secret: Secret,
    shown: String,
    hosts: Hosts,
}

/// What the URL says of the servers.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Hosts {
    count: usize,
    finds_primary: bool,
}

const EXPECTED: &str = "a URL such as \"postgres://user@host:5432/database?sslmode=prefer\" (the value is not shown)";
const AT: &str = "a URL with one @; an @ in the password is written %40, or the password goes to postgres.password";
const SSLMODE: &str = "sslmode=disable, prefer or require: certificates are verified whenever TLS is used";
const ATTRS: &str = "target_session_attrs=read-write, which finds the primary among several hosts, or any";

impl PostgresUrl {
    pub(crate) fn parse(url: String) -> Result<Self, &'static str> {
        let rest = ["postgres://", "postgresql://"].iter().find_map(|scheme| url.strip_prefix(scheme));
        let rest = rest.ok_or(EXPECTED)?;
        let (credentials, place) = rest.split_once('@').unwrap_or(("", rest));
        if place.contains('@') {
            return Err(AT);
        }
        let user = credentials.split(':').next().unwrap_or_default();
        let (place, parameters) = place.split_once('?').unwrap_or((place, ""));
        let hosts = place.split('/').next().unwrap_or_default();
        if !hosts.split(',').all(is_host) {
            return Err(EXPECTED);
        }
        let value = |name: &str| {
            let mut values = parameters.split('&').filter_map(|parameter| parameter.split_once('='));
            values.find(|(other, _)| *other == name).map(|(_, value)| value)
        };
        if value("sslmode").is_some_and(|mode| !["disable", "prefer", "require"].contains(&mode)) {
            return Err(SSLMODE);
        }
        let attributes = value("target_session_attrs");
        if attributes.is_some_and(|attributes| !["read-write", "any"].contains(&attributes)) {
            return Err(ATTRS);
        }
        let hosts = Hosts { count: hosts.split(',').count(), finds_primary: attributes == Some("read-write") };
        let shown = if user.is_empty() { place.to_owned() } else { format!("{user}@{place}") };
        Ok(Self { shown, secret: Secret::new(url), hosts })
    }

    /// The same server and user, another database. `name` needs no escaping in a URL.
    pub(crate) fn with_database(&self, name: &str) -> Self {
        let replace = |place: &str| {
            let (path, parameters) = place.split_at(place.find('?').unwrap_or(place.len()));
            let server = path.split('/').next().unwrap_or_default();
            format!("{server}/{name}{parameters}")
        };
        let url = self.expose();
        // A password may hold a slash, or a question mark written as such; the host begins behind it.
        let host = url.rfind('@').or_else(|| url.find("://").map(|at| at + 2)).map_or(0, |at| at + 1);
        let (credentials, place) = url.split_at(host);
        let secret = Secret::new(format!("{credentials}{}", replace(place)));
        Self { secret, shown: replace(&self.shown), hosts: self.hosts }
    }

    /// The whole URL, for the client that connects.
    pub(crate) fn expose(&self) -> &str {
        self.secret.expose()
    }

    /// User, host, port and database.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether a standby may be taken for the primary: several hosts, and nothing says which of them to look for.
    pub(crate) fn may_find_a_standby(&self) -> bool {
        self.hosts.count > 1 && !self.hosts.finds_primary
    }
}

/// A host with a port or without. A password without a user before it (`postgres://:hunter2`) has no digits there.
fn is_host(host: &str) -> bool {
    let (host, port) = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((address, rest)) => (address, rest.strip_prefix(':')),
        None => host.split_once(':').map_or((host, None), |(host, port)| (host, Some(port))),
    };
    let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok());
    port_fits && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:%".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_a_url_holds_no_password() {
        for (url, shown) in [
            ("postgres://me:hunter2@db:5432/shop?sslmode=require", "me@db:5432/shop"),
            ("postgresql://me@db/shop?password=hunter2", "me@db/shop"),
            ("postgres://db/shop?password=hunter2", "db/shop"),
            ("postgres://me:hunter2/x@a:1,b:2/shop", "me@a:1,b:2/shop"),
            ("postgres://[::1]:5432/shop", "[::1]:5432/shop"),
            ("postgres://%2Frun%2Fpostgresql/shop", "%2Frun%2Fpostgresql/shop"),
        ] {
            let parsed = PostgresUrl::parse(url.to_owned()).unwrap();
            assert_eq!((parsed.shown(), parsed.expose()), (shown, url));
            assert!(!format!("{parsed:?}").contains("hunter2"));
        }
    }

    #[test]
    fn another_database_is_on_the_same_server() {
        for (url, other, shown) in [
            (
                "postgres://me:a%2Fb@db:5432/shop?sslmode=require",
                "postgres://me:a%2Fb@db:5432/x?sslmode=require",
                "me@db:5432/x",
            ),
            ("postgres://me:a/b@db", "postgres://me:a/b@db/x", "me@db/x"),
            ("postgres://db?sslmode=disable", "postgres://db/x?sslmode=disable", "db/x"),
        ] {
            let parsed = PostgresUrl::parse(url.to_owned()).unwrap().with_database("x");
            assert_eq!((parsed.expose(), parsed.shown()), (other, shown));
        }
    }

    #[test]
    fn of_several_hosts_the_primary_is_to_be_asked_for() {
        for (url, may) in [
            ("postgres://a/shop", false),
            ("postgres://a,b/shop", true),
            ("postgres://me:p@a:1,b:2/shop?sslmode=disable&target_session_attrs=any", true),
            ("postgres://me:p@a:1,b:2/shop?sslmode=disable&target_session_attrs=read-write", false),
        ] {
            assert_eq!(PostgresUrl::parse(url.to_owned()).unwrap().may_find_a_standby(), may, "{url}");
        }
    }

    #[test]
    fn a_url_that_cannot_be_read_is_refused_without_showing_it() {
        for (url, expected) in [
            ("localhost:5432", EXPECTED),
            ("host=db password=hunter2", EXPECTED),
            ("mysql://me:hunter2@db/shop", EXPECTED),
            ("postgres://me:hunter2", EXPECTED),
            ("postgres://me:hunter2@db:port/shop", EXPECTED),
            ("postgres://me:hunt@er2@db/shop", AT),
            ("postgres://me:hunt@a/er2@db/shop", AT),
            ("postgres://me@db/shop?sslmode=verify-full", SSLMODE),
            ("postgres://me@a,b/shop?target_session_attrs=standby", ATTRS),
        ] {
            assert_eq!(PostgresUrl::parse(url.to_owned()), Err(expected), "{url}");
        }
    }
}
