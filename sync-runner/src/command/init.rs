//! `init`: writes the documented configuration.

use std::fs::OpenOptions;
use std::io::{self, Write};

use sync_core::{Error, ErrorKind};

use crate::cli::InitArgs;
use crate::config::{DEFAULT_PATH, DOCUMENTED, Problems};
use crate::exit::{Exit, Failure};
use crate::render;

/// Writes it, and says what comes next.
pub(super) fn init(args: &InitArgs) -> Result<Exit, Failure> {
    let path = args.path.display();
    match write(args) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let message = format!("{path} is there already; --force overwrites it, --path writes another");
            return Err(Problems::one("", message).into());
        }
        Err(error) => {
            return Err(Error::new(ErrorKind::Configuration, format!("cannot write {path}")).with_source(error).into());
        }
    }
    let named = if args.path.as_os_str() == DEFAULT_PATH { String::new() } else { format!(" --config {path}") };
    render::text(&format!(
        "Wrote {path}. Set postgres.url there and make the outbox; then watch a table, add its index and see what is \
         missing:\n  sync-runner migrate{named}\n  sync-runner check{named}"
    ))?;
    Ok(Exit::Success)
}

fn write(args: &InitArgs) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true);
    if args.force {
        options.create(true).truncate(true);
    } else {
        // One step, so that a file which appears meanwhile is not overwritten.
        options.create_new(true);
    }
    options.open(&args.path)?.write_all(DOCUMENTED.as_bytes())
}
