//! The privileges in the schema `outbox`, by who needs them. `deploy/postgres/roles.sql` grants the same, section by section and
//! in the same order, and says what each is for; a test compares the two.

const SELECT: &str = "SELECT";
const INSERT: &str = "INSERT";
const UPDATE: &str = "UPDATE";
const DELETE: &str = "DELETE";
const USAGE: &str = "USAGE";
const EXECUTE: &str = "EXECUTE";

/// What kind of thing a privilege is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The schema itself.
    Schema,
    /// A table in it.
    Table,
    /// A sequence in it.
    Sequence,
    /// All functions in it of this name.
    Function,
}

impl Kind {
    /// As PostgreSQL calls it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::Table => "table",
            Self::Sequence => "sequence",
            Self::Function => "function",
        }
    }
}

/// Privileges on one thing.
#[derive(Debug)]
pub(super) struct Need {
    /// What kind of thing.
    pub(super) kind: Kind,
    /// Its name, without the schema's.
    pub(super) name: &'static str,
    /// What is to be done with it.
    pub(super) privileges: &'static [&'static str],
    /// To which columns; none are named where it is all of them.
    pub(super) columns: &'static [&'static str],
}

impl Need {
    const fn new(kind: Kind, name: &'static str, privileges: &'static [&'static str]) -> Self {
        Self { kind, name, privileges, columns: &[] }
    }

    /// Whether both are about the same.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        self.kind == other.kind && self.name == other.name && self.columns == other.columns
    }

    /// One of its privileges in words, as one reads it in a grant.
    pub(super) fn told(&self, privilege: &str) -> String {
        let columns = if self.columns.is_empty() { String::new() } else { format!(" ({})", self.columns.join(", ")) };
        let name = if self.kind == Kind::Schema { String::new() } else { format!(".{}", self.name) };
        format!("{privilege}{columns} on {} outbox{name}", self.kind.name())
    }
}

const SCHEMA: Need = Need::new(Kind::Schema, "outbox", &[USAGE]);

const fn table(name: &'static str, privileges: &'static [&'static str]) -> Need {
    Need::new(Kind::Table, name, privileges)
}

const fn columns(name: &'static str, privileges: &'static [&'static str], columns: &'static [&'static str]) -> Need {
    Need { columns, ..Need::new(Kind::Table, name, privileges) }
}

const fn sequence(name: &'static str, privileges: &'static [&'static str]) -> Need {
    Need::new(Kind::Sequence, name, privileges)
}

const fn function(name: &'static str) -> Need {
    Need::new(Kind::Function, name, &[EXECUTE])
}

/// Whoever connects: which migrations were applied, a migration lets everybody read.
pub(super) const EVERYBODY: &[Need] = &[SCHEMA, table("migrations", &[SELECT])];

/// `relay`
pub(super) const RELAY: &[Need] = &[
    SCHEMA,
    table("events", &[SELECT]),
    table("subscriptions", &[SELECT, INSERT, UPDATE]),
    table("history", &[SELECT]),
    function("agree_history"),
    function("wake_class"),
    table("snapshots", &[SELECT, INSERT, DELETE]),
    function("note_snapshot"),
    table("dead_letters", &[SELECT, INSERT, UPDATE]),
    table("windows", &[SELECT, INSERT, DELETE]),
    sequence("window_seq", &[USAGE]),
    function("resume"),
    function("passed_window"),
    function("record_window"),
    function("raise_epoch"),
    function("maintain"),
    function("purge_versions"),
    function("empty_leaf"),
    function("retained"),
    function("rewind"),
    function("installed"),
];

/// `indexer`
pub(super) const INDEXER: &[Need] = &[
    SCHEMA,
    table("versions", &[SELECT]),
    table("purged", &[SELECT]),
    table("history", &[SELECT]),
    function("agree_history"),
    table("watches", &[SELECT]),
    function("installed"),
    table("dead_letters", &[SELECT, INSERT, UPDATE]),
];

/// `reconciler`
pub(super) const RECONCILER: &[Need] = &[
    SCHEMA,
    table("versions", &[SELECT]),
    table("purged", &[SELECT]),
    table("history", &[SELECT]),
    function("agree_history"),
    table("watches", &[SELECT]),
    function("installed"),
    table("dead_letters", &[SELECT, INSERT, UPDATE]),
    table("runs", &[SELECT, INSERT, UPDATE]),
    function("raise_versions"),
    table("reindexes", &[SELECT, INSERT, UPDATE]),
    table("subscriptions", &[SELECT, INSERT, UPDATE, DELETE]),
    table("events", &[SELECT]),
    table("snapshots", &[SELECT, INSERT]),
    function("wake_class"),
    function("note_snapshot"),
];

/// `search`
pub(super) const SEARCH: &[Need] =
    &[SCHEMA, table("versions", &[SELECT]), table("history", &[SELECT]), table("purged", &[SELECT]), function("words")];

/// `workspaces`
pub(super) const WORKSPACES: &[Need] = &[
    SCHEMA,
    table("sagas", &[SELECT, UPDATE, DELETE]),
    table("saga_log", &[SELECT, INSERT]),
    function("purge_sagas"),
    table("placements", &[SELECT, INSERT, UPDATE, DELETE]),
    function("create_workspace"),
    function("delete_workspace"),
    function("end_saga_untold"),
];

/// Of dead letters, all but what the message held.
const LETTERS: Need = columns(
    "dead_letters",
    &[SELECT],
    &[
        "id",
        "reader",
        "topic",
        "origin_partition",
        "origin_offset",
        "event_id",
        "key",
        "error_kind",
        "error",
        "attempts",
        "parked_at",
        "claimed_until",
        "announced_at",
    ],
);

/// That people were told of one.
const LETTERS_TOLD: Need = columns("dead_letters", &[UPDATE], &["claimed_until", "announced_at"]);

/// `watch`
pub(super) const WATCH: &[Need] = &[
    table("subscriptions", &[SELECT]),
    columns("events", &[SELECT], &["id", "xid", "topic", "created_at"]),
    table("reindexes", &[SELECT]),
    table("runs", &[SELECT]),
    sequence("events_id_seq", &[SELECT]),
    function("retained"),
    table("leases", &[SELECT, INSERT, UPDATE]),
    LETTERS,
    LETTERS_TOLD,
    table("sagas", &[SELECT]),
    table("saga_log", &[SELECT]),
    table("placements", &[SELECT]),
    table("watches", &[SELECT]),
    function("installed"),
];

/// A part of `watch`: telling people of dead letters.
pub(super) const ALERTS: &[Need] = &[LETTERS, LETTERS_TOLD];

/// `admin`
pub(super) const ADMIN: &[Need] = &[
    SCHEMA,
    table("subscriptions", &[SELECT]),
    table("events", &[SELECT]),
    table("reindexes", &[SELECT]),
    table("runs", &[SELECT]),
    table("sagas", &[SELECT]),
    table("saga_log", &[SELECT]),
    table("placements", &[SELECT]),
    sequence("events_id_seq", &[SELECT]),
    function("retained"),
    function("installed"),
    table("leases", &[SELECT, INSERT, UPDATE]),
    table("dead_letters", &[SELECT, INSERT, UPDATE, DELETE]),
    table("versions", &[SELECT]),
    table("purged", &[SELECT]),
    table("watches", &[SELECT]),
    table("history", &[SELECT]),
    function("agree_history"),
    columns("versions", &[UPDATE], &["updated_at"]),
    function("emit_again"),
];
