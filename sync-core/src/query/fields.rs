//! The fields that can be searched.

use std::collections::BTreeMap;

use super::{Order, mapping, refused};
use crate::error::Error;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Text that is one value: a status, a tag, a name of a host.
    Keyword,
    /// A whole number of 32 bits.
    Integer,
    /// A whole number of 64 bits.
    Long,
    /// A number.
    Double,
    /// A moment.
    Date,
    /// `true` or `false`.
    Boolean,
}

/// A field that can be filtered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// What it holds.
    pub kind: FieldKind,
    /// Several of them in one document; they give no order and no range.
    pub is_many: bool,
}

impl Field {
    /// How a condition on it is written.
    pub(super) const fn expected(self) -> &'static str {
        match (self.kind, self.is_many) {
            (FieldKind::Keyword, false) => {
                "expected a value, several with commas, a pattern such as web-*, or * for any"
            }
            (FieldKind::Keyword, true) => "expected a value, several with commas, or * for any",
            (FieldKind::Integer | FieldKind::Long, false) => {
                "expected a whole number such as 3, several with commas, a range such as >=3 or 1..5, or *"
            }
            (FieldKind::Integer | FieldKind::Long, true) => {
                "expected a whole number such as 3, several with commas, or *"
            }
            (FieldKind::Double, false) => {
                "expected a number such as 1.5, several with commas, a range such as >=1.5 or 1..2, or *"
            }
            (FieldKind::Double, true) => "expected a number such as 1.5, several with commas, or *",
            (FieldKind::Date, false) => {
                "expected a date such as 2026-01-31 or 2026-01-31T08:00:00Z, a range such as >=2026-01-31 or \
                 2026-01-01..2026-01-31, or *"
            }
            (FieldKind::Date, true) => "only whether it has a date can be asked, by *",
            (FieldKind::Boolean, _) => "expected true, false or *",
        }
    }
}

/// A field whose words are looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct TextField {
    /// Its name.
    pub name: String,
    /// How much a word found there counts beside others; positive.
    pub weight: f32,
}

/// The fields of an index that can be searched.
#[derive(Clone, Debug, PartialEq)]
pub struct Fields {
    pub(super) key: String,
    pub(super) text: Vec<TextField>,
    pub(super) others: BTreeMap<String, Field>,
    pub(super) order: Order,
}

/// What of a mapping can be searched.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldNames {
    /// The keyword that holds the document's key.
    pub key: String,
    /// Fields of type `text`, each with its weight behind it if that is not 1: `title^3`; none unless said.
    pub text: Vec<String>,
    /// Fields to filter by; none unless said. With `[]` behind its name one that has several values in a document:
    /// `tags[]`.
    pub fields: Vec<String>,
    /// The order when none is asked for, such as `-created_at`; by key unless said.
    pub order: Option<String>,
}

impl FieldNames {
    /// Documents with their key in this keyword; nothing else can be searched yet.
    #[must_use]
    pub fn new(key: impl Into<String>) -> Self {
        Self { key: key.into(), text: Vec::new(), fields: Vec::new(), order: None }
    }

    /// The same with these [`text`](#structfield.text) fields.
    #[must_use]
    pub fn text(mut self, text: impl IntoIterator<Item: Into<String>>) -> Self {
        self.text = text.into_iter().map(Into::into).collect();
        self
    }

    /// The same with these [`fields`](#structfield.fields) to filter by.
    #[must_use]
    pub fn fields(mut self, fields: impl IntoIterator<Item: Into<String>>) -> Self {
        self.fields = fields.into_iter().map(Into::into).collect();
        self
    }
}

setters! {
    FieldNames {
        order: some String,
    }
}

impl Fields {
    /// What the mapping of an index (JSON text, as for "create index") says of these fields.
    ///
    /// # Errors
    /// `Configuration`, beginning with the name of the one in [`FieldNames`] that is wrong.
    pub fn of_mapping(mapping: &str, names: &FieldNames) -> Result<Self, Error> {
        mapping::read(mapping, names)
    }

    /// The field that holds the key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Where words are looked for.
    #[must_use]
    pub fn text(&self) -> &[TextField] {
        &self.text
    }

    /// All others by name, the one with the key among them.
    #[must_use]
    pub const fn filterable(&self) -> &BTreeMap<String, Field> {
        &self.others
    }

    /// The order when none is asked for.
    #[must_use]
    pub const fn order(&self) -> &Order {
        &self.order
    }

    /// A field to filter by.
    ///
    /// # Errors
    /// `Refused` when there is none of that name, naming those there are.
    pub fn get(&self, name: &str) -> Result<Field, Error> {
        self.others.get(name).copied().ok_or_else(|| {
            let there: Vec<_> = self.others.keys().map(String::as_str).collect();
            refused(format!("there is no field {name:?} to filter or sort by; there are {}", there.join(", ")))
        })
    }
}
