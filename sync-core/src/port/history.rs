//! Which history of the database something belongs to.

/// A time in which the positions and versions of one database can be compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct History {
    /// Its number, the upper half of every version.
    pub epoch: i32,
    /// What tells it from one to which another copy of the database gave the same number.
    pub token: String,
}
