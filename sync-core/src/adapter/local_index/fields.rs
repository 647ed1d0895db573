//! What of a document can be searched, as the mapping of its index says.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value as Json};
use tantivy::schema::{
    FAST, Field, INDEXED, IndexRecordOption, NumericOptions, STORED, STRING, Schema, TextFieldIndexing, TextOptions,
};

use super::words::WORDS;
use crate::error::{Error, ErrorKind};

/// Fields of every index. The fields of documents have a dot or a `/` before their names, so that none is called alike.
const KEY: &str = "key";
const VERSION: &str = "version";
const LIVE: &str = "live";
const DELETED_AT: &str = "deleted_at";
const DOCUMENT: &str = "document";

/// The one format dates are read in; what Elasticsearch takes when none is given.
const DATE_FORMAT: &str = "strict_date_optional_time||epoch_millis";

/// What the value of a field has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Words.
    Text,
    /// One value.
    Keyword,
    /// A whole number.
    Whole,
    /// A number.
    Number,
    /// A moment.
    Date,
    /// `true` or `false`.
    Boolean,
}

/// A field of documents that can be searched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Searched {
    /// In the index.
    pub(super) field: Field,
    /// What it holds.
    pub(super) kind: Kind,
}

/// What may be in an object of a document.
#[derive(Clone, Debug, Default)]
pub(super) struct Properties {
    /// By name.
    pub(super) known: BTreeMap<String, Property>,
    /// Others are refused.
    pub(super) is_strict: bool,
}

/// What the mapping says of a name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Named<'a> {
    /// This.
    Known(&'a Property),
    /// Nothing; it may be there.
    Unknown,
    /// Nothing; it must not be there.
    Refused,
}

impl Properties {
    /// What is said of a name; one with dots is a path into objects.
    pub(super) fn named(&self, name: &str) -> Named<'_> {
        if let Some(property) = self.known.get(name) {
            return Named::Known(property);
        }
        let begun = name.split_once('.').and_then(|(first, rest)| Some((self.known.get(first)?, rest)));
        match begun {
            Some((Property::Object(inside), rest)) => inside.named(rest),
            Some((kept @ Property::Kept, _)) => Named::Known(kept),
            Some((Property::Searched(_), _)) | None if self.is_strict => Named::Refused,
            Some((Property::Searched(_), _)) | None => Named::Unknown,
        }
    }
}

/// What a name of a mapping stands for.
#[derive(Clone, Debug)]
pub(super) enum Property {
    /// It is searched.
    Searched(Searched),
    /// It has properties of its own.
    Object(Properties),
    /// It is of a type nobody searches here, and is only kept.
    Kept,
}

/// The fields of one index.
#[derive(Clone, Debug)]
pub(super) struct IndexFields {
    pub(super) schema: Schema,
    pub(super) key: Field,
    pub(super) version: Field,
    /// Of what has a document.
    pub(super) live: Field,
    /// Of what has none any more: seconds since 1970 began.
    pub(super) deleted_at: Field,
    pub(super) document: Field,
    pub(super) properties: Properties,
    by_path: BTreeMap<String, Searched>,
}

impl IndexFields {
    /// Reads the mapping of an index (JSON text, as for "create index" of Elasticsearch). Settings mean nothing here.
    ///
    /// # Errors
    /// `Configuration`, beginning with where the mapping is.
    pub(super) fn of_mapping(mapping: &str, place: &str) -> Result<Self, Error> {
        let wrong = |what: &str| Error::new(ErrorKind::Configuration, format!("{place}: {what}"));
        let mapping: Map<String, Json> =
            serde_json::from_str(mapping).map_err(|error| wrong("is not a JSON object").with_source(error))?;
        if let Some(other) = mapping.keys().find(|name| !matches!(name.as_str(), "settings" | "mappings" | "aliases")) {
            return Err(wrong(&format!("{other:?} is neither `settings` nor `mappings`")));
        }
        let none = Map::new();
        let mappings = match mapping.get("mappings") {
            None => &none,
            Some(mappings) => mappings.as_object().ok_or_else(|| wrong("`mappings` is not an object"))?,
        };
        let mut schema = Schema::builder();
        let key = schema.add_text_field(KEY, STRING | FAST | STORED);
        let version = schema.add_u64_field(VERSION, FAST);
        let live = schema.add_bool_field(LIVE, INDEXED | FAST);
        let deleted_at = schema.add_i64_field(DELETED_AT, FAST);
        let document = schema.add_text_field(DOCUMENT, STORED);
        let mut by_path = BTreeMap::new();
        let mut names = HashSet::new();
        let mut add = |path: &str, kind: Kind| {
            let name = in_index(path);
            if !names.insert(name.clone()) {
                return Err(twice(path));
            }
            let field = match kind {
                Kind::Text => schema.add_text_field(&name, text()),
                Kind::Keyword => schema.add_text_field(&name, STRING | FAST),
                Kind::Whole | Kind::Date => schema.add_i64_field(&name, numbers()),
                Kind::Number => schema.add_f64_field(&name, numbers()),
                Kind::Boolean => schema.add_bool_field(&name, numbers()),
            };
            let searched = Searched { field, kind };
            by_path.insert(path.to_owned(), searched);
            Ok(searched)
        };
        let properties = properties(mappings, "", false, &mut add).map_err(|what| wrong(&what))?;
        Ok(Self { schema: schema.build(), key, version, live, deleted_at, document, properties, by_path })
    }

    /// The field at a path with dots.
    pub(super) fn at(&self, path: &str) -> Option<Searched> {
        self.by_path.get(path).copied()
    }

    /// What it is called in the index.
    pub(super) fn name(&self, field: Field) -> &str {
        self.schema.get_field_name(field)
    }
}

/// A path of the mapping has a name of its own, whatever signs it is of; a dot would have a meaning.
fn in_index(path: &str) -> String {
    format!("/{}", path.replace('/', "//").replace('.', "/"))
}

fn text() -> TextOptions {
    let words =
        TextFieldIndexing::default().set_tokenizer(WORDS).set_index_option(IndexRecordOption::WithFreqsAndPositions);
    TextOptions::default().set_indexing_options(words)
}

fn numbers() -> NumericOptions {
    NumericOptions::default().set_indexed().set_fast()
}

fn twice(path: &str) -> String {
    format!("{path} is there twice")
}

/// Adds a field to the index.
type Add<'a> = dyn FnMut(&str, Kind) -> Result<Searched, String> + 'a;

fn properties(
    object: &Map<String, Json>,
    prefix: &str,
    is_strict: bool,
    add: &mut Add<'_>,
) -> Result<Properties, String> {
    if is_off(object) {
        return Ok(Properties::default());
    }
    let is_strict = match object.get("dynamic") {
        None => is_strict,
        Some(dynamic) => dynamic == "strict",
    };
    let mut found = Properties { known: BTreeMap::new(), is_strict };
    let Some(listed) = object.get("properties") else { return Ok(found) };
    let Some(listed) = listed.as_object() else { return Err(format!("`properties` of {prefix:?} is not an object")) };
    let mut listed: Vec<_> = listed.iter().collect();
    // What is described as an object first, and then what a path leads into it.
    listed.sort_by_key(|(name, _)| name.split('.').count());
    for (name, described) in listed {
        let path = format!("{prefix}{name}");
        let Some(described) = described.as_object() else { return Err(format!("{path} is not an object")) };
        if name.split('.').any(str::is_empty) {
            return Err(format!("{path:?} is no name of a field"));
        }
        place(&mut found, name, &path, described, add)?;
    }
    Ok(found)
}

/// Puts what is described where its name leads: one with dots into objects, which it makes.
fn place(
    within: &mut Properties,
    name: &str,
    path: &str,
    described: &Map<String, Json>,
    add: &mut Add<'_>,
) -> Result<(), String> {
    let is_strict = within.is_strict;
    if let Some((first, rest)) = name.split_once('.') {
        let made = || Property::Object(Properties { known: BTreeMap::new(), is_strict });
        return match within.known.entry(first.to_owned()).or_insert_with(made) {
            Property::Object(inside) => place(inside, rest, path, described, add),
            Property::Searched(_) | Property::Kept => {
                Err(format!("{path} is in something that is no object in the mapping"))
            }
        };
    }
    let property = property(path, described, is_strict, add)?;
    match within.known.insert(name.to_owned(), property) {
        None => Ok(()),
        Some(_) => Err(twice(path)),
    }
}

fn property(path: &str, described: &Map<String, Json>, is_strict: bool, add: &mut Add<'_>) -> Result<Property, String> {
    let kind = match described.get("type").and_then(Json::as_str) {
        None | Some("object" | "nested") if is_off(described) => None,
        None | Some("object" | "nested") => {
            return properties(described, &format!("{path}."), is_strict, add).map(Property::Object);
        }
        Some(kind) => kind_of(kind).filter(|_| described.get("index") != Some(&Json::Bool(false))),
    };
    let Some(kind) = kind else { return Ok(Property::Kept) };
    match described.get("format") {
        Some(other) if kind == Kind::Date && other != DATE_FORMAT => {
            Err(format!("{path}: the format {other} is not read here, only {DATE_FORMAT:?}, as if none was given"))
        }
        Some(_) | None => add(path, kind).map(Property::Searched),
    }
}

/// Nothing of it is searched, whatever it is.
fn is_off(object: &Map<String, Json>) -> bool {
    object.get("enabled") == Some(&Json::Bool(false))
}

fn kind_of(kind: &str) -> Option<Kind> {
    match kind {
        "text" => Some(Kind::Text),
        "keyword" => Some(Kind::Keyword),
        "long" | "integer" | "short" | "byte" => Some(Kind::Whole),
        "double" | "float" => Some(Kind::Number),
        "date" => Some(Kind::Date),
        "boolean" => Some(Kind::Boolean),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_says_which_fields_there_are_and_of_what_kind() {
        let mapping = r#"{"settings":{"number_of_shards":1},"mappings":{"dynamic":"strict","properties":{
            "title":{"type":"text"},"a/b":{"type":"keyword"},"off":{"type":"keyword","index":false},"ip":{"type":"ip"},
            "a":{"properties":{"b":{"type":"date"},"c":{"dynamic":false,"properties":{"n":{"type":"byte"}}}}}}}}"#;
        let fields = IndexFields::of_mapping(mapping, "here").unwrap();
        let kind = |path| fields.at(path).map(|searched| searched.kind);
        assert_eq!(kind("title"), Some(Kind::Text));
        assert_eq!(
            (kind("a/b"), kind("a.b"), kind("a.c.n")),
            (Some(Kind::Keyword), Some(Kind::Date), Some(Kind::Whole))
        );
        assert_eq!((kind("off"), kind("ip"), kind("a")), (None, None, None));
        assert!(fields.properties.is_strict);
        let Some(Property::Object(a)) = fields.properties.known.get("a") else { panic!("{:?}", fields.properties) };
        let Some(Property::Object(c)) = a.known.get("c") else { panic!("{a:?}") };
        assert!(a.is_strict && !c.is_strict);
    }

    #[test]
    fn what_is_no_mapping_is_refused() {
        for mapping in
            ["", "[]", r#"{"mappings":[]}"#, r#"{"properties":{}}"#, r#"{"mappings":{"properties":{"a":1}}}"#]
        {
            let error = IndexFields::of_mapping(mapping, "here").unwrap_err();
            assert!(error.kind() == ErrorKind::Configuration && error.to_string().starts_with("here: "), "{error}");
        }
        assert!(IndexFields::of_mapping("{}", "here").unwrap().properties.known.is_empty());
        let nothing = r#"{"mappings":{"enabled":false,"properties":{"a":{"type":"text"}}}}"#;
        assert!(IndexFields::of_mapping(nothing, "here").unwrap().properties.known.is_empty());
    }

    #[test]
    fn a_name_with_dots_is_a_path_into_objects_and_none_is_there_twice() {
        let of = |properties: &str| {
            let mapping = format!(r#"{{"mappings":{{"dynamic":"strict","properties":{{{properties}}}}}}}"#);
            IndexFields::of_mapping(&mapping, "here")
        };
        let keyword = r#"{"type":"keyword"}"#;
        let fields = of(&format!(r#""o.k":{keyword},"o":{{"properties":{{"n":{keyword}}}}}"#)).unwrap();
        assert!(fields.at("o.k").is_some() && fields.at("o.n").is_some());
        let Some(Property::Object(o)) = fields.properties.known.get("o") else { panic!("{:?}", fields.properties) };
        assert!(o.is_strict && o.known.contains_key("k") && o.known.contains_key("n"));
        for (properties, told) in [
            (format!(r#""o.k":{keyword},"o":{{"properties":{{"k":{keyword}}}}}"#), "here: o.k is there twice"),
            (format!(r#""o":{keyword},"o.k":{keyword}"#), "here: o.k is in something that is no object"),
            (format!(r#""a/.b":{keyword},"a./b":{keyword}"#), "is there twice"),
            (format!(r#""a..b":{keyword}"#), "\"a..b\" is no name of a field"),
        ] {
            let error = of(&properties).unwrap_err();
            assert!(error.kind() == ErrorKind::Configuration && error.to_string().contains(told), "{error}");
        }
    }

    #[test]
    fn a_date_of_another_format_is_refused_rather_than_misread() {
        let of = |format: &str| {
            let mapping = format!(r#"{{"mappings":{{"properties":{{"d":{{"type":"date","format":"{format}"}}}}}}}}"#);
            IndexFields::of_mapping(&mapping, "here")
        };
        of(DATE_FORMAT).unwrap();
        let error = of("epoch_second").unwrap_err();
        assert!(error.kind() == ErrorKind::Configuration && error.to_string().contains(DATE_FORMAT), "{error}");
    }

    #[test]
    fn an_object_that_is_not_enabled_may_be_anything() {
        let mapping = r#"{"mappings":{"properties":{"o":{"type":"object","enabled":false}}}}"#;
        let fields = IndexFields::of_mapping(mapping, "here").unwrap();
        assert!(matches!(fields.properties.known.get("o"), Some(Property::Kept)));
    }
}
