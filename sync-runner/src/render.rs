//! What is printed on standard output: tables for people, JSON for scripts.

use std::io::{self, ErrorKind, IsTerminal, Write};

use comfy_table::TableStyle;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;
use sync_core::Error;

use crate::exit::Failure;

/// A table without lines, as wide as it needs to be.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(TableStyle::new());
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// A number with what it counts: `1 event`, `2 events`.
pub(crate) fn counted(number: impl Into<u64>, what: &str) -> String {
    match number.into() {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    }
}

/// Prints text and a line end.
///
/// # Errors
/// `Internal` when standard output takes nothing, except that a reader who has gone away has read enough.
pub(crate) fn text(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(internal("writing to standard output", error)),
    }
}

/// Prints a line on standard error, beside what is printed for scripts.
///
/// # Errors
/// `Internal` when standard error takes nothing, except that a reader who has gone away has read enough.
pub(crate) fn note(text: &str) -> Result<(), Error> {
    match writeln!(io::stderr().lock(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(internal("writing to standard error", error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Prints one JSON value on one line.
///
/// # Errors
/// As [`text`].
pub(crate) fn json(value: &impl Serialize) -> Result<(), Error> {
    text(&serde_json::to_string(value).map_err(|error| internal("writing JSON", error))?)
}

/// Prints on standard error why nothing was done.
///
/// # Errors
/// `Internal` when standard error takes nothing.
pub(crate) fn complaint(failure: &Failure) -> Result<(), Error> {
    let mut out = io::stderr().lock();
    writeln!(out, "sync-runner: {failure}").map_err(|error| internal("writing to standard error", error))
}

/// Clears the screen, where there is one.
///
/// # Errors
/// As [`text`].
pub(crate) fn fresh_screen() -> Result<(), Error> {
    if !io::stdout().is_terminal() {
        return Ok(());
    }
    io::stdout().write_all(b"\x1b[2J\x1b[H").map_err(|error| internal("writing to standard output", error))
}

fn internal(doing: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(sync_core::ErrorKind::Internal, doing).with_source(error)
}
