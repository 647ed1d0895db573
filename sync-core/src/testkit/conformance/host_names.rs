//! What every way to tell host names promises.
#![allow(clippy::unwrap_used, reason = "a suite fails by panicking")]

use std::net::IpAddr;

use crate::error::ErrorKind;
use crate::port::HostNames;

/// Checks every promise of [`HostNames`]; `told` says what the world is told: `ADDRESS NAME` of each, sorted. Nobody is told of
/// anything yet.
///
/// # Panics
/// When a promise is broken.
pub async fn host_names(host_names: &dyn HostNames, told: impl Fn() -> Vec<String>) {
    let [one, two]: [IpAddr; 2] = ["10.0.0.1", "fd00::2"].map(|address| address.parse().unwrap());
    assert!(host_names.list().await.unwrap().is_empty());
    for _ in 0..2 {
        host_names.publish("a", "a.example", one).await.unwrap();
    }
    host_names.publish("b", "b.example", two).await.unwrap();
    assert_eq!(told(), ["10.0.0.1 a.example", "fd00::2 b.example"]);
    assert_eq!(host_names.list().await.unwrap(), ["a", "b"]);
    host_names.publish("a", "other.example", one).await.unwrap();
    assert_eq!(told(), ["10.0.0.1 other.example", "fd00::2 b.example"], "under no other name");
    for wrong in ["", "a b", "a\n10.0.0.9 bank.example", "a#"] {
        assert_eq!(host_names.publish("c", wrong, one).await.unwrap_err().kind(), ErrorKind::Refused, "{wrong:?}");
    }
    for _ in 0..2 {
        host_names.withdraw("a").await.unwrap();
    }
    assert_eq!(told(), ["fd00::2 b.example"]);
    assert_eq!(host_names.list().await.unwrap(), ["b"]);
    host_names.withdraw("b").await.unwrap();
    assert!(told().is_empty());
}
