//! What `GET /search` is asked.

use sync_core::query::{Cursor, Fields, Order, Query, Wrote};
use sync_core::{Error, ErrorKind};

/// The longest text that is searched for, in bytes.
const MAX_TEXT: usize = 2_000;

const KNOWN: [&str; 7] = ["q", "index", "sort", "facets", "limit", "cursor", "wrote"];

/// The parameters as they were given, each known.
#[derive(Debug, Default)]
pub(super) struct Parameters(Vec<(String, String)>);

fn refused(what: String) -> Error {
    Error::new(ErrorKind::Refused, what)
}

impl Parameters {
    /// Reads the part of an address behind the question mark.
    pub(super) fn read(query: &str) -> Result<Self, Error> {
        let given: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        for (place, (name, _)) in given.iter().enumerate() {
            if !KNOWN.contains(&name.as_str()) {
                return Err(refused(format!("unknown parameter {name:?}; there are {}", KNOWN.join(", "))));
            }
            let is_twice = given[..place].iter().any(|(other, _)| other == name);
            if is_twice && name != "wrote" {
                return Err(refused(format!("{name} is given twice")));
            }
        }
        Ok(Self(given))
    }

    /// The value of one, unless it is empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// What they ask of these fields.
    pub(super) fn query(&self, fields: &Fields) -> Result<Query, Error> {
        let text = self.get("q").unwrap_or_default();
        if text.len() > MAX_TEXT {
            return Err(refused(format!("q: has {} bytes, more than {MAX_TEXT}", text.len())));
        }
        let mut query = Query::parse(text, fields)?;
        query.order = self.get("sort").map(Order::parse);
        query.facets =
            self.get("facets").map(|names| names.split(',').map(str::to_owned).collect()).unwrap_or_default();
        if let Some(limit) = self.get("limit") {
            query.limit = limit.parse().map_err(|_| refused(format!("limit: {limit:?} is no whole number")))?;
        }
        query.after = self.get("cursor").map(Cursor::parse).transpose()?;
        let wrote = self.0.iter().filter(|(name, value)| name == "wrote" && !value.is_empty());
        query.wrote = wrote.map(|(_, value)| Wrote::parse(value)).collect();
        query.check(fields)?;
        Ok(query)
    }
}

#[cfg(test)]
mod tests {
    use sync_core::query::FieldNames;

    use super::*;

    fn fields() -> Fields {
        let mapping = r#"{"mappings":{"properties":{"id":{"type":"keyword"},"n":{"type":"integer"}}}}"#;
        let names = FieldNames::new("id").fields(["n"]);
        Fields::of_mapping(mapping, &names).unwrap()
    }

    fn read(query: &str) -> Result<Query, Error> {
        Parameters::read(query)?.query(&fields())
    }

    #[test]
    fn parameters_are_read_into_a_query() {
        let query = read("q=n%3A%3E%3D3&sort=-n&facets=id&limit=5&wrote=a%407&wrote=b").unwrap();
        assert_eq!((query.filters.len(), query.limit, query.facets), (1, 5, vec!["id".to_owned()]));
        assert_eq!(query.order, Some(Order::parse("-n")));
        assert_eq!(query.wrote, [Wrote::parse("a@7"), Wrote::parse("b")]);
        assert_eq!(read("").unwrap(), Query { limit: 20, ..Query::default() });
        assert_eq!(read("q=&cursor=&sort=").unwrap(), Query::default());
    }

    #[test]
    fn what_cannot_be_asked_is_refused_by_name() {
        let long = format!("q={}", "x".repeat(2_001));
        for (query, told) in [
            ("query=x", "unknown parameter \"query\""),
            ("limit=1&limit=2", "limit is given twice"),
            ("limit=x", "limit: \"x\""),
            ("limit=1000", "limit: 1000"),
            ("cursor=x", "cursor: this is none"),
            ("sort=none", "there is no field \"none\""),
            (&long, "q: has 2001 bytes"),
        ] {
            let error = read(query).unwrap_err();
            assert!(error.kind() == ErrorKind::Refused && error.to_string().contains(told), "{query}: {error}");
        }
    }
}
