//! What people use instead, configured for throughput.

pub(crate) mod debezium;
pub(crate) mod pgsync;
pub(crate) mod poller;

use std::env;
use std::net::TcpListener;

use crate::Outcome;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_a_template_is_filled() {
        assert_eq!(filled("a={{a}} b={{b}} a={{a}}", &[("a", "1"), ("b", "{2}")]), "a=1 b={2} a=1");
    }
}
