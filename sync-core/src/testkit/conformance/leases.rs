//! What every store of leases promises.
#![allow(clippy::unwrap_used, reason = "a suite fails by panicking")]

use std::time::Duration;

use crate::port::Leases;

/// Checks every promise of [`Leases`], of one store and two holders.
///
/// # Panics
/// When a promise is broken.
pub async fn leases(one: &dyn Leases, other: &dyn Leases) {
    let (long, short) = (Duration::from_secs(3_600), Duration::from_millis(200));
    assert!(one.hold("alerts", short).await.unwrap());
    assert!(!other.hold("alerts", long).await.unwrap(), "it is one's");
    assert!(other.hold("others", long).await.unwrap(), "that is another lease");
    assert!(one.hold("alerts", short).await.unwrap(), "it is kept");
    while !other.hold("alerts", long).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!one.hold("alerts", long).await.unwrap(), "it was not held for longer than it lasts");
    assert!(other.hold("alerts", long).await.unwrap());

    assert_eq!(one.left("alerts").await.unwrap(), None);
    assert!(!one.leave("alerts", "one's").await.unwrap(), "it is the other's");
    assert!(!one.leave("nobody's", "one's").await.unwrap());
    for note in ["first", "größer"] {
        assert!(other.leave("alerts", note).await.unwrap());
        assert_eq!(one.left("alerts").await.unwrap().as_deref(), Some(note));
    }
    assert!(other.hold("alerts", short).await.unwrap());
    while !one.hold("alerts", long).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(one.left("alerts").await.unwrap().as_deref(), Some("größer"), "who holds it next finds it");
}
