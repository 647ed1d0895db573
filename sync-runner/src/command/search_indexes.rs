//! `search-indexes`: what makes PostgreSQL quick to search.

use std::collections::BTreeSet;

use serde::Serialize;
use sync_core::adapter::postgres::{Postgres, SearchIndex};
use sync_core::{Error, ErrorKind};

use super::named_index;
use crate::cli::SearchIndexesArgs;
use crate::config::{Config, Index, Problems};
use crate::exit::{Exit, Failure};
use crate::render;
use crate::wire::Wire;

const TRIGRAMS: &str = "create extension if not exists pg_trgm;";

#[derive(Serialize)]
struct Report {
    indexes: Vec<Line>,
    without: Vec<Without>,
}

#[derive(Serialize)]
struct Line {
    index: String,
    name: String,
    purpose: String,
    table: String,
    sql: String,
    there: bool,
}

#[derive(Serialize)]
struct Without {
    index: String,
    field: String,
    why: &'static str,
}

/// Prints them, and creates those that are missing if that is asked for.
pub(super) async fn run(config: &Config, args: &SearchIndexesArgs) -> Result<Exit, Failure> {
    let wire = Wire::new(config)?;
    let chosen: Vec<(&str, &Index)> = match &args.index {
        Some(name) => vec![named_index(config, name)?],
        None => config.indexes.iter().map(|(name, index)| (name.as_str(), index)).collect(),
    };
    let mut report = Report { indexes: Vec::new(), without: Vec::new() };
    for (name, index) in &chosen {
        let Some(searchable) = &index.search else { continue };
        let found = wire.searched_rows(name, index, searchable)?.indexes().await?;
        for missing in found.indexes.iter().filter(|index| args.apply && !index.is_there) {
            if !args.output.json {
                render::text(&format!("creating {} on {}: {}", missing.name, missing.table, missing.purpose))?;
            }
            create(wire.database(), missing).await?;
        }
        let line = |index: SearchIndex| Line {
            index: (*name).to_owned(),
            there: index.is_there || args.apply,
            name: index.name,
            purpose: index.purpose,
            table: index.table,
            sql: if index.needs_trigrams { format!("{TRIGRAMS} {}", index.sql) } else { index.sql },
        };
        report.indexes.extend(found.indexes.into_iter().map(line));
        let without = found.without.into_iter().map(|(field, why)| Without { index: (*name).to_owned(), field, why });
        report.without.extend(without);
    }
    if report.indexes.is_empty() && report.without.is_empty() {
        let what = "no index can be searched: add a section [indexes.NAME.search]";
        return Err(Problems::one("indexes", what).into());
    }
    if args.apply {
        analyze(wire.database(), report.indexes.iter().map(|line| line.table.as_str()).collect()).await?;
    }
    if args.output.json {
        render::json(&report)?
    } else {
        tell(&report, args.apply)?
    }
    Ok(Exit::Success)
}

async fn create(database: &Postgres, index: &SearchIndex) -> Result<(), Error> {
    if index.needs_trigrams {
        execute(database, TRIGRAMS, "search-indexes: pg_trgm is needed for patterns such as web-*").await?;
    }
    let doing = format!("search-indexes: creating {}", index.name);
    // What an earlier try that was ended has left; nobody uses it.
    let broken = format!("drop index concurrently if exists \"{}\"", index.name.replace('"', "\"\""));
    let schema = index.table.rsplit_once('.').map(|(schema, _)| format!("{schema}."));
    let broken = broken.replace("exists ", &format!("exists {}", schema.unwrap_or_default()));
    execute(database, &broken, &doing).await?;
    execute(database, &index.sql, &doing).await
}

/// What is on expressions has statistics only then.
async fn analyze(database: &Postgres, tables: BTreeSet<&str>) -> Result<(), Error> {
    for table in tables {
        execute(database, &format!("analyze {table}"), "search-indexes: looking at what the tables hold").await?;
    }
    Ok(())
}

/// Takes its time.
async fn execute(database: &Postgres, sql: &str, doing: &str) -> Result<(), Error> {
    let client = database.client().await?;
    let failed = |error: tokio_postgres::Error| {
        let said = error.as_db_error().map(|said| format!(": {}", said.message())).unwrap_or_default();
        Error::new(ErrorKind::Configuration, format!("{doing}{said}")).with_source(error)
    };
    let before = client.query_one("select current_setting('statement_timeout')", &[]).await.map_err(failed)?;
    client.batch_execute("set statement_timeout = 0").await.map_err(failed)?;
    let done = client.batch_execute(sql).await.map_err(failed);
    // It goes back to the pool as it was.
    let back = format!("set statement_timeout = '{}'", before.get::<_, String>(0));
    client.batch_execute(&back).await.map_err(failed)?;
    done
}

fn tell(report: &Report, applied: bool) -> Result<(), Error> {
    let mut told = String::new();
    for line in report.indexes.iter().filter(|_| !applied) {
        let there = if line.there { " (there)" } else { "" };
        told += &format!("-- {}: {}{there}\n{}\n", line.index, line.purpose, line.sql);
    }
    for Without { index, field, why } in &report.without {
        told += &format!("-- {index}: none for {field}: {why}\n");
    }
    if applied {
        told += &format!("Indexes that are there: {}.", report.indexes.len());
    }
    render::text(&told)
}
