//! Where a page ended.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::condition::{Value, is_text};
use super::fields::Fields;
use super::{MAX_DEPTH, Order, Query, refused};
use crate::error::Error;

/// Where a page ended, for the next one to go on: after a document's place in the order, which stays where it is whatever
/// is written meanwhile. An index' relevance is no such place, because it changes with what else there is: there it is
/// only a number of documents. By relevance nobody can go on with what another began; it begins anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    /// Who gave it.
    pub by: String,
    /// The order the page was in.
    pub order: Order,
    /// Documents there were up to here.
    pub depth: usize,
    /// Where it ended.
    pub place: Place,
}

/// A place in an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// After so many.
    Depth,
    /// Behind this document.
    After {
        /// Its value in the order; `None`: it has none.
        value: Option<Value>,
        /// Its key.
        key: String,
    },
}

impl Cursor {
    /// Reads what was written.
    ///
    /// # Errors
    /// `Refused` when it is no cursor.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let no_cursor = || refused("cursor: this is none; use `next` of an answer as it is, or leave it out");
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| no_cursor())?;
        serde_json::from_slice(&bytes).map_err(|_| no_cursor())
    }

    pub(super) fn check(&self, query: &Query, fields: &Fields) -> Result<(), Error> {
        let asked = query.order_in(fields);
        // Where too much is found to be ranked, a search goes on in the order there is without relevance.
        if self.order != asked && !(asked == Order::Relevance && self.order == *fields.order()) {
            return Err(refused(format!("cursor: it is of a search in the order {}, not {asked}", self.order)));
        }
        let foreign = || refused("cursor: it is of another search; leave it out");
        if let Place::After { value, key } = &self.place {
            let fits = match (value, &self.order) {
                (None, Order::By { .. }) => true,
                (Some(value), Order::By { field, .. }) => value.is_of(fields.get(field)?.kind),
                (value, Order::Relevance) => matches!(value, Some(Value::Double(_))),
            };
            if !fits || !is_text(key) {
                return Err(foreign());
            }
        }
        if self.place == Place::Depth && self.depth >= MAX_DEPTH {
            let what = format!(
                "cursor: an order by relevance can be followed {MAX_DEPTH} documents deep; narrow the search, or sort by a field"
            );
            return Err(refused(what));
        }
        Ok(())
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of text and numbers, which are always written.
        let written = serde_json::to_vec(self).map_err(|_| fmt::Error)?;
        f.write_str(&URL_SAFE_NO_PAD.encode(written))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_nothing_else_is() {
        let places = [
            Place::Depth,
            Place::After { value: Some(Value::Date(1_769_846_400_123_456)), key: "größe".into() },
            Place::After { value: Some(Value::Double(0.1)), key: String::new() },
            Place::After { value: None, key: "a".into() },
        ];
        for place in places {
            let cursor = Cursor { by: "memory".into(), order: Order::parse("-n"), depth: 20, place };
            let written = cursor.to_string();
            assert!(written.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'), "{written}");
            assert_eq!(Cursor::parse(&written).unwrap(), cursor);
            assert_eq!(Cursor::parse(&written[1..]).unwrap_err().kind(), ErrorKind::Refused);
        }
        for text in ["", "e30", "bnVsbA", "?", "größe"] {
            assert_eq!(Cursor::parse(text).unwrap_err().kind(), ErrorKind::Refused, "{text}");
        }
    }
}
