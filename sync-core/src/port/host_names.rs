//! Names under which workspaces are found.

use std::fmt::Debug;
use std::net::IpAddr;

use async_trait::async_trait;

use crate::error::{Error, ErrorKind};

/// Tells the world under which name a workspace is found: a directory of hosts files, a name server. That a name is one
/// workspace's only is seen to elsewhere. Everything may be repeated; dropped half-way, or after `Unavailable`, it may have
/// happened. What is done for several workspaces is done at the same time.
#[async_trait]
pub trait HostNames: Debug + Send + Sync + 'static {
    /// This workspace is found under this name, at this address, and under no other.
    ///
    /// # Errors
    /// `Refused` when it is no [name](check_host_name); `Configuration`, `Unavailable`, `Denied`, `Blocked`, `Unexplained`.
    async fn publish(&self, workspace: &str, name: &str, address: IpAddr) -> Result<(), Error>;

    /// This workspace is not found any more; a success, too, when it was not.
    ///
    /// # Errors
    /// `Configuration`, `Unavailable`, `Denied`, `Unexplained`.
    async fn withdraw(&self, workspace: &str) -> Result<(), Error>;

    /// The workspaces that are found, of this owner, in their order.
    ///
    /// # Errors
    /// `Configuration`, `Unavailable`, `Denied`, `Unexplained`.
    async fn list(&self) -> Result<Vec<String>, Error>;
}

/// Whether this is a host name.
///
/// # Errors
/// `Refused` when it is none, saying what one is.
pub fn check_host_name(name: &str) -> Result<(), Error> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() <= 253 && name.split('.').all(is_label) {
        return Ok(());
    }
    let what = format!("{name:?} is no host name: labels of letters, digits and `-`, joined by dots, 253 at most");
    Err(Error::new(ErrorKind::Refused, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_host_name_is_told_from_one() {
        for name in ["a", "web-7", "7.workspaces.example", &"a".repeat(63)] {
            assert!(check_host_name(name).is_ok(), "{name}");
        }
        for name in ["", ".", "a.", "-a", "a-", "a b", "a\nb", "a#", "größe", &"a".repeat(64), &"a.".repeat(130)] {
            assert_eq!(check_host_name(name).unwrap_err().kind(), ErrorKind::Refused, "{name:?}");
        }
    }
}
