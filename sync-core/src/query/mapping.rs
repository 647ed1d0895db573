//! Which fields there are, as an index' mapping says.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Order;
use super::fields::{Field, FieldKind, FieldNames, Fields, TextField};
use crate::error::{Error, ErrorKind};

fn wrong(setting: &str, what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Configuration, format!("{setting}: {what}"))
}

pub(super) fn read(mapping: &str, names: &FieldNames) -> Result<Fields, Error> {
    let mapping: Map<String, Value> =
        serde_json::from_str(mapping).map_err(|error| wrong("mapping", "is not a JSON object").with_source(error))?;
    let properties = mapping.get("mappings").and_then(|mappings| mappings.get("properties"));
    let mut text: Vec<TextField> = Vec::with_capacity(names.text.len());
    for written in &names.text {
        let (name, weight) = match written.split_once('^') {
            Some((name, weight)) => {
                (name, weight.parse().ok().filter(|weight: &f32| *weight > 0.0 && weight.is_finite()))
            }
            None => (written.as_str(), Some(1.0)),
        };
        if text.iter().any(|other| other.name == name) {
            return Err(wrong("text", format!("{name} is named twice")));
        }
        let weight = weight.ok_or_else(|| wrong("text", format!("{written:?}: the weight is a positive number")))?;
        match type_of(find(properties, name, "text")?) {
            "text" => text.push(TextField { name: name.to_owned(), weight }),
            other => {
                return Err(wrong("text", format!("{name} is of type {other}; only text is looked into by words")));
            }
        }
    }
    let mut others = BTreeMap::new();
    for written in &names.fields {
        let (name, is_many) = written.strip_suffix("[]").map_or((written.as_str(), false), |name| (name, true));
        let kind = kind(find(properties, name, "fields")?, name, "fields")?;
        if others.insert(name.to_owned(), Field { kind, is_many }).is_some() {
            return Err(wrong("fields", format!("{name} is named twice")));
        }
    }
    let key = Field { kind: kind(find(properties, &names.key, "key")?, &names.key, "key")?, is_many: false };
    if key.kind != FieldKind::Keyword {
        return Err(wrong("key", format!("{} is not of type keyword", names.key)));
    }
    others.insert(names.key.clone(), key);
    let order = match &names.order {
        None => Order::By { field: names.key.clone(), descending: false },
        Some(order) => order_of(order, &others)?,
    };
    Ok(Fields { key: names.key.clone(), text, others, order })
}

fn order_of(text: &str, others: &BTreeMap<String, Field>) -> Result<Order, Error> {
    let order = Order::parse(text);
    let Order::By { field, .. } = &order else {
        return Err(wrong("order", "relevance needs words to look for; expected a field such as -created_at"));
    };
    match others.get(field) {
        Some(known) if !known.is_many => Ok(order),
        Some(_) => Err(wrong("order", format!("{field} has several values in a document, and gives no order"))),
        None => Err(wrong("order", format!("{field} is not among the fields"))),
    }
}

/// The mapping of the field at a path with dots.
fn find<'a>(properties: Option<&'a Value>, name: &str, setting: &str) -> Result<&'a Value, Error> {
    let mut found = properties;
    for (depth, step) in name.split('.').enumerate() {
        let inside = if depth == 0 { found } else { found.and_then(|field| field.get("properties")) };
        found = inside.and_then(|fields| fields.get(step));
    }
    found.ok_or_else(|| {
        wrong(setting, format!("{name} is not in the mapping; a field that is searched has to be there"))
    })
}

fn type_of(field: &Value) -> &str {
    field.get("type").and_then(Value::as_str).unwrap_or("object")
}

/// What a field holds, if the database can be asked about it in the same way.
fn kind(field: &Value, name: &str, setting: &str) -> Result<FieldKind, Error> {
    let kind = match type_of(field) {
        "keyword" => FieldKind::Keyword,
        "long" => FieldKind::Long,
        "integer" | "short" | "byte" => FieldKind::Integer,
        "double" => FieldKind::Double,
        "date" => FieldKind::Date,
        "boolean" => FieldKind::Boolean,
        "text" => {
            return Err(wrong(
                setting,
                format!("{name} is of type text, which is looked into by words; name it in `text`"),
            ));
        }
        other => {
            let why = "expected keyword, long, integer, short, byte, double, date or boolean, which the database compares \
                       in the same way";
            return Err(wrong(setting, format!("{name} is of type {other}; {why}")));
        }
    };
    for option in ["normalizer", "null_value", "script"] {
        if field.get(option).is_some() {
            return Err(wrong(setting, format!("{name} has a {option}, and the database would know nothing of it")));
        }
    }
    for option in ["index", "doc_values"] {
        if field.get(option) == Some(&Value::Bool(false)) {
            return Err(wrong(setting, format!("{name} has \"{option}\": false, and cannot be searched")));
        }
    }
    Ok(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPPING: &str = r#"{"mappings":{"properties":{"id":{"type":"keyword"},"title":{"type":"text"},
        "tags":{"type":"keyword"},"n":{"type":"integer"},"f":{"type":"float"},"low":{"type":"keyword","normalizer":"x"},
        "off":{"type":"keyword","index":false},"at":{"type":"date"},
        "workspace":{"properties":{"name":{"type":"keyword"}}}}}}"#;

    fn read(key: &str, text: &[&str], fields: &[&str], order: Option<&str>) -> Result<Fields, Error> {
        let all = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let names =
            FieldNames { key: key.into(), text: all(text), fields: all(fields), order: order.map(str::to_owned) };
        super::read(MAPPING, &names)
    }

    #[test]
    fn fields_are_what_the_mapping_says() {
        let fields = read("id", &["title^3"], &["tags[]", "n", "workspace.name", "at"], Some("-at")).unwrap();
        assert_eq!(fields.text(), [TextField { name: "title".into(), weight: 3.0 }]);
        assert_eq!(fields.get("tags").unwrap(), Field { kind: FieldKind::Keyword, is_many: true });
        assert_eq!(fields.get("workspace.name").unwrap().kind, FieldKind::Keyword);
        assert_eq!(fields.get("id").unwrap().kind, FieldKind::Keyword);
        assert_eq!(fields.order().to_string(), "-at");
        assert_eq!(read("id", &[], &[], None).unwrap().order().to_string(), "id");
    }

    #[test]
    fn what_the_database_could_not_compare_in_the_same_way_is_refused_by_name() {
        for (told, result) in [
            ("fields: f is of type float", read("id", &[], &["f"], None)),
            ("fields: low has a normalizer", read("id", &[], &["low"], None)),
            ("fields: off has \"index\": false", read("id", &[], &["off"], None)),
            ("fields: title is of type text", read("id", &[], &["title"], None)),
            ("fields: none is not in the mapping", read("id", &[], &["none"], None)),
            ("fields: workspace is of type object", read("id", &[], &["workspace"], None)),
            ("text: tags is of type keyword", read("id", &["tags"], &[], None)),
            ("text: \"title^0\"", read("id", &["title^0"], &[], None)),
            ("fields: n is named twice", read("id", &[], &["n", "n[]"], None)),
            ("text: title is named twice", read("id", &["title", "title^2"], &[], None)),
            ("key: n is not of type keyword", read("n", &[], &[], None)),
            ("order: tags has several", read("id", &[], &["tags[]"], Some("tags"))),
            ("order: n is not among the fields", read("id", &[], &[], Some("n"))),
            ("order: relevance", read("id", &[], &[], Some("relevance"))),
        ] {
            let error = result.unwrap_err();
            assert!(error.kind() == ErrorKind::Configuration && error.to_string().starts_with(told), "{error}");
        }
    }
}
