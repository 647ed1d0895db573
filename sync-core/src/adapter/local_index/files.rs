//! Small files that are there as a whole or not at all, and who may write.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::error::of_files;
use crate::error::{Error, ErrorKind};

/// The right to write something; whoever holds it is the only one on this machine. It ends with the process at the latest.
#[derive(Debug)]
pub(super) struct Lock {
    _held: File,
}

/// For so long somebody else may write: many times what a batch takes.
const PATIENCE: Duration = Duration::from_secs(30);

const NAP: Duration = Duration::from_millis(1);

impl Lock {
    /// Waits for it.
    ///
    /// # Errors
    /// `Unavailable` when somebody else has it for half a minute: a process that was stopped. What the file system says.
    pub(super) fn wait(path: &Path) -> Result<Self, Error> {
        Self::wait_for(path, PATIENCE)
    }

    /// The same with so much patience.
    pub(super) fn wait_for(path: &Path, patience: Duration) -> Result<Self, Error> {
        let failed = |error| of_files(error, "waiting to write, by", path);
        let file = File::options().create(true).append(true).open(path).map_err(failed)?;
        let by = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _held: file }),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
                Err(TryLockError::WouldBlock) if Instant::now() < by => sleep(NAP),
                Err(TryLockError::WouldBlock) => {
                    let what = format!(
                        "local_index.directory: another process of this machine has been at work for {patience:?}, and holds {}",
                        path.display()
                    );
                    return Err(Error::new(ErrorKind::Unavailable, what));
                }
            }
        }
    }
}

/// What is in a file; `None` when there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(of_files(error, "reading", path)),
    }
}

/// Puts this into a file in the place of what was there, once it is on the disk.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Error> {
    let written = || {
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    };
    written().map_err(|error| of_files(error, "writing", path))
}

/// Makes a directory, and those it is in.
pub(super) fn make_directory(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|error| of_files(error, "making", path))
}

/// Removes a directory with all that is in it, if it is there.
pub(super) fn remove_directory(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(of_files(error, "removing", path)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Removes the directories in it whose names begin so.
pub(super) fn remove_directories(within: &Path, begin: &str) -> Result<(), Error> {
    let entries = match fs::read_dir(within) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|error| of_files(error, "reading", within))?,
    };
    for entry in entries {
        let entry = entry.map_err(|error| of_files(error, "reading", within))?;
        if entry.file_name().to_string_lossy().starts_with(begin) {
            remove_directory(&entry.path())?;
        }
    }
    Ok(())
}

/// Does something that waits for the disk where it holds up nobody. Given up half-way, it goes on to its end.
pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let failed = |error| Error::new(ErrorKind::Internal, "the local index ended in a panic").with_source(error);
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}

/// Writes a file there that is gone then.
pub(super) fn try_writing(directory: &Path) -> Result<(), Error> {
    let file = directory.join(format!(".tried-{:016x}", rand::random::<u64>()));
    let tried = File::create_new(&file).and_then(|_| fs::remove_file(&file));
    tried.map_err(|error| of_files(error, "writing to", directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_writes_and_stands_still_is_not_waited_for_for_ever() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("lock");
        let held = Lock::wait(&path).unwrap();
        let error = Lock::wait_for(&path, Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("another process"), "{error}");
        drop(held);
        Lock::wait_for(&path, Duration::from_millis(20)).unwrap();
    }
}
