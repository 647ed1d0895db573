//! `search-indexes`: what makes PostgreSQL quick to search.

use std::collections::BTreeSet;

use serde::Serialize;
use sync_core::Error;
use sync_core::adapter::postgres::SearchIndex;

use super::named_index;
use crate::cli::SearchIndexesArgs;
use crate::config::{Config, Index, Problems};
use crate::exit::{Exit, Failure};
use crate::render;
use crate::wire::Wire;

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
        let rows = wire.searched_rows(name, index, searchable)?;
        let found = rows.indexes().await?;
        for missing in found.indexes.iter().filter(|index| args.apply && !index.is_there) {
            if !args.output.json {
                render::text(&format!("creating {} on {}: {}", missing.name, missing.table, missing.purpose))?;
            }
            rows.create(missing).await?;
        }
        let tables: BTreeSet<&str> = found.indexes.iter().map(|index| index.table.as_str()).collect();
        for table in tables.into_iter().filter(|_| args.apply) {
            rows.analyze(table).await?;
        }
        let line = |index: SearchIndex| Line {
            index: (*name).to_owned(),
            there: index.is_there || args.apply,
            name: index.name,
            purpose: index.purpose,
            table: index.table,
            sql: index.before.into_iter().chain([index.sql.as_str()]).collect::<Vec<_>>().join(" "),
        };
        report.indexes.extend(found.indexes.into_iter().map(line));
        let without = found.without.into_iter().map(|(field, why)| Without { index: (*name).to_owned(), field, why });
        report.without.extend(without);
    }
    if report.indexes.is_empty() && report.without.is_empty() {
        let what = "no index can be searched: add a section [indexes.NAME.search]";
        return Err(Problems::one("indexes", what).into());
    }
    if args.output.json {
        render::json(&report)?
    } else {
        tell(&report, args.apply)?
    }
    Ok(Exit::Success)
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
