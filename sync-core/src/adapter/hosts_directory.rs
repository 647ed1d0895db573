//! Host names in a directory of hosts files, one a workspace, as `dnsmasq --hostsdir` reads it.

use std::fs::{self, DirEntry, File};
use std::io::{self, ErrorKind as Io, Write as _};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;

use crate::error::{Error, ErrorKind};
use crate::port::{HostNames, check_host_name, check_workspace_id};

/// How long a directory may take; one on a network may say nothing for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the names of our files begin with.
const PREFIX: &str = "workspace-";

/// What they begin with while they are written. Readers pass over names that begin with a dot.
const UNFINISHED: &str = ".workspace-";

/// A file that is unfinished for so long was left by a process that died.
const ABANDONED: Duration = Duration::from_secs(3_600);

/// What their first line says.
const MARK: &str = "# workspace-owner: ";

/// A directory of hosts files. Files of other owners, and whatever else is there, are left alone.
#[derive(Clone, Debug)]
pub struct HostsDirectory {
    directory: PathBuf,
    owner: String,
}

impl HostsDirectory {
    /// Looks at nothing yet; the directory has to be there. `owner` has no line break.
    #[must_use]
    pub fn new(directory: PathBuf, owner: &str) -> Self {
        Self { directory, owner: owner.to_owned() }
    }

    fn path(&self, workspace: &str) -> Result<PathBuf, Error> {
        check_workspace_id(workspace)?;
        Ok(self.directory.join(format!("{PREFIX}{workspace}")))
    }

    /// Does it where files may be waited for.
    async fn on_disk<T: Send + 'static>(
        &self,
        doing: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let this = self.clone();
        let done = timeout(PATIENCE, tokio::task::spawn_blocking(move || doing(&this))).await.map_err(|_| {
            let what = format!("workspaces.host_names: {}: no answer within {PATIENCE:?}", self.directory.display());
            Error::new(ErrorKind::Unavailable, what)
        })?;
        let done = done.map_err(|error| Error::new(ErrorKind::Internal, "host names").with_source(error))?;
        done.map_err(|error| {
            let what = format!("workspaces.host_names: {}", self.directory.display());
            Error::new(kind_of(error.kind()), what).with_source(error)
        })
    }

    /// Whether this file is ours; one that is not there is nobody's.
    fn is_ours(&self, path: &PathBuf) -> io::Result<bool> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(text.lines().next().and_then(|line| line.strip_prefix(MARK)) == Some(&self.owner)),
            Err(error)
                if matches!(error.kind(), Io::NotFound | Io::InvalidData | Io::IsADirectory | Io::PermissionDenied) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl HostNames for HostsDirectory {
    async fn publish(&self, workspace: &str, name: &str, address: IpAddr) -> Result<(), Error> {
        let (path, text) = (self.path(workspace)?, format!("{MARK}{}\n{address} {name}\n", self.owner));
        check_host_name(name)?;
        let is_others = self
            .on_disk(move |this| {
                if path.try_exists()? && !this.is_ours(&path)? {
                    return Ok(true);
                }
                // Readers see the old file or the new one.
                let new = this.directory.join(format!("{UNFINISHED}{:016x}", rand::random::<u64>()));
                let written = File::create_new(&new).and_then(|mut file| {
                    file.write_all(text.as_bytes())?;
                    file.sync_all()?;
                    fs::rename(&new, &path)
                });
                if written.is_err() {
                    // The disk may be full; what was written of it is of no use.
                    fs::remove_file(&new).ok();
                }
                written.map(|()| false)
            })
            .await?;
        if is_others {
            let what = format!("workspaces.host_names: the file {PREFIX}{workspace} belongs to another owner");
            return Err(Error::new(ErrorKind::Refused, what));
        }
        Ok(())
    }

    async fn withdraw(&self, workspace: &str) -> Result<(), Error> {
        let path = self.path(workspace)?;
        self.on_disk(move |this| {
            if !this.is_ours(&path)? {
                return Ok(());
            }
            match fs::remove_file(&path) {
                Err(error) if error.kind() != Io::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(()),
            }
        })
        .await
    }

    async fn list(&self) -> Result<Vec<String>, Error> {
        self.on_disk(|this| {
            let mut workspaces = Vec::new();
            for entry in fs::read_dir(&this.directory)? {
                let entry = entry?;
                let name = entry.file_name();
                if name.to_str().is_some_and(|name| name.starts_with(UNFINISHED)) {
                    sweep(&entry);
                }
                let Some(workspace) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
                if this.is_ours(&entry.path())? {
                    workspaces.push(workspace.to_owned());
                }
            }
            workspaces.sort();
            Ok(workspaces)
        })
        .await
    }
}

/// Removes what was left unfinished. That it cannot be is nobody's concern: nobody reads it.
fn sweep(entry: &DirEntry) {
    let age = entry.metadata().and_then(|found| found.modified()).map(|at| at.elapsed().unwrap_or_default());
    if age.is_ok_and(|age| age > ABANDONED) {
        fs::remove_file(entry.path()).ok();
    }
}

fn kind_of(kind: Io) -> ErrorKind {
    if matches!(kind, Io::NotFound | Io::NotADirectory | Io::InvalidInput) {
        ErrorKind::Configuration
    } else if matches!(kind, Io::PermissionDenied | Io::ReadOnlyFilesystem) {
        ErrorKind::Denied
    } else if matches!(kind, Io::StorageFull | Io::QuotaExceeded) {
        ErrorKind::Blocked
    } else {
        ErrorKind::Unexplained
    }
}
