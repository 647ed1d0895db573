//! What an answer of an engine means.

use std::time::Duration;

use bollard::errors::Error as Foreign;

use super::tls::is_distrust;
use crate::error::{Error, ErrorKind};

/// The status of an engine's answer, if it gave one.
pub(super) fn status(error: &Foreign) -> Option<u16> {
    if let Foreign::DockerResponseServerError { status_code, .. } = error { Some(*status_code) } else { None }
}

/// Translates an error of the client crate.
pub(super) fn from_docker(host: &str, doing: &str, error: Foreign) -> Error {
    if let Foreign::DockerResponseServerError { status_code, message } = &error {
        let kind = kind_of(*status_code, message);
        return Error::new(kind, format!("{doing} on host {host}: {} (status {status_code})", message.trim()));
    }
    let setting = format!("{doing}: workspaces.hosts.{host}.engine");
    if let Foreign::SocketNotFoundError(path) = &error {
        return Error::new(ErrorKind::Unavailable, format!("{setting}: no engine listens at {path}"));
    }
    if is_distrust(&error) {
        let files =
            format!("see workspaces.hosts.{host}.ca_file, and certificate_file, which its own authority has to know");
        return Error::new(
            ErrorKind::Denied,
            format!("{setting}: one does not believe the other's certificate; {files}"),
        )
        .with_source(error);
    }
    Error::new(ErrorKind::Unavailable, format!("{setting}: the engine does not answer")).with_source(error)
}

/// Nothing was said in time.
pub(super) fn unanswered(host: &str, doing: &str, limit: Duration) -> Error {
    let what =
        format!("{doing}: workspaces.hosts.{host}.engine: no answer within {limit:?} (workspaces.engine_timeout)");
    Error::new(ErrorKind::Unavailable, what)
}

/// The engine gives few statuses, and says in words what it means.
fn kind_of(status: u16, message: &str) -> ErrorKind {
    let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
    match status {
        _ if says(&["no space left on device", "disk quota exceeded"]) => ErrorKind::Blocked,
        403 if says(&["Address already in use"]) => ErrorKind::Refused,
        404 if says(&["No such image", "network"]) => ErrorKind::Configuration,
        400 | 404 | 406 | 409 | 422 => ErrorKind::Refused,
        401 | 403 => ErrorKind::Denied,
        408 | 429 | 502..=504 => ErrorKind::Unavailable,
        // A command that is not there, a limit the kernel does not take: it would be refused again.
        500 if says(&["OCI runtime create failed", "failed to create task for container"]) => ErrorKind::Refused,
        _ => ErrorKind::Unexplained,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_says_decides_where_its_status_says_little() {
        for (status, message, kind) in [
            (500, "write /x: no space left on device", ErrorKind::Blocked),
            (404, "No such image: nothing:latest", ErrorKind::Configuration),
            (404, "network nowhere not found", ErrorKind::Configuration),
            (404, "No such container: x", ErrorKind::Refused),
            (403, "Address already in use", ErrorKind::Refused),
            (400, "OCI runtime create failed: exec: \"nothing\": not found", ErrorKind::Refused),
            (409, "Conflict. The container name \"/x\" is already in use", ErrorKind::Refused),
            (503, "the engine is going down", ErrorKind::Unavailable),
            (500, "something else", ErrorKind::Unexplained),
        ] {
            assert_eq!(kind_of(status, message), kind, "{status} {message}");
        }
    }
}
