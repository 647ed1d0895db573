//! Checks of PostgreSQL: the server, the outbox in it, and what each index reads from it.

use serde_json::Value;
use sync_core::adapter::postgres::{Postgres, SearchIndexes, pending};
use sync_core::{Error, ErrorKind, Remedy};

use super::super::run::older;
use super::any;
use super::document::{has_field, refused_fields};
use super::finding::Finding;
use super::installed;
use crate::cli::RoleName;
use crate::config::{Config, Index, Searchable, SyncedAt};
use crate::outbox;
use crate::outbox::privileges::{self, Part};
use crate::wire::Wire;

const PRIMARY: &str = "name its primary, which alone takes writes";
const PRIMARY_OF_SEVERAL: &str = "add target_session_attrs=read-write to the URL, which finds the primary";

const GRANT: &str = "grant it: deploy/postgres/roles.sql";

/// Clocks that differ by more, in seconds, are told of.
const MOST_SKEW: f64 = 1.0;

/// The roles that read the rows of an index.
const READING: [RoleName; 3] = [RoleName::Indexer, RoleName::Reconciler, RoleName::Search];

/// Those that note in the rows of an index that they are in it.
const NOTING: [RoleName; 3] = [RoleName::Indexer, RoleName::Reconciler, RoleName::Admin];

/// Those that may see what is watched and routed.
const SEEING_WATCHES: [RoleName; 4] = [RoleName::Relay, RoleName::Indexer, RoleName::Reconciler, RoleName::Admin];

/// The server first; what it holds only when it is one we can work with.
pub(super) async fn check(config: &Config, wire: &Wire<'_>, roles: &[RoleName]) -> Vec<Finding> {
    let database = wire.database();
    let mut findings = Vec::new();
    let user = match server(database, config, &mut findings).await {
        Ok(user) => user,
        Err(error) => {
            findings.push(Finding::failed("postgres", "server", &error));
            return findings;
        }
    };
    findings.push(clock(database).await);
    let usable = match outbox(database, &user, config, roles).await {
        Ok(told) => {
            findings.extend(told);
            true
        }
        Err(error) => {
            findings.push(Finding::failed("postgres", "outbox", &error));
            false
        }
    };
    for (name, index) in config.indexes.iter().filter(|_| usable) {
        if any(roles, &READING) {
            findings.push(projection(wire, name, index, any(roles, &NOTING)).await);
        }
        if any(roles, &NOTING) {
            findings.extend(noted(database, &user, name, index).await);
        }
        if let (Some(searchable), true) = (&index.search, roles.contains(&RoleName::Search)) {
            findings.extend(searched(config, wire, name, index, searchable).await);
        }
    }
    if usable && any(roles, &SEEING_WATCHES) {
        findings.extend(installed::check(database, &config.indexes).await);
    }
    findings
}

/// Whether the rows of an index can be searched when the index is away.
async fn searched(
    config: &Config,
    wire: &Wire<'_>,
    name: &str,
    index: &Index,
    searchable: &Searchable,
) -> Vec<Finding> {
    let part = || format!("indexes.{name}");
    let rows = match wire.searched_rows(name, index, searchable) {
        Ok(rows) => rows,
        Err(error) => return vec![Finding::failed(part(), "search", &error)],
    };
    let mut findings = vec![match rows.indexes().await {
        Ok(SearchIndexes { indexes, .. }) => {
            let missing = indexes.iter().filter(|index| !index.is_there).count();
            if missing == 0 {
                Finding::ok(part(), "search", "the projection has every field, PostgreSQL the indexes for them")
            } else {
                let found = format!(
                    "of {} indexes that make PostgreSQL quick to search, {missing} are missing: `sync-runner search-indexes \
                     {name}`",
                    indexes.len()
                );
                Finding::warning(part(), "search", found)
            }
        }
        Err(error) => Finding::failed(part(), "search", &error),
    }];
    for (url, tried) in config.search.postgres.replicas.iter().zip(rows.check_replicas().await) {
        findings.push(match tried {
            Ok(()) => Finding::ok("search.postgres", "replica", format!("{}: can be searched", url.shown())),
            Err(error) => {
                let error = Error::new(error.kind(), format!("{}: {error}", url.shown()));
                Finding::failed("search.postgres", "replica", &error)
            }
        });
    }
    findings
}

/// Says who we are there.
async fn server(database: &Postgres, config: &Config, findings: &mut Vec<Finding>) -> Result<String, Error> {
    let shown = config.postgres.url.shown();
    let server = outbox::server(database).await.map_err(|error| {
        if error.kind() != ErrorKind::Unavailable {
            return error;
        }
        Error::new(error.kind(), format!("{error}; check that {shown} is right and that the server is up"))
    })?;
    if server.major < outbox::OLDEST_VERSION {
        let what = format!(
            "postgres.url: the server is PostgreSQL {}; the outbox needs {} or later",
            server.version,
            outbox::OLDEST_VERSION
        );
        return Err(Error::new(ErrorKind::Configuration, what));
    }
    if server.standby {
        let mend = if config.postgres.url.may_find_a_standby() { PRIMARY_OF_SEVERAL } else { PRIMARY };
        let what = format!("postgres.url: the server that answered is a standby; {mend}");
        return Err(Error::new(ErrorKind::Configuration, what));
    }
    let tls = if server.tls { "over TLS" } else { "not encrypted" };
    let found = format!(
        "{shown}: PostgreSQL {}, primary, database {} as {}, {tls}",
        server.version, server.database, server.user
    );
    findings.push(if config.postgres.url.may_find_a_standby() {
        Finding::warning(
            "postgres",
            "server",
            format!("{found}; after a fail-over a standby may answer: {PRIMARY_OF_SEVERAL}"),
        )
    } else {
        Finding::ok("postgres", "server", found)
    });
    Ok(server.user)
}

/// Whether latencies, and how old things are, can be told.
async fn clock(database: &Postgres) -> Finding {
    match outbox::clock_skew(database).await {
        Ok(skew) => skew_of(skew),
        Err(error) => Finding::failed("postgres", "clock", &error),
    }
}

fn skew_of(seconds: f64) -> Finding {
    if seconds.abs() <= MOST_SKEW {
        return Finding::ok("postgres", "clock", "this machine's and the server's agree");
    }
    let side = if seconds > 0.0 { "ahead of" } else { "behind" };
    let found = format!(
        "this machine's is {:.1} s {side} the server's: latencies and lags are told wrongly by that; leases are not, they go by \
         the server's. Let both follow one time server (NTP)",
        seconds.abs()
    );
    Finding::warning("postgres", "clock", found)
}

/// Whether the outbox is all there, and this user may do there what the roles need.
async fn outbox(database: &Postgres, user: &str, config: &Config, roles: &[RoleName]) -> Result<Vec<Finding>, Error> {
    let client = database.client().await?;
    let pending = pending(&client).await;
    drop(client);
    let unread = match pending {
        Ok(pending) if pending.is_empty() => None,
        Ok(pending) => return Err(older(&pending)),
        // What is missing says it better, in most cases.
        Err(error) if error.kind() == ErrorKind::Denied => Some(error),
        Err(error) => return Err(error),
    };
    let missing = privileges::missing(database, &Part::of(config, roles)).await?;
    if !missing.is_empty() {
        let what = format!("postgres.url: the user {user} may not {}; {GRANT}", missing.join(", "));
        return Err(Error::new(ErrorKind::Denied, what));
    }
    if let Some(error) = unread {
        return Err(error);
    }
    let names: Vec<_> = roles.iter().map(|role| role.name()).collect();
    let found = format!("migrated; {user} may do there what these roles need: {}", names.join(", "));
    let mut findings = vec![Finding::ok("postgres", "outbox", found)];
    if roles.contains(&RoleName::Admin) {
        // Beside another role it is often meant to be so.
        let missing = privileges::missing(database, &[Part::Admin]).await?;
        if !missing.is_empty() {
            let found = format!(
                "dead letters cannot be tried again or discarded here: the user {user} may not {}; where they are to be, {GRANT}",
                missing.join(", ")
            );
            findings.push(Finding::warning("postgres", "letters", found));
        }
    }
    Ok(findings)
}

/// Whether the projection runs, and makes documents that fit.
async fn projection(wire: &Wire<'_>, name: &str, index: &Index, notes: bool) -> Finding {
    let part = format!("indexes.{name}");
    let projection = if notes { wire.projection(name, index) } else { wire.read_projection(name, index) };
    if let Err(error) = projection.check().await {
        return Finding::failed(part, "projection", &error);
    }
    let runs = format!("{} runs", index.projection.path.display());
    match projection.sample().await {
        Ok(document) => match document.and_then(|document| misfit(name, index, &document)) {
            Some(error) => Finding::failed(part, "projection", &error),
            None => Finding::ok(part, "projection", runs),
        },
        // To find any row may take long where many make one document.
        Err(error) if error.remedy() == Remedy::Retry => {
            Finding::ok(part, "projection", format!("{runs}; no document of it was looked at, which takes too long"))
        }
        Err(error) if error.remedy() == Remedy::Park => {
            Finding::warning(part, "projection", format!("{runs}, and not for every row: {error}"))
        }
        Err(error) => Finding::failed(part, "projection", &error),
    }
}

/// Whether the rows may be told that they are in the index, where they are to be.
async fn noted(database: &Postgres, user: &str, name: &str, index: &Index) -> Option<Finding> {
    let SyncedAt { table, key, column } = index.synced_at.as_ref()?;
    let part = format!("indexes.{name}");
    Some(match outbox::missing_to_note(database, table, key, column).await {
        Ok(missing) if missing.is_empty() => Finding::ok(part, "synced_at", format!("{column} of {table} can be set")),
        Ok(missing) => {
            let what = format!("indexes.{name}.synced_at: the user {user} lacks {}; grant it", missing.join(", "));
            Finding::failed(part, "synced_at", &Error::new(ErrorKind::Denied, what))
        }
        Err(error) => Finding::failed(part, "synced_at", &error),
    })
}

/// What of a document does not fit the rest that is configured.
fn misfit(name: &str, index: &Index, document: &str) -> Option<Error> {
    let document: Value = serde_json::from_str(document).ok()?;
    let wrong = |what: String| Some(Error::new(ErrorKind::Configuration, format!("indexes.{name}.projection: {what}")));
    let refused = refused_fields(index.mapping_text(), &document);
    if !refused.is_empty() {
        return wrong(format!(
            "its documents have fields that the mapping does not take (\"dynamic\": \"strict\"): {}; add them to the mapping, or \
             leave them out",
            refused.join(", ")
        ));
    }
    let key = index.search.as_ref()?.fields.key();
    if !has_field(&document, key) {
        return wrong(format!("its documents have no field {key:?}, which indexes.{name}.search.key names; add it"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn clocks_that_differ_are_told_with_the_side_and_by_how_much() {
        assert_eq!(skew_of(-0.9).verdict, Verdict::Ok);
        for (seconds, told) in [(2.5, "2.5 s ahead of"), (-70.0, "70.0 s behind")] {
            let finding = skew_of(seconds);
            assert_eq!(finding.verdict, Verdict::Warning);
            assert!(finding.cells()[3].contains(told), "{finding:?}");
        }
    }
}
