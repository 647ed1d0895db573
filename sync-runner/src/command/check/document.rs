//! Whether a document of the projection fits the mapping that is configured. Pure.

use serde_json::Value;

/// Fields of the document that a mapping refuses which takes no others than its own, by their paths.
pub(super) fn refused_fields(mapping: &str, document: &Value) -> Vec<String> {
    let mapping: Value = serde_json::from_str(mapping).unwrap_or_default();
    let mut refused = Vec::new();
    look("", &mapping["mappings"], document, false, &mut refused);
    refused
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
                    None if is_strict && !refused.contains(&path) => refused.push(path),
                    None => {}
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
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
}
