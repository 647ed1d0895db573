//! What people use instead, configured for throughput.

pub(crate) mod debezium;
pub(crate) mod pgsync;
pub(crate) mod poller;

use std::env;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_postgres::Client;

use crate::Outcome;
use crate::program::Program;

/// Fills in what is in double braces.
fn filled(template: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(&format!("{{{{{name}}}}}"), value))
}

/// A port nobody listens on now.
fn free_port() -> Outcome<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string())
}

/// A directory that `scripts/bench --peers` has filled.
fn installed(variable: &str) -> Outcome<String> {
    env::var(variable).map_err(|_| format!("{variable} is not set; run scripts/bench with --peers").into())
}

/// How long a peer may take until it reads what changes.
const START: Duration = Duration::from_secs(90);

/// Waits until somebody reads the slot, while `program` lives: the server knows.
async fn until_read(client: &Client, slot: &str, program: &mut Program) -> Outcome<()> {
    let began = Instant::now();
    let active = "select active from pg_replication_slots where slot_name = $1::text::name";
    while !client.query_one(active, &[&slot]).await?.get::<_, bool>(0) {
        program.is_alive()?;
        if began.elapsed() > START {
            return Err(format!("nobody reads slot {slot} after {START:?}").into());
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_a_template_is_filled() {
        assert_eq!(filled("a={{a}} b={{b}} a={{a}}", &[("a", "1"), ("b", "{2}")]), "a=1 b={2} a=1");
    }
}
