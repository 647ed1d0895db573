//! `migrate`: creates or updates the outbox.

use serde::Serialize;
use sync_core::adapter::postgres::{self, rehearse};

use crate::cli::MigrateArgs;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::render;
use crate::wire::Wire;

#[derive(Serialize)]
struct Report<'a> {
    dry_run: bool,
    migrations: &'a [String],
}

/// Applies what is missing, or tells what that would be.
pub(super) async fn migrate(config: &Config, args: &MigrateArgs) -> Result<Exit, Failure> {
    let mut client = Wire::new(config)?.database().client().await?;
    let names = if args.dry_run { rehearse(&client).await? } else { postgres::migrate(&mut client).await? };
    if args.output.json {
        render::json(&Report { dry_run: args.dry_run, migrations: &names })?;
        return Ok(Exit::Success);
    }
    let text = match (names.as_slice(), args.dry_run) {
        ([], _) => "The outbox is up to date.".to_owned(),
        (names, true) => format!("To be applied:\n  {}", names.join("\n  ")),
        (names, false) => format!("Applied:\n  {}", names.join("\n  ")),
    };
    render::text(&text)?;
    Ok(Exit::Success)
}
