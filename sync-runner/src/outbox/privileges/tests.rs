//! What is asked for is what `deploy/postgres/roles.sql` grants.

use std::collections::BTreeSet;

use super::needs::Kind;
use super::*;

const ROLES_SQL: &str = include_str!("../../../../deploy/postgres/roles.sql");

const SECTIONS: [Part; 7] =
    [Part::Relay, Part::Indexer, Part::Reconciler, Part::Search, Part::Workspaces, Part::Watch, Part::Admin];

/// What stands between commas that are not inside of parentheses.
fn listed(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if c == ',' && depth == 0 {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts.iter().map(|part| part.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Each privilege of a grant, in the words of [`Need::told`].
fn granted_by(statement: &str, section: &str) -> Vec<String> {
    let (privileges, rest) = statement.strip_prefix("grant ").unwrap().split_once(" on ").unwrap();
    let (objects, to) = rest.split_once(" to ").unwrap();
    assert_eq!(to, format!(":\"{section}\";"), "{statement}");
    let kinds = [Kind::Schema, Kind::Sequence, Kind::Function].map(Kind::name);
    let named = kinds.iter().find_map(|kind| Some((*kind, objects.strip_prefix(kind)?)));
    let (kind, objects) = named.unwrap_or((Kind::Table.name(), objects));
    let mut all = Vec::new();
    for privilege in listed(privileges) {
        let (word, columns) = privilege.split_once(' ').unwrap_or((privilege.as_str(), ""));
        let columns = if columns.is_empty() { String::new() } else { format!(" {columns}") };
        for object in listed(objects) {
            // Of a function, without its arguments.
            let name = object.split('(').next().unwrap();
            all.push(format!("{}{columns} on {kind} {name}", word.to_uppercase()));
        }
    }
    all
}

/// All that roles.sql grants in a section.
fn granted(section: &str) -> BTreeSet<String> {
    let begin = format!("\\if :{{?{section}}}\n");
    let (text, _) = ROLES_SQL.split_once(&begin).unwrap().1.split_once("\\endif").unwrap();
    let lines = text.lines().map(|line| line.split("--").next().unwrap_or_default().trim());
    let text = lines.collect::<Vec<_>>().join(" ");
    let statements = text.split_inclusive(';').map(str::trim).filter(|statement| !statement.is_empty());
    statements.flat_map(|statement| granted_by(statement, section)).collect()
}

fn needed(part: Part) -> BTreeSet<String> {
    part.needs().iter().flat_map(|need| need.privileges.iter().map(|privilege| need.told(privilege))).collect()
}

#[test]
fn what_is_asked_for_is_what_the_shipped_roles_are_granted() {
    for part in SECTIONS {
        assert_eq!(needed(part), granted(part.name()), "{}", part.name());
    }
    let sections: Vec<_> =
        ROLES_SQL.lines().filter_map(|line| line.strip_prefix("\\if :{?")?.strip_suffix('}')).collect();
    let known: Vec<_> = SECTIONS.iter().map(|part| part.name()).chain(["writer"]).collect();
    assert_eq!(sections, known);
    assert!(needed(Part::Alerts).is_subset(&needed(Part::Watch)));
}

#[test]
fn a_privilege_that_several_need_is_told_once_with_all_of_them() {
    let told: Vec<_> = wanted(&[Part::Relay, Part::Search]).iter().map(Wanted::told).collect();
    assert_eq!(
        told[..2],
        ["USAGE on schema outbox (relay, search)", "SELECT on table outbox.migrations (relay, search)"]
    );
    assert!(told.contains(&"USAGE on sequence outbox.window_seq (relay)".to_owned()), "{told:?}");
    assert!(told.contains(&"SELECT on table outbox.history (relay, search)".to_owned()), "{told:?}");
    assert!(told.contains(&"EXECUTE on function outbox.words (search)".to_owned()), "{told:?}");
}
