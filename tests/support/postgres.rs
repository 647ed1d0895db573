//! A database of its own for each test.

use sync_core::adapter::postgres::{Postgres, PostgresConfig, migrate};
use tokio_postgres::{Client, NoTls};

use super::servers;

/// A connection to `url`, driven in the background.
pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("PostgreSQL is up");
    tokio::spawn(connection);
    client
}

/// A new, empty database, and its URL.
pub async fn fresh_database() -> (Client, String) {
    let server = servers::postgres();
    let name = servers::unique("test");
    connect(&server).await.batch_execute(&format!("create database \"{name}\"")).await.expect("creating a database");
    let (base, _) = server.rsplit_once('/').expect("a URL with a database");
    let url = format!("{base}/{name}");
    (connect(&url).await, url)
}

/// A new database with the outbox in it.
pub async fn fresh_outbox() -> (Client, String) {
    let (_, url) = fresh_database().await;
    (outbox_at(&url).await, url)
}

/// A connection to a database, with the outbox in it from now on.
pub async fn outbox_at(url: &str) -> Client {
    let mut client = connect(url).await;
    migrate(&mut client).await.expect("the migrations apply");
    client
}

/// What the adapters connect with.
pub fn database(url: &str) -> Postgres {
    Postgres::new(&PostgresConfig::new(url)).expect("a URL")
}
