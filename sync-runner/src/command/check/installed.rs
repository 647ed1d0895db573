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
    let of_each: Vec<_> = faulty.iter().filter_map(|made| made.told_of_faults()).collect();
    let mend = match faulty.first()?.kind.as_str() {
        kind if faulty.iter().all(|made| made.kind == kind) => format!("outbox.{kind}"),
        _ => "outbox.watch and outbox.route".to_owned(),
    };
    Some(format!("{}; call {mend} again, or enable what is disabled", of_each.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(kind: &str, table: &str, faults: usize) -> Installed {
        let faults = (1..=faults).map(|number| format!("fault {number}")).collect();
        Installed { kind: kind.to_owned(), table: table.to_owned(), topic: "t".to_owned(), faults }
    }

    #[test]
    fn faults_are_told_with_their_table_and_what_mends_them_and_many_are_counted() {
        let told = |made: &[Installed]| faults(&made.iter().collect::<Vec<_>>());
        assert_eq!(told(&[made("watch", "a", 0)]), None);
        let one = told(&[made("watch", "a", 0), made("route", "b", 1)]).unwrap();
        assert_eq!(one, "b: fault 1; call outbox.route again, or enable what is disabled");
        let many = told(&[made("watch", "a", 5), made("route", "b", 1)]).unwrap();
        assert!(many.starts_with("a: fault 1; fault 2; fault 3; and 2 more; b: fault 1; "), "{many}");
        assert!(many.contains("call outbox.watch and outbox.route again"), "{many}");
    }
}
