//! File, environment and flags laid over each other: one flat map from `section.key` to a value and where it came from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::problem::{Origin, Problem};

/// Environment variables that start with this are settings: `SYNC__POSTGRES__POOL_SIZE` is `postgres.pool_size`.
const PREFIX: &str = "SYNC__";

/// What many programs take the database from: it loses against all that is meant for this one.
const DATABASE_URL: &str = "DATABASE_URL";

/// Keys below this are another program's and hold dots of their own.
const PROPERTIES: &str = "kafka.properties.";

/// A value as it was given.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A string of the file.
    Text(String),
    /// A number of the file, in its own digits.
    Number(String),
    /// `true` or `false` in the file.
    Boolean(bool),
    /// A list of the file.
    List(Vec<Value>),
    /// A section without any key.
    Section,
    /// A date or time of the file.
    Time(String),
    /// Of the environment or a flag, where everything is text.
    Raw(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::Raw(text) => write!(f, "{text:?}"),
            Self::Number(text) | Self::Time(text) => f.write_str(text),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::List(_) => f.write_str("[…]"),
            Self::Section => f.write_str("{}"),
        }
    }
}

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Given {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// Values by dotted key; of those given more than once, the last.
pub(super) type Layers = BTreeMap<String, Given>;

/// Where settings come from. The file loses against the environment, and that against the flags.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// The configuration file, as it was named, and its text.
    pub(crate) file: Option<(PathBuf, String)>,
    /// The environment; of variables that do not start with `SYNC__`, `DATABASE_URL` alone is looked at.
    pub(crate) variables: Vec<(OsString, OsString)>,
    /// The arguments of `--set`, `section.key=value` each.
    pub(crate) flags: Vec<String>,
}

impl Sources {
    /// The folder paths are relative to.
    pub(super) fn base(&self) -> PathBuf {
        let folder = self.file.as_ref().and_then(|(path, _)| path.parent());
        folder.map(Path::to_path_buf).unwrap_or_default()
    }

    /// Lays them over each other; what could not be read is a problem.
    pub(super) fn lay(&self) -> (Layers, Vec<Problem>) {
        let mut layers = Layers::new();
        let mut problems = Vec::new();
        if let Some((_, url)) = self.variables.iter().find(|(name, _)| name == DATABASE_URL) {
            let origin = Origin::Variable(DATABASE_URL.to_owned());
            layers.insert(
                "postgres.url".to_owned(),
                Given { value: Value::Raw(url.to_string_lossy().into_owned()), origin },
            );
        }
        if let Some((path, text)) = &self.file {
            read_file(path, text, &mut layers, &mut problems);
        }
        for (name, value) in &self.variables {
            read_variable(name, value, &mut layers, &mut problems);
        }
        for (index, flag) in self.flags.iter().enumerate() {
            match flag.split_once('=') {
                Some((key, value)) if !key.trim().is_empty() => {
                    let given = Given { value: Value::Raw(value.to_owned()), origin: Origin::Flag };
                    layers.insert(key.trim().to_owned(), given);
                }
                // What was given may be a secret in the wrong form, so it is counted and not shown.
                Some(_) | None => problems.push(Problem {
                    key: String::new(),
                    origin: Some(Origin::Flag.to_string()),
                    message: format!("--set number {}: expected section.key=value", index + 1),
                }),
            }
        }
        (layers, problems)
    }
}

fn read_file(path: &Path, text: &str, layers: &mut Layers, problems: &mut Vec<Problem>) {
    let line = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let origin = Origin::File { path: path.to_owned(), line: line(error.span().map_or(0, |span| span.start)) };
        // The error's own display quotes the line, which may hold a secret; its message does not.
        problems.push(Problem {
            key: String::new(),
            message: format!("{origin}: not TOML: {}", error.message().replace('\n', ", ")),
            origin: Some(origin.to_string()),
        });
    }
    flatten("", table.get_ref(), &|at| Origin::File { path: path.to_owned(), line: line(at) }, layers);
}

fn flatten(prefix: &str, table: &DeTable<'_>, origin: &dyn Fn(usize) -> Origin, layers: &mut Layers) {
    for (name, value) in table {
        let key = format!("{prefix}{}", name.get_ref());
        if let DeValue::Table(inner) = value.get_ref()
            && !inner.is_empty()
        {
            flatten(&format!("{key}."), inner, origin, layers);
        } else {
            let given = Given { value: read_value(value.get_ref()), origin: origin(name.span().start) };
            layers.insert(key, given);
        }
    }
}

fn read_value(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => Value::Number(number.to_string()),
        DeValue::Float(number) => Value::Number(number.to_string()),
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Datetime(time) => Value::Time(time.to_string()),
        DeValue::Array(items) => Value::List(items.iter().map(|item| read_value(item.get_ref())).collect()),
        DeValue::Table(_) => Value::Section,
    }
}

fn read_variable(name: &OsString, value: &OsString, layers: &mut Layers, problems: &mut Vec<Problem>) {
    let shown = name.to_string_lossy();
    let Some(path) = shown.strip_prefix(PREFIX) else { return };
    let mut key = path.to_ascii_lowercase().replace("__", ".");
    if let Some(property) = key.strip_prefix(PROPERTIES) {
        key = format!("{PROPERTIES}{}", property.replace('_', "."));
    }
    let origin = Origin::Variable(shown.to_string());
    match value.to_str() {
        Some(text) => {
            layers.insert(key, Given { value: Value::Raw(text.to_owned()), origin });
        }
        None => problems.push(Problem {
            message: format!("{origin}: its value is not UTF-8 text"),
            origin: Some(origin.to_string()),
            key,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(file: &str, variables: &[(&str, &str)], flags: &[&str]) -> Sources {
        Sources {
            file: Some((PathBuf::from("conf/sync.toml"), file.to_owned())),
            variables: variables.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        }
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let file = "[a]\nx = 1\ny = 1\nz = 1\n";
        let (layers, problems) = sources(file, &[("SYNC__A__Y", "2"), ("SYNC__A__Z", "2")], &["a.z=3"]).lay();
        assert_eq!(problems, []);
        let origins: Vec<_> = layers.iter().map(|(key, given)| (key.as_str(), given.origin.to_string())).collect();
        assert_eq!(
            origins,
            [
                ("a.x", "conf/sync.toml line 2".to_owned()),
                ("a.y", "environment variable SYNC__A__Y".to_owned()),
                ("a.z", "--set".to_owned())
            ]
        );
        assert_eq!(layers["a.z"].value, Value::Raw("3".to_owned()));
    }

    #[test]
    fn the_database_of_the_environment_is_taken_where_nothing_else_is_said() {
        let url = |file, variables: &[(&str, &str)]| {
            let (layers, _) = sources(file, variables, &[]).lay();
            layers.get("postgres.url").map(|given| (given.value.to_string(), given.origin.to_string()))
        };
        let theirs = ("DATABASE_URL", "postgres://theirs");
        let told = (r#""postgres://theirs""#.to_owned(), "environment variable DATABASE_URL".to_owned());
        assert_eq!(url("", &[theirs]), Some(told));
        assert!(url("[postgres]\nurl = \"postgres://ours\"\n", &[theirs]).is_some_and(|(url, _)| url.contains("ours")));
        assert!(
            url("", &[("SYNC__POSTGRES__URL", "postgres://ours"), theirs]).is_some_and(|(url, _)| url.contains("ours"))
        );
    }

    #[test]
    fn properties_keep_their_dots_however_they_are_given() {
        let file = "[kafka.properties]\nqueue.buffering.max.ms = 5\n\"linger.ms\" = 1\n";
        let variables = [("SYNC__KAFKA__PROPERTIES__SOCKET_NAGLE_DISABLE", "true")];
        let (layers, _) = sources(file, &variables, &["kafka.properties.client.id=me"]).lay();
        let keys: Vec<_> = layers.keys().map(|key| key.trim_start_matches(PROPERTIES)).collect();
        assert_eq!(keys, ["client.id", "linger.ms", "queue.buffering.max.ms", "socket.nagle.disable"]);
    }

    #[test]
    fn a_file_that_is_not_toml_is_refused_by_line_without_quoting_it() {
        let (_, problems) = sources("[postgres]\npassword = \"hunter2\nurl = 3 4\n", &[], &[]).lay();
        assert!(!problems.is_empty());
        let said = format!("{problems:?}");
        assert!(said.contains("conf/sync.toml line 2: not TOML"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }

    #[test]
    fn a_malformed_flag_is_counted_and_not_shown() {
        let (_, problems) = sources("", &[], &["a.b=1", "postgres.password:hunter2"]).lay();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].message, "--set number 2: expected section.key=value");
    }
}
