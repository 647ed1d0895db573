//! What a field has to be.

use std::cmp::Ordering;
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::fields::{FieldKind, Fields};
use super::refused;
use crate::error::Error;

/// A value of a field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// Of a keyword.
    Keyword(String),
    /// Of an integer.
    Integer(i64),
    /// Of a double; finite.
    Double(f64),
    /// Of a date: microseconds since 1970 began, UTC. In a condition, whole milliseconds: an index knows no finer ones.
    Date(i64),
    /// Of a boolean.
    Boolean(bool),
}

impl Value {
    /// Which of two values of one field comes first.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Keyword(one), Self::Keyword(other)) => one.cmp(other),
            (Self::Integer(one), Self::Integer(other)) | (Self::Date(one), Self::Date(other)) => one.cmp(other),
            (Self::Double(one), Self::Double(other)) => one.total_cmp(other),
            (Self::Boolean(one), Self::Boolean(other)) => one.cmp(other),
            // Of one field all values are of one kind.
            (
                Self::Keyword(_) | Self::Integer(_) | Self::Double(_) | Self::Date(_) | Self::Boolean(_),
                Self::Keyword(_) | Self::Integer(_) | Self::Double(_) | Self::Date(_) | Self::Boolean(_),
            ) => Ordering::Equal,
        }
    }

    /// Whether a field of this kind can have it.
    pub(super) fn is_of(&self, kind: FieldKind) -> bool {
        match self {
            Self::Keyword(text) => kind == FieldKind::Keyword && is_text(text),
            Self::Integer(number) => {
                kind == FieldKind::Long || (kind == FieldKind::Integer && i32::try_from(*number).is_ok())
            }
            Self::Double(number) => kind == FieldKind::Double && number.is_finite(),
            Self::Date(micros) => kind == FieldKind::Date && *micros >= FIRST_DATE,
            Self::Boolean(_) => kind == FieldKind::Boolean,
        }
    }
}

/// Whether a database can be asked for it.
pub(super) fn is_text(text: &str) -> bool {
    !text.contains('\0')
}

/// Some four and a half thousand years before our era: earlier ones a database does not have.
const FIRST_DATE: i64 = -2_440_000 * 24 * 3_600 * 1_000_000;

/// The millisecond a moment is in, both in microseconds.
pub(crate) const fn whole_milliseconds(micros: i64) -> i64 {
    micros - micros.rem_euclid(1_000)
}

/// A keyword with gaps: what stands between asterisks, in this order, the first at the beginning and the last at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<String>);

impl Pattern {
    /// What stands between the gaps, either may be empty. Fewer than two parts are refused when it is searched for.
    #[must_use]
    pub fn new(parts: Vec<String>) -> Self {
        Self(parts)
    }

    /// The same.
    #[must_use]
    pub fn parts(&self) -> &[String] {
        &self.0
    }

    /// Whether it fits.
    #[must_use]
    pub fn fits(&self, keyword: &str) -> bool {
        let Some((first, rest)) = self.0.split_first() else { return false };
        let Some(mut left) = keyword.strip_prefix(first.as_str()) else { return false };
        let Some((last, between)) = rest.split_last() else { return left.is_empty() };
        for part in between {
            let Some(at) = left.find(part.as_str()) else { return false };
            left = &left[at + part.len()..];
        }
        left.ends_with(last.as_str())
    }
}

/// What holds of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// It has one of these values. Not for dates.
    OneOf(Vec<Value>),
    /// It lies between them. For numbers and dates.
    Between(Bound<Value>, Bound<Value>),
    /// It fits. For keywords.
    Like(Pattern),
    /// It has any value.
    Present,
}

/// A condition on a field.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    /// The field's name.
    pub field: String,
    /// It must not hold.
    pub is_excluded: bool,
    /// What.
    pub condition: Condition,
}

impl Filter {
    /// How much of a query it is.
    pub(super) fn parts(&self) -> usize {
        match &self.condition {
            Condition::OneOf(values) => values.len().max(1),
            Condition::Like(pattern) => pattern.parts().len(),
            Condition::Between(..) | Condition::Present => 1,
        }
    }

    pub(super) fn check(&self, fields: &Fields) -> Result<(), Error> {
        let name = &self.field;
        let field = fields.get(name)?;
        let is_whole = |value: &Value| !matches!(value, Value::Date(time) if *time != whole_milliseconds(*time));
        let fits = |value: &Value| value.is_of(field.kind) && is_whole(value);
        let ok = match &self.condition {
            Condition::OneOf(values) => field.kind != FieldKind::Date && !values.is_empty() && values.iter().all(fits),
            Condition::Between(from, to) => {
                let ends = [from, to].map(end);
                matches!(field.kind, FieldKind::Integer | FieldKind::Long | FieldKind::Double | FieldKind::Date)
                    && !field.is_many
                    && ends.iter().flatten().all(|value| fits(value))
                    && ends.iter().any(Option::is_some)
            }
            Condition::Like(pattern) => {
                let parts = pattern.parts();
                field.kind == FieldKind::Keyword
                    && !field.is_many
                    && parts.len() > 1
                    && parts.iter().all(|part| is_text(part))
            }
            Condition::Present => true,
        };
        let expected = field.expected();
        if ok { Ok(()) } else { Err(refused(format!("{name}: {expected}"))) }
    }
}

fn end(bound: &Bound<Value>) -> Option<&Value> {
    match bound {
        Bound::Included(value) | Bound::Excluded(value) => Some(value),
        Bound::Unbounded => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_what_has_its_parts_in_their_order() {
        let fits =
            |pattern: &str, keyword: &str| Pattern::new(pattern.split('*').map(str::to_owned).collect()).fits(keyword);
        for (pattern, keyword) in [
            ("*", ""),
            ("a*", "a"),
            ("a*", "ab"),
            ("*b", "ab"),
            ("*a*", "bab"),
            ("a*b*c", "a1b2c"),
            ("a*a", "aa"),
            ("*%*", "5%"),
        ] {
            assert!(fits(pattern, keyword), "{pattern} {keyword}");
        }
        for (pattern, keyword) in
            [("a*", "ba"), ("*b", "ba"), ("a*a", "a"), ("a*b*c", "acb"), ("a*b*b", "ab"), ("*%*", "5"), ("A*", "a")]
        {
            assert!(!fits(pattern, keyword), "{pattern} {keyword}");
        }
    }
}
