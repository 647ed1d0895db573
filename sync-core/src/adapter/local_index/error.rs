//! What goes wrong in a directory.

use std::io;
use std::path::Path;

use tantivy::TantivyError;
use tantivy::directory::error::{OpenDirectoryError, OpenReadError, OpenWriteError};

use crate::error::{Error, ErrorKind};

/// What the file system said while something was done with this path.
pub(super) fn of_files(error: io::Error, doing: &str, path: &Path) -> Error {
    let kind = kind_of(&error);
    Error::new(kind, format!("local_index.directory: {doing} {}", path.display())).with_source(error)
}

fn kind_of(error: &io::Error) -> ErrorKind {
    use io::ErrorKind::{
        InvalidData, InvalidFilename, IsADirectory, NotADirectory, PermissionDenied, ReadOnlyFilesystem, UnexpectedEof,
    };
    if matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem) {
        ErrorKind::Denied
    } else if matches!(error.kind(), NotADirectory | IsADirectory | InvalidFilename | InvalidData | UnexpectedEof) {
        ErrorKind::Configuration
    } else {
        // A disk that is full or does not answer is an outage.
        ErrorKind::Unavailable
    }
}

/// What helps an index that is damaged.
pub(super) fn mend(directory: &Path, name: &str) -> String {
    format!(
        ": it cannot be read; delete {}, and run `sync-runner backfill {name}` (`repair::Backfill`)",
        directory.display()
    )
}

/// What the index in this directory said, which is called so in the configuration.
pub(super) fn of_index(error: TantivyError, doing: &str, directory: &Path, name: &str) -> Error {
    let kind = match &error {
        TantivyError::IoError(error) => kind_of(error),
        TantivyError::OpenReadError(OpenReadError::IoError { io_error, .. })
        | TantivyError::OpenWriteError(OpenWriteError::IoError { io_error, .. })
        | TantivyError::OpenDirectoryError(
            OpenDirectoryError::IoError { io_error, .. } | OpenDirectoryError::FailedToCreateTempDir(io_error),
        ) => kind_of(io_error),
        TantivyError::LockFailure(..) | TantivyError::OpenWriteError(OpenWriteError::FileAlreadyExists(_)) => {
            ErrorKind::Unavailable
        }
        TantivyError::OpenReadError(OpenReadError::IncompatibleIndex(_) | OpenReadError::FileDoesNotExist(_))
        | TantivyError::OpenDirectoryError(
            OpenDirectoryError::NotADirectory(_) | OpenDirectoryError::DoesNotExist(_),
        )
        | TantivyError::DataCorruption(_)
        | TantivyError::IncompatibleIndex(_)
        | TantivyError::IndexAlreadyExists
        | TantivyError::SchemaError(_) => ErrorKind::Configuration,
        TantivyError::ErrorInThread(_)
        | TantivyError::Poisoned
        | TantivyError::SystemError(_)
        | TantivyError::InvalidArgument(_)
        | TantivyError::InternalError(_)
        | TantivyError::AggregationError(_)
        | TantivyError::FieldNotFound(_)
        | TantivyError::IndexBuilderMissingArgument(_)
        | TantivyError::DeserializeError(_)
        | TantivyError::MissingPlugin(_)
        | TantivyError::ConflictingPlugins(_)
        | TantivyError::UnexpectedPlugin(_) => ErrorKind::Internal,
    };
    let mend = if kind == ErrorKind::Configuration { mend(directory, name) } else { String::new() };
    let what = format!("local_index.directory: {doing} {}{mend}", directory.display());
    Error::new(kind, what).with_source(error)
}
