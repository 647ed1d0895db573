//! Certificates for the way to an engine.

use std::error::Error as StdError;
use std::path::Path;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::config::DockerTls;
use crate::error::{Error, ErrorKind};

/// Whether these files hold what they should: the client crate would say nothing, and show no certificate.
pub(super) fn check(host: &str, tls: &DockerTls) -> Result<(), Error> {
    let wrong = |setting: &str, path: &Path, what: &str| {
        let what = format!("workspaces.hosts.{host}.{setting}: {}: {what}", path.display());
        Error::new(ErrorKind::Configuration, what)
    };
    for (setting, path) in [("ca_file", &tls.ca_file), ("certificate_file", &tls.certificate_file)] {
        let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let certificates = read.map_err(|error| wrong(setting, path, &error.to_string()))?;
        if certificates.is_empty() {
            return Err(wrong(setting, path, "holds no certificate; it must be PEM"));
        }
    }
    let key = PrivateKeyDer::from_pem_file(&tls.key_file);
    key.map(drop).map_err(|error| wrong("key_file", &tls.key_file, &error.to_string()))
}

/// The client crate takes the process' cryptography, and panics where there is none, or more than one to choose from.
pub(super) fn choose_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else may have chosen at the same moment, which is as good.
        rustls::crypto::ring::default_provider().install_default().ok();
    }
}

/// Whether one side does not believe the other's certificate.
pub(super) fn is_distrust(error: &(dyn StdError + 'static)) -> bool {
    // An I/O error hides what it was made of from `source`.
    let within = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>()
        || within.is_some_and(|within| is_distrust(within))
        || error.source().is_some_and(is_distrust)
}
