//! What the examples stand on: a database of their own, on the server that `SYNC__POSTGRES__URL` names.

use sync_core::Error;
use sync_core::adapter::postgres::{Postgres, PostgresConfig};

/// Makes a database that nobody else has, and returns its URL. The role has to be allowed to.
///
/// # Errors
/// `Configuration` when the variable is not set; what the server says.
pub async fn fresh_database() -> Result<String, Error> {
    let server = std::env::var("SYNC__POSTGRES__URL").map_err(|error| {
        let what = "SYNC__POSTGRES__URL: set it to a server, such as postgres://postgres@localhost/postgres";
        Error::new(sync_core::ErrorKind::Configuration, what).with_source(error)
    })?;
    let name = format!("example_{}", uuid::Uuid::new_v4().simple());
    let client = Postgres::new(&PostgresConfig::new(&server))?.client().await?;
    client.batch_execute(&format!("create database {name}")).await.map_err(|error| {
        Error::new(sync_core::ErrorKind::Configuration, "SYNC__POSTGRES__URL: creating a database").with_source(error)
    })?;
    let (server, _) = server.rsplit_once('/').unwrap_or((&server, ""));
    Ok(format!("{server}/{name}"))
}
