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
    use io::ErrorKind::{InvalidFilename, IsADirectory, NotADirectory, PermissionDenied, ReadOnlyFilesystem};
    if matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem) {
        ErrorKind::Denied
    } else if matches!(error.kind(), NotADirectory | IsADirectory | InvalidFilename) {
        ErrorKind::Configuration
    } else {
        // A disk that is full or does not answer is an outage.
        ErrorKind::Unavailable
    }
}

/// What the index in this directory said.
pub(super) fn of_index(error: TantivyError, doing: &str, directory: &Path) -> Error {
    let kind = match &error {
        TantivyError::IoError(error) => kind_of(error),
        TantivyError::OpenReadError(OpenReadError::IoError { io_error, .. })
        | TantivyError::OpenWriteError(OpenWriteError::IoError { io_error, .. })
        | TantivyError::OpenDirectoryError(
            OpenDirectoryError::IoError { io_error, .. } | OpenDirectoryError::FailedToCreateTempDir(io_error),
        ) => kind_of(io_error),
        TantivyError::LockFailure(..)
        | TantivyError::OpenReadError(OpenReadError::FileDoesNotExist(_))
        | TantivyError::OpenDirectoryError(OpenDirectoryError::DoesNotExist(_))
        | TantivyError::OpenWriteError(OpenWriteError::FileAlreadyExists(_)) => ErrorKind::Unavailable,
        TantivyError::OpenReadError(OpenReadError::IncompatibleIndex(_))
        | TantivyError::OpenDirectoryError(OpenDirectoryError::NotADirectory(_))
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
    let mend =
        if kind == ErrorKind::Configuration { ": it cannot be read; delete it, and fill it by a backfill" } else { "" };
    let what = format!("local_index.directory: {doing} {}{mend}", directory.display());
    Error::new(kind, what).with_source(error)
}
