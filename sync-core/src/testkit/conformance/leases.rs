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
}
