//! Certificates for servers and clients of tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// An authority, and what it signs.
pub struct Authority(TempDir);

/// A certificate and its key.
pub struct Signed {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

fn openssl(directory: &Path, arguments: &str) {
    let done = Command::new("openssl").current_dir(directory).args(arguments.split(' ')).output().unwrap();
    assert!(done.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

const NEW_KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

impl Authority {
    pub fn new() -> Self {
        let this = Self(TempDir::new().unwrap());
        let arguments = format!("req -x509 {NEW_KEY} -keyout ca.key -out ca.pem -subj /CN=authority -days 30");
        openssl(this.0.path(), &arguments);
        this
    }

    pub fn certificate(&self) -> PathBuf {
        self.0.path().join("ca.pem")
    }

    /// For a server at 127.0.0.1.
    pub fn server(&self) -> Signed {
        self.sign("server", "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n")
    }

    pub fn client(&self) -> Signed {
        self.sign("client", "extendedKeyUsage=clientAuth\n")
    }

    fn sign(&self, name: &str, extensions: &str) -> Signed {
        let directory = self.0.path();
        std::fs::write(directory.join(format!("{name}.ext")), extensions).unwrap();
        openssl(directory, &format!("req {NEW_KEY} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        let authority = "-CA ca.pem -CAkey ca.key -CAcreateserial -days 30";
        openssl(directory, &format!("x509 -req {authority} -in {name}.csr -out {name}.pem -extfile {name}.ext"));
        let file = |kind: &str| directory.join(format!("{name}.{kind}"));
        Signed { certificate: file("pem"), key: file("key") }
    }
}
