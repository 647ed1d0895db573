//! Reads typed values out of the layers, notes every problem, and knows at the end which keys nobody asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::layers::{Given, Layers, Value};
use super::problem::{Origin, Problem};
use super::quantity::{parse_duration, parse_size, show_duration, show_size};
use super::secret::Secret;
use super::unknown;

/// What switches off what is done again and again.
pub(super) const NEVER: &str = "never";

/// A setting that is one of a few words.
pub(super) trait Choice: Copy + 'static {
    /// Each word and what it means.
    const WORDS: &'static [(&'static str, Self)];
}

/// The layers while they are being read.
#[derive(Debug)]
pub(super) struct Reader {
    layers: Layers,
    /// Every key that was asked for, and where it was given if it was.
    known: BTreeMap<String, Option<Origin>>,
    problems: Vec<Problem>,
    base: PathBuf,
}

impl Reader {
    pub(super) fn new(layers: Layers, base: PathBuf) -> Self {
        Self { layers, known: BTreeMap::new(), problems: Vec::new(), base }
    }

    /// The section `name`; keys are asked for by their name in it.
    pub(super) fn section(&mut self, name: &str) -> Section<'_> {
        // A section that is there and empty says nothing and is not unknown either.
        if self.layers.get(name).is_some_and(|given| given.value == Value::Section) {
            self.layers.remove(name);
        }
        Section { prefix: name.to_owned(), reader: self }
    }

    /// The names of the sections below `section`.
    pub(super) fn names_in(&self, section: &str) -> BTreeSet<String> {
        let below = |key: &String| Some(key.strip_prefix(section)?.strip_prefix('.')?.split('.').next()?.to_owned());
        self.layers.keys().filter_map(below).collect()
    }

    /// Every key that was asked for so far, and all problems, those of unknown keys included.
    pub(super) fn finish(mut self) -> (BTreeSet<String>, Vec<Problem>) {
        let known = self.known.into_keys().collect();
        self.problems.extend(unknown::problems(&self.layers, &known));
        self.problems.sort();
        (known, self.problems)
    }
}

/// One section while it is being read.
#[derive(Debug)]
pub(super) struct Section<'a> {
    reader: &'a mut Reader,
    prefix: String,
}

impl Section<'_> {
    /// The key's full name.
    pub(super) fn name_of(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    /// The section inside this one.
    pub(super) fn section(&mut self, name: &str) -> Section<'_> {
        self.reader.section(&format!("{}.{name}", self.prefix))
    }

    /// Takes a value out; from now on the key is known.
    fn take(&mut self, key: &str) -> Option<Given> {
        let name = self.name_of(key);
        let given = self.reader.layers.remove(&name);
        self.reader.known.insert(name, given.as_ref().map(|given| given.origin.clone()));
        given
    }

    /// Notes that the value of `key` is not what is expected. `shown` is the value, unless it may hold a secret.
    fn unexpected(&mut self, key: &str, given: &Given, shown: bool, expected: impl Display) {
        let name = self.name_of(key);
        let value = if shown { format!(" = {}", given.value) } else { String::new() };
        self.reader.problems.push(Problem {
            message: format!("{name}{value} ({}): expected {expected}", given.origin),
            origin: Some(given.origin.to_string()),
            key: name,
        });
    }

    /// Notes a problem with `key` that its value alone does not show.
    pub(super) fn problem(&mut self, key: &str, message: impl Display) {
        let name = self.name_of(key);
        let origin = self.reader.known.get(&name).and_then(Option::as_ref).map(ToString::to_string);
        let place = origin.as_ref().map(|origin| format!(" ({origin})")).unwrap_or_default();
        self.reader.problems.push(Problem { message: format!("{name}{place}: {message}"), origin, key: name });
    }

    fn parsed<T>(&mut self, key: &str, expected: impl Display, parse: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
        let given = self.take(key)?;
        let parsed = parse(&given.value);
        if parsed.is_none() {
            self.unexpected(key, &given, true, expected);
        }
        parsed
    }

    /// Text that is not empty, if it was given.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        self.parsed(key, "text that is not empty", |value| text(value).filter(|text| !text.is_empty()))
    }

    /// `true` or `false`, if it was given.
    pub(super) fn boolean(&mut self, key: &str) -> Option<bool> {
        self.parsed(key, "true or false", |value| match value {
            Value::Boolean(value) => Some(*value),
            Value::Raw(text) => text.trim().parse().ok(),
            Value::Text(_) | Value::Number(_) | Value::List(_) | Value::Section | Value::Time(_) => None,
        })
    }

    /// A whole number in `range`, if it was given.
    pub(super) fn integer<T>(&mut self, key: &str, range: RangeInclusive<T>) -> Option<T>
    where
        T: Copy + Display + PartialOrd + std::str::FromStr,
    {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.parsed(key, expected, |value| {
            let digits = match value {
                Value::Number(digits) | Value::Raw(digits) => digits.trim(),
                Value::Text(_) | Value::Boolean(_) | Value::List(_) | Value::Section | Value::Time(_) => return None,
            };
            digits.parse().ok().filter(|number| range.contains(number))
        })
    }

    /// A duration in `range`, if it was given.
    pub(super) fn duration(&mut self, key: &str, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.parsed(key, duration_in(&range), |value| duration(value, &range))
    }

    /// How often something is done: each time a duration in `range` has gone by, or [`NEVER`]; if it was given.
    pub(super) fn every(&mut self, key: &str, range: RangeInclusive<Duration>) -> Option<Option<Duration>> {
        let expected = format!("{}; or \"{NEVER}\"", duration_in(&range));
        self.parsed(key, expected, |value| match text(value) {
            Some(text) if text == NEVER => Some(None),
            Some(_) | None => duration(value, &range).map(Some),
        })
    }

    /// A number of bytes in `range`, if it was given.
    pub(super) fn size(&mut self, key: &str, range: RangeInclusive<usize>) -> Option<usize> {
        let [from, to] = [range.start(), range.end()].map(|end| show_size(*end as u64));
        let expected = format!("a size from {from} to {to}, such as \"512KiB\" or \"8MiB\"");
        self.parsed(key, expected, |value| {
            let written = match value {
                Value::Number(digits) => Some(digits.clone()),
                Value::Text(_)
                | Value::Raw(_)
                | Value::Boolean(_)
                | Value::List(_)
                | Value::Section
                | Value::Time(_) => text(value),
            };
            let bytes = usize::try_from(parse_size(&written?)?).ok()?;
            range.contains(&bytes).then_some(bytes)
        })
    }

    /// One of the words of `T`, if it was given.
    pub(super) fn choice<T: Choice>(&mut self, key: &str) -> Option<T> {
        let words: Vec<_> = T::WORDS.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        self.parsed(key, format!("one of {}", words.join(", ")), |value| {
            let text = text(value)?;
            T::WORDS.iter().find(|(word, _)| text.eq_ignore_ascii_case(word)).map(|(_, meaning)| *meaning)
        })
    }

    /// A list of texts, or one text with commas, if it was given. Never empty.
    pub(super) fn list(&mut self, key: &str) -> Option<Vec<String>> {
        self.parsed(key, "a list of texts, or one text with commas", list)
    }

    /// A path, relative to the configuration file, if it was given.
    pub(super) fn path(&mut self, key: &str) -> Option<PathBuf> {
        let path = self.parsed(key, "the path of a file", |value| text(value).filter(|text| !text.is_empty()))?;
        Some(self.reader.base.join(path))
    }

    /// The text of the file a path names, and that path, if it was given and can be read.
    pub(super) fn file(&mut self, key: &str) -> Option<(PathBuf, String)> {
        let path = self.path(key)?;
        match std::fs::read_to_string(&path) {
            Ok(text) => Some((path, text)),
            Err(error) => {
                self.problem(key, format!("cannot read {}: {error}", path.display()));
                None
            }
        }
    }

    /// An address to listen on, if it was given.
    pub(super) fn address(&mut self, key: &str) -> Option<SocketAddr> {
        let expected = "an address and a port, such as \"127.0.0.1:8080\"";
        self.parsed(key, expected, |value| text(value)?.trim().parse().ok())
    }

    /// Lists texts that may hold a secret; nothing of them is shown.
    pub(super) fn secret_list(&mut self, key: &str, expected: &str) -> Option<Vec<Secret>> {
        let given = self.take(key)?;
        let read = list(&given.value);
        if read.is_none() {
            self.unexpected(key, &given, false, expected);
        }
        Some(read?.into_iter().map(Secret::new).collect())
    }

    /// Text that may hold a secret; `parse` says what is expected when it is something else.
    pub(super) fn secret_text<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(String) -> Result<T, &'static str>,
    ) -> Option<T> {
        let given = self.take(key)?;
        match text(&given.value).ok_or("text").and_then(parse) {
            Ok(value) => Some(value),
            Err(expected) => {
                self.unexpected(key, &given, false, expected);
                None
            }
        }
    }

    /// Whether `key` was given; asked before it is read.
    pub(super) fn has(&self, key: &str) -> bool {
        self.reader.layers.contains_key(&self.name_of(key))
    }

    /// Whether the secret `key` was given, directly or as a file; asked before it is read.
    pub(super) fn has_secret(&self, key: &str) -> bool {
        self.has(key) || self.has(&format!("{key}_file"))
    }

    /// The secret `key`, or what the file `key_file` holds. Given in two places the later one wins; given both in the
    /// same place is a problem.
    pub(super) fn secret(&mut self, key: &str) -> Option<Secret> {
        let file_key = format!("{key}_file");
        let (direct, file) = (self.take(key), self.take(&file_key));
        match (direct, file) {
            (Some(direct), Some(file)) if direct.origin.same_layer(&file.origin) => {
                let message = format!("is set beside {} ({}); remove one of them", self.name_of(key), direct.origin);
                self.problem(&file_key, message);
                None
            }
            (Some(direct), Some(file)) if direct.origin < file.origin => self.secret_file(&file_key, &file),
            (Some(direct), _) => {
                let secret = text(&direct.value).filter(|text| !text.is_empty());
                if secret.is_none() {
                    self.unexpected(key, &direct, false, "text that is not empty (the value is not shown)");
                }
                secret.map(Secret::new)
            }
            (None, Some(file)) => self.secret_file(&file_key, &file),
            (None, None) => None,
        }
    }

    fn secret_file(&mut self, key: &str, given: &Given) -> Option<Secret> {
        let Some(path) = text(&given.value).filter(|text| !text.is_empty()) else {
            self.unexpected(key, given, true, "the path of a file");
            return None;
        };
        let path = self.reader.base.join(path);
        let secret = std::fs::read_to_string(&path).map(|text| text.trim_end_matches(['\r', '\n']).to_owned());
        match secret {
            Ok(secret) if !secret.is_empty() => Some(Secret::new(secret)),
            Ok(_) => {
                self.problem(key, format!("{} is empty", path.display()));
                None
            }
            Err(error) => {
                self.problem(key, format!("cannot read {}: {error}", path.display()));
                None
            }
        }
    }

    /// Every key below this section, whatever it is called, with its value as text.
    pub(super) fn everything(&mut self) -> Vec<(String, Secret)> {
        let prefix = format!("{}.", self.prefix);
        let names: Vec<_> =
            self.reader.layers.keys().filter_map(|key| key.strip_prefix(&prefix)).map(str::to_owned).collect();
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            let Some(given) = self.take(&name) else { continue };
            match given.value {
                Value::Text(text) | Value::Number(text) | Value::Raw(text) => found.push((name, Secret::new(text))),
                Value::Boolean(value) => found.push((name, Secret::new(value.to_string()))),
                Value::List(_) | Value::Section | Value::Time(_) => {
                    self.unexpected(&name, &given, false, "text, a number, true or false");
                }
            }
        }
        found
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) | Value::Raw(text) => Some(text.clone()),
        Value::Number(_) | Value::Boolean(_) | Value::List(_) | Value::Section | Value::Time(_) => None,
    }
}

fn duration(value: &Value, range: &RangeInclusive<Duration>) -> Option<Duration> {
    parse_duration(&text(value)?).filter(|duration| range.contains(duration))
}

/// What is expected of a duration.
fn duration_in(range: &RangeInclusive<Duration>) -> String {
    let [from, to] = [range.start(), range.end()].map(|end| show_duration(*end));
    format!("a duration from {from} to {to}, such as \"500ms\", \"10s\" or \"2m\"")
}

fn list(value: &Value) -> Option<Vec<String>> {
    let items: Vec<String> = match value {
        // As the file has it.
        Value::Raw(text) if text.trim_start().starts_with('[') => {
            let read: BTreeMap<String, Vec<String>> = toml::from_str(&format!("list = {text}")).ok()?;
            read.into_values().flatten().collect()
        }
        Value::Text(text) | Value::Raw(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
        Value::List(items) => items.iter().map(text).collect::<Option<_>>()?,
        Value::Number(_) | Value::Boolean(_) | Value::Section | Value::Time(_) => return None,
    };
    (!items.is_empty() && items.iter().all(|item| !item.is_empty())).then_some(items)
}
