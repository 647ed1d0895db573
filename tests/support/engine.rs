//! Docker engines, as tests see them beside the adapter.

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use bollard::{API_DEFAULT_VERSION, Docker};

/// A client of its own.
pub async fn client(engine: &str) -> Docker {
    let client = Docker::connect_with_unix(engine, 60, API_DEFAULT_VERSION).unwrap();
    client.negotiate_version().await.unwrap()
}

/// Sees to it that the engine has a network of that name.
pub async fn network(engine: &str, name: &str, subnet: &str) {
    let client = client(engine).await;
    if client.inspect_network(name, None).await.is_ok() {
        return;
    }
    let config = IpamConfig { subnet: Some(subnet.to_owned()), ..IpamConfig::default() };
    let request = NetworkCreateRequest {
        name: name.to_owned(),
        ipam: Some(Ipam { config: Some(vec![config]), ..Ipam::default() }),
        ..NetworkCreateRequest::default()
    };
    client.create_network(request).await.unwrap();
}
