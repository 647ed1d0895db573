//! Whether a document of the projection fits the mapping that is configured. Pure.

use serde_json::Value;

/// Fields of the document that a mapping refuses which takes no others than its own, by their paths.
pub(super) fn refused_fields(mapping: &str, document: &Value) -> Vec<String> {
    let mapping: Value = serde_json::from_str(mapping).unwrap_or_default();
    let mut refused = Vec::new();
    look("", &mapping["mappings"], document, false, &mut refused);
    refused
}

/// Whether the document has this field. A path is written out, or as one name: both mean the same.
pub(super) fn has_field(document: &Value, path: &str) -> bool {
    document.get(path).is_some() || path.split('.').try_fold(document, |inside, step| inside.get(step)).is_some()
}

fn look(path: &str, mapping: &Value, document: &Value, is_strict: bool, refused: &mut Vec<String>) {
    let is_strict = mapping.get("dynamic").map_or(is_strict, |dynamic| dynamic == "strict");
    match document {
        // Several values of a field are written like one.
        Value::Array(values) => values.iter().for_each(|value| look(path, mapping, value, is_strict, refused)),
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match mapping.get("properties").and_then(|properties| properties.get(name)) {
                    // Its own type says what may be inside.
                    Some(field) if field.get("properties").is_none() => {}
                    Some(field) => look(&path, field, value, is_strict, refused),
                    // Elasticsearch reads a dot as a path, on either side; that is left to it.
                    None if is_strict && !is_dotted(mapping, name) && !refused.contains(&path) => refused.push(path),
                    None => {}
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether this name holds a path, or begins one that the mapping has as a single name.
fn is_dotted(mapping: &Value, name: &str) -> bool {
    let names =
        mapping.get("properties").and_then(Value::as_object).into_iter().flat_map(|properties| properties.keys());
    name.contains('.')
        || names.into_iter().any(|other| other.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_fields_a_strict_mapping_does_not_have_are_told_by_their_paths() {
        let mapping = r#"{"mappings":{"dynamic":"strict","properties":{"id":{"type":"keyword"},"raw":{"type":"object","enabled":false},
            "place":{"properties":{"city":{"type":"keyword"}}},"free":{"dynamic":true,"properties":{"a":{"type":"keyword"}}}}}}"#;
        let document = json!({
            "id": "1", "raw": {"any": 1}, "place": [{"city": "x", "zip": 1}, {"zip": 2}], "free": {"b": 1}, "more": null,
        });
        assert_eq!(refused_fields(mapping, &document), ["more", "place.zip"]);
        assert_eq!(refused_fields("{}", &document), Vec::<String>::new(), "fields are guessed");
    }

    #[test]
    fn a_path_may_be_written_as_one_name_in_the_mapping_and_in_the_document() {
        let dotted = r#"{"mappings":{"dynamic":"strict","properties":{"place.city":{"type":"keyword"}}}}"#;
        let nested =
            r#"{"mappings":{"dynamic":"strict","properties":{"place":{"properties":{"city":{"type":"keyword"}}}}}}"#;
        for document in [json!({"place.city": "x"}), json!({"place": {"city": "x"}})] {
            assert!(has_field(&document, "place.city") && !has_field(&document, "place.zip"), "{document}");
            for mapping in [dotted, nested] {
                assert_eq!(refused_fields(mapping, &document), Vec::<String>::new(), "{document}");
            }
        }
    }
}
