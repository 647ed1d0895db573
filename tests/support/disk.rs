//! A disk that can be full.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A file system of its own, of so many bytes. Gone when dropped.
pub struct Disk(TempDir);

impl Disk {
    /// None where this process may not mount one.
    pub fn of(bytes: u64) -> Option<Self> {
        let directory = tempfile::Builder::new().prefix("disk-").tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(directory.path());
        mount.status().is_ok_and(|ended| ended.success()).then(|| Self(directory))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    fn filling(&self) -> PathBuf {
        self.path().join("filling")
    }

    /// Leaves no room on it.
    pub fn fill(&self) {
        let mut file = File::create(self.filling()).unwrap();
        while file.write_all(&[0; 4_096]).is_ok() {}
    }

    /// Leaves room again.
    pub fn make_room(&self) {
        fs::remove_file(self.filling()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What still has a file of it open keeps it until its end.
        Command::new("umount").arg("--lazy").arg(self.path()).status().unwrap();
    }
}
