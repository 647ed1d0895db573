//! A clock of a server's own, which can be set while the server runs. Only the time of day: timers go on as they are.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// The time of day as one process sees it, and those it starts.
pub struct Clock {
    preloaded: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// A clock that goes right, kept in this directory, which the process can read; none on a machine that cannot fake
    /// the time: `SYNC_STACK_FAKETIME` names the library for it.
    pub fn kept_in(directory: &Path) -> Option<Self> {
        let preloaded = std::env::var_os("SYNC_STACK_FAKETIME")?.into();
        let clock = Self { preloaded, file: directory.join("clock") };
        clock.set(0);
        Some(clock)
    }

    /// What a process that goes by it finds in its environment.
    pub fn environment(&self) -> [(&'static str, OsString); 4] {
        [
            ("LD_PRELOAD", self.preloaded.clone().into()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.clone().into()),
            // Set for all processes of a server at once.
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }

    /// Sets it that many seconds before the true time, or behind it.
    pub fn set(&self, ahead: i64) {
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{ahead:+}\n")).unwrap();
        // In one step, for whoever reads it at this moment.
        fs::rename(&new, &self.file).unwrap();
    }
}
