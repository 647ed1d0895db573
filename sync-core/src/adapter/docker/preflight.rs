//! What a host can be seen to lack before anything is made there.

use bollard::models::IpamConfig;
use ipnet::IpNet;

use super::engine::Engine;
use crate::error::{Error, ErrorKind};
use crate::port::AddressRange;

/// What whoever misses an image has to do.
pub(super) fn wanted(image: &str) -> String {
    format!("workspaces.image: {image:?} must be there: `docker pull` it on that host")
}

/// Whether the image is there.
pub(super) async fn image(engine: &Engine, image: &str) -> Result<(), Error> {
    match engine.asked(async |docker| docker.inspect_image(image).await).await {
        Ok(_) => Ok(()),
        Err(failure) if failure.status() == Some(404) => {
            let what = format!("host {} has no such image; {}", engine.host(), wanted(image));
            Err(Error::new(ErrorKind::Configuration, what))
        }
        Err(failure) => Err(failure.into_error(engine.host(), "looking for an image")),
    }
}

/// Whether the network is there, and has a subnet that holds these addresses.
pub(super) async fn network(engine: &Engine, network: &str, addresses: AddressRange) -> Result<(), Error> {
    let section = format!("workspaces.hosts.{}", engine.host());
    let found = match engine.asked(async |docker| docker.inspect_network(network, None).await).await {
        Ok(found) => found,
        Err(failure) if failure.status() == Some(404) => {
            let mend = "`docker network create --subnet SUBNET NAME` makes one";
            let what = format!("{section}.network: the engine has no network {network:?}; {mend}");
            return Err(Error::new(ErrorKind::Configuration, what));
        }
        Err(failure) => return Err(failure.into_error(engine.host(), "looking at a network")),
    };
    let subnets = subnets(found.ipam.and_then(|ipam| ipam.config).unwrap_or_default());
    let AddressRange { first, last } = addresses;
    if subnets.iter().any(|subnet| subnet.contains(&first) && subnet.contains(&last)) {
        return Ok(());
    }
    let has: Vec<_> = subnets.iter().map(ToString::to_string).collect();
    let has = if has.is_empty() { "none".to_owned() } else { has.join(", ") };
    let what = format!("{section}.addresses: {first}-{last} is not in a subnet of network {network}, which has {has}");
    Err(Error::new(ErrorKind::Configuration, what))
}

/// Those that can be read; an engine writes no others.
fn subnets(config: Vec<IpamConfig>) -> Vec<IpNet> {
    config.into_iter().filter_map(|config| config.subnet?.parse().ok()).collect()
}
