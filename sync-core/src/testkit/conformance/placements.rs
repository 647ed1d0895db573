//! What every store of placements promises.
#![allow(clippy::unwrap_used, reason = "a suite fails by panicking")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use futures::future::join_all;

use crate::error::ErrorKind;
use crate::port::{AddressRange, Placements};

/// Checks every promise of [`Placements`]. `placements` is empty.
///
/// # Panics
/// When a promise is broken.
pub async fn placements(placements: &dyn Placements) {
    a_workspace_stays_on_the_host_it_was_placed_on_first(placements).await;
    no_two_workspaces_have_the_same_address(placements).await;
    an_address_that_was_given_back_is_given_out_again(placements).await;
    addresses_are_of_either_kind(placements).await;
    no_two_workspaces_have_the_same_name(placements).await;
    a_workspace_that_is_not_placed_occupies_nothing(placements).await;
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn range(first: &str, last: &str) -> AddressRange {
    AddressRange { first: address(first), last: address(last) }
}

async fn clear(placements: &dyn Placements) {
    for placement in placements.list().await.unwrap() {
        placements.remove(&placement.workspace).await.unwrap();
    }
}

async fn a_workspace_stays_on_the_host_it_was_placed_on_first(placements: &dyn Placements) {
    assert_eq!(placements.place("one", "a").await.unwrap(), "a");
    assert_eq!(placements.place("one", "b").await.unwrap(), "a");
    assert_eq!(placements.place("two", "b").await.unwrap(), "b");
    let placement = placements.get("one").await.unwrap().unwrap();
    assert_eq!((placement.host.as_str(), placement.address, &placement.host_name), ("a", None, &None));
    assert!(placement.age < Duration::from_secs(60), "{placement:?}");
    let workspaces: Vec<_> = placements.list().await.unwrap().into_iter().map(|one| one.workspace).collect();
    assert_eq!(workspaces, ["one", "two"]);
    for _ in 0..2 {
        placements.remove("one").await.unwrap();
    }
    assert_eq!(placements.get("one").await.unwrap(), None);
    assert_eq!(placements.place("one", "b").await.unwrap(), "b", "anew");
    clear(placements).await;
}

async fn no_two_workspaces_have_the_same_address(placements: &dyn Placements) {
    let names: Vec<_> = (0..12).map(|number| format!("many {number}")).collect();
    for name in &names {
        placements.place(name, "a").await.unwrap();
    }
    let ten = range("10.0.0.250", "10.0.1.3");
    let taken = join_all(names.iter().map(|name| placements.take_address(name, ten))).await;
    let kinds: Vec<_> = taken.iter().filter_map(|taken| Some(taken.as_ref().err()?.kind())).collect();
    assert_eq!(kinds, [ErrorKind::Unexplained; 2], "{taken:?}");
    let addresses: BTreeSet<_> = taken.iter().filter_map(|taken| taken.as_ref().ok()).copied().collect();
    assert_eq!((addresses.len(), addresses.first(), addresses.last()), (10, Some(&ten.first), Some(&ten.last)));
    for (name, taken) in names.iter().zip(&taken) {
        if let Ok(taken) = taken {
            assert_eq!(placements.take_address(name, ten).await.unwrap(), *taken, "where its answer was lost");
        }
    }
    clear(placements).await;
}

async fn an_address_that_was_given_back_is_given_out_again(placements: &dyn Placements) {
    let three = range("10.0.0.1", "10.0.0.3");
    for name in ["a", "b", "c", "d"] {
        placements.place(name, "host").await.unwrap();
    }
    for name in ["a", "b", "c"] {
        placements.take_address(name, three).await.unwrap();
    }
    for _ in 0..2 {
        placements.give_address_back("b", address("10.0.0.2")).await.unwrap();
    }
    assert_eq!(placements.take_address("d", three).await.unwrap(), address("10.0.0.2"));
    placements.remove("a").await.unwrap();
    assert_eq!(placements.take_address("b", three).await.unwrap(), address("10.0.0.1"));
    // One that comes late, about an address it had before.
    placements.give_address_back("b", address("10.0.0.2")).await.unwrap();
    assert_eq!(placements.get("b").await.unwrap().unwrap().address, Some(address("10.0.0.1")));
    clear(placements).await;
}

async fn addresses_are_of_either_kind(placements: &dyn Placements) {
    for name in ["a", "b"] {
        placements.place(name, "host").await.unwrap();
    }
    let first = placements.take_address("a", range("fd00::ffff", "fd00::1:2")).await.unwrap();
    let second = placements.take_address("b", range("fd00::ffff", "fd00::1:2")).await.unwrap();
    assert_eq!([first, second], [address("fd00::ffff"), address("fd00::1:0")]);
    assert_eq!(placements.get("a").await.unwrap().unwrap().address, Some(first));
    clear(placements).await;
}

async fn no_two_workspaces_have_the_same_name(placements: &dyn Placements) {
    for name in ["a", "b"] {
        placements.place(name, "host").await.unwrap();
    }
    for _ in 0..2 {
        placements.take_host_name("a", "web.example").await.unwrap();
    }
    let taken = placements.take_host_name("b", "web.example").await.unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::Refused, "{taken}");
    placements.take_host_name("a", "other.example").await.unwrap();
    placements.take_host_name("b", "web.example").await.unwrap();
    for _ in 0..2 {
        placements.give_host_name_back("b").await.unwrap();
    }
    placements.take_host_name("a", "web.example").await.unwrap();
    assert_eq!(placements.get("a").await.unwrap().unwrap().host_name.as_deref(), Some("web.example"));
    clear(placements).await;
}

async fn a_workspace_that_is_not_placed_occupies_nothing(placements: &dyn Placements) {
    let refused = placements.take_address("nobody", range("10.0.0.1", "10.0.0.3")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused, "{refused}");
    let refused = placements.take_host_name("nobody", "web.example").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused, "{refused}");
    placements.give_address_back("nobody", address("10.0.0.1")).await.unwrap();
    placements.give_host_name_back("nobody").await.unwrap();
    assert!(placements.list().await.unwrap().is_empty());
}
