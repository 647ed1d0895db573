//! Checks of what writes events: the tables that are watched and routed, and whether their triggers still see them.

use std::collections::BTreeMap;

use sync_core::adapter::postgres::Postgres;
use sync_core::{Error, ErrorKind};

use super::finding::Finding;
use crate::config::Index;
use crate::outbox::{self, Installed};

/// Of each index what writes to its topic; then what writes to others, where there is any.
pub(super) async fn check(database: &Postgres, indexes: &BTreeMap<String, Index>) -> Vec<Finding> {
    let installed = match outbox::installed(database).await {
        Ok(installed) => installed,
        Err(error) => return vec![Finding::failed("postgres", "watched", &error)],
    };
    let to = |topic: &str| installed.iter().filter(|made| made.topic == topic).collect::<Vec<_>>();
    let of_indexes = indexes.iter().map(|(name, index)| of_index(name, &index.topic, &to(&index.topic)));
    let others = installed.iter().filter(|made| indexes.values().all(|index| index.topic != made.topic)).collect();
    of_indexes.chain(of_others(others)).collect()
}

fn of_index(name: &str, topic: &str, made: &[&Installed]) -> Finding {
    let part = format!("indexes.{name}");
    if made.is_empty() {
        let found = format!(
            "no table is watched for topic {topic:?}: only what calls outbox.emit reaches the index; outbox.watch adds a \
             table"
        );
        return Finding::warning(part, "watched", found);
    }
    if let Some(faults) = faults(made) {
        let what = format!("topic {topic:?}: {faults}; `sync-runner reconcile {name} --full` finds what was missed");
        return Finding::failed(part, "watched", &Error::new(ErrorKind::Configuration, what));
    }
    let tables: Vec<_> = made.iter().map(|made| made.table.as_str()).collect();
    Finding::ok(part, "watched", format!("topic {topic:?}: {}", tables.join(", ")))
}

/// The topics of routes are mostly of this kind: made of what their rows hold.
fn of_others(made: Vec<&Installed>) -> Option<Finding> {
    if made.is_empty() {
        return None;
    }
    if let Some(faults) = faults(&made) {
        let what = format!("{faults}; what was written meanwhile is no event until it is written again");
        return Some(Finding::failed("postgres", "watched", &Error::new(ErrorKind::Configuration, what)));
    }
    let each: Vec<_> = made.iter().map(|made| format!("{} to topic {:?}", made.table, made.topic)).collect();
    Some(Finding::ok("postgres", "watched", each.join(", ")))
}

/// All that is wrong with these, each with its table, and what mends it.
fn faults(made: &[&Installed]) -> Option<String> {
    let faulty: Vec<_> = made.iter().filter(|made| !made.faults.is_empty()).collect();
    let of_each: Vec<_> = faulty.iter().map(|made| format!("{}: {}", made.table, made.faults.join("; "))).collect();
    let mend = match faulty.first()?.kind.as_str() {
        kind if faulty.iter().all(|made| made.kind == kind) => format!("outbox.{kind}"),
        _ => "outbox.watch and outbox.route".to_owned(),
    };
    Some(format!("{}; call {mend} again, or enable what is disabled", of_each.join("; ")))
}
