//! A Rust file as the rules read it: without comments, without texts, without tests; and the paths it names.

/// A Rust file.
pub(super) struct Source {
    /// From the root of the repository.
    pub(super) path: String,
    /// As it is written.
    pub(super) text: String,
    /// Without comments and without what is between quotes; the lines stay where they are.
    pub(super) code: String,
    /// The code without what is compiled for tests only.
    pub(super) production: String,
}

impl Source {
    pub(super) fn new(path: &str, text: String) -> Self {
        let code = without_words(&text);
        let is_test = path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs");
        let production = if is_test { String::new() } else { without_tests(&code) };
        Self { path: path.to_owned(), text, code, production }
    }

    /// The module below `folder`, the source folder of a crate: `["indexer", "work"]`; none for the crate itself.
    pub(super) fn module(&self, folder: &str) -> Vec<&str> {
        let path = self.path.strip_prefix(folder).and_then(|path| path.strip_suffix(".rs")).unwrap();
        path.split('/').filter(|part| !matches!(*part, "" | "lib" | "main")).collect()
    }
}

/// Blanks comments, strings and characters.
fn without_words(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = end_of_words(&chars, at);
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            // What was there stays visible as a place, so that nothing around it grows together.
            code.push(if chars[at] == '/' { ' ' } else { '"' });
            code.extend(chars[at..end].iter().filter(|c| **c == '\n'));
            at = end;
        }
    }
    code
}

/// Behind the comment, string or character that begins at `at`; `at` itself where none does.
fn end_of_words(chars: &[char], at: usize) -> usize {
    let begins = |what: &str| chars[at..].iter().copied().take(what.len()).eq(what.chars());
    let find = |from: usize, what: &str| {
        let places = from..chars.len();
        let found = places.into_iter().find(|&place| chars[place..].iter().copied().take(what.len()).eq(what.chars()));
        found.unwrap_or(chars.len())
    };
    if begins("//") {
        return find(at, "\n");
    }
    if begins("/*") {
        let mut depth = 0;
        let mut place = at;
        while place < chars.len() {
            match (chars[place], chars.get(place + 1)) {
                ('/', Some('*')) => (depth, place) = (depth + 1, place + 2),
                ('*', Some('/')) => (depth, place) = (depth - 1, place + 2),
                _ => place += 1,
            }
            if depth == 0 {
                break;
            }
        }
        return place;
    }
    if chars[at] == '"' {
        return end_of_quoted(chars, at, '"');
    }
    let after_a_word = at > 0 && is_word(chars[at - 1]) && !matches!(chars[at - 1], 'b' | 'c');
    if chars[at] == 'r' && !after_a_word {
        let marks = chars[at + 1..].iter().take_while(|c| **c == '#').count();
        if chars.get(at + 1 + marks) == Some(&'"') {
            let closing = format!("\"{}", "#".repeat(marks));
            return (find(at + 2 + marks, &closing) + closing.len()).min(chars.len());
        }
    }
    // Anything else after an apostrophe is a lifetime.
    if chars[at] == '\'' && (chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\'')) {
        return end_of_quoted(chars, at, '\'');
    }
    at
}

fn end_of_quoted(chars: &[char], at: usize, quote: char) -> usize {
    let mut place = at + 1;
    while place < chars.len() && chars[place] != quote {
        place += if chars[place] == '\\' { 2 } else { 1 };
    }
    (place + 1).min(chars.len())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Takes out every item that is compiled for tests only.
fn without_tests(code: &str) -> String {
    let mut rest = code;
    let mut kept = String::with_capacity(code.len());
    while let Some(at) = rest.find("#[cfg(") {
        let end = at + closing(&rest[at + 1..]) + 1;
        let words: Vec<&str> = rest[at..end].split(|c| !is_word(c)).collect();
        let for_tests = words.iter().any(|word| matches!(*word, "test" | "doctest")) && !words.contains(&"not");
        kept.push_str(&rest[..at]);
        if for_tests {
            let item = &rest[end..];
            let length = end_of_item(item);
            kept.extend(rest[at..end + length].chars().filter(|c| *c == '\n'));
            rest = &item[length..];
        } else {
            kept.push_str(&rest[at..end]);
            rest = &rest[end..];
        }
    }
    kept + rest
}

/// Behind the bracket that closes the first one.
fn closing(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return at + c.len_utf8();
        }
    }
    text.len()
}

/// Behind an item: behind its braces, or its semicolon where that comes first.
fn end_of_item(text: &str) -> usize {
    let mut at = 0;
    while at < text.len() {
        match text.as_bytes()[at] {
            b';' => return at + 1,
            b'{' => return at + closing(&text[at..]),
            b'(' | b'[' => at += closing(&text[at..]),
            _ => at += 1,
        }
    }
    at
}

/// Words, `::`, and every other character that is not space.
pub(super) fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (token, behind) = rest.split_at(length);
        tokens.push(token);
        rest = behind.trim_start();
    }
    tokens
}

/// The paths that begin at the root of the crate, as seen from `module`: `crate::a::b`, `super::b`, `crate::{a, b}`.
pub(super) fn paths_of_the_crate(code: &str, module: &[&str]) -> Vec<Vec<String>> {
    let tokens = tokens(code);
    let mut paths = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if at > 0 && tokens[at - 1] == "::" {
            continue;
        }
        let mut base: Vec<String> = match *token {
            "crate" => Vec::new(),
            "super" => module[..module.len().saturating_sub(1)].iter().map(|part| (*part).to_owned()).collect(),
            _ => continue,
        };
        let mut next = at + 1;
        while *token == "super" && tokens[next..].starts_with(&["::", "super"]) {
            base.pop();
            next += 2;
        }
        follow(&tokens, next, base, &mut paths);
    }
    paths
}

/// Goes on along a path; returns the place behind it.
fn follow(tokens: &[&str], mut at: usize, mut path: Vec<String>, paths: &mut Vec<Vec<String>>) -> usize {
    while tokens.get(at) == Some(&"::") {
        at += 1;
        match tokens.get(at) {
            Some(&"{") => {
                at += 1;
                while tokens.get(at).is_some_and(|token| *token != "}") {
                    if tokens[at] == "," {
                        at += 1;
                        continue;
                    }
                    let mut longer = path.clone();
                    longer.push(tokens[at].to_owned());
                    at = follow(tokens, at + 1, longer, paths);
                    // `as another_name`
                    while tokens.get(at).is_some_and(|token| !matches!(*token, "," | "}")) {
                        at += 1;
                    }
                }
                return at + 1;
            }
            Some(part) if part.chars().all(is_word) => path.push((*part).to_owned()),
            Some(_) | None => break,
        }
        at += 1;
    }
    paths.push(path);
    at
}

/// Whether the code uses the crate of this name.
pub(super) fn names_crate(code: &str, name: &str) -> bool {
    let tokens = tokens(code);
    // A module of the same name hides the crate, unless it is written with `::` before it.
    let is_hidden = tokens.windows(2).any(|pair| pair == ["mod", name]);
    let places = tokens.iter().enumerate().filter(|(_, token)| **token == name).map(|(at, _)| at);
    places.into_iter().any(|at| {
        let before = |back: usize| at.checked_sub(back).map_or("", |place| tokens[place]);
        let after = tokens.get(at + 1).copied().unwrap_or_default();
        let is_rooted = before(1) == "::" && !before(2).chars().all(is_word) || before(1) == "::" && before(2) == "use";
        let is_first = before(1) != "::" && !is_hidden && (after == "::" || before(1) == "use");
        is_rooted || is_first
    })
}

#[test]
fn a_file_is_read_without_comments_texts_and_tests() {
    let text = r##"//! crate::a
use crate::b; /* crate::c /* */ crate::d */
const E: &str = "crate::e \" crate::f"; const G: char = '"'; const H: &str = r#"crate::g " crate::h"#;
fn i<'a>(c: &'a str) -> char { '\'' }
#[cfg(test)]
use crate::j::{k, l};
#[cfg(feature = "x")]
use crate::m;
#[cfg(all(test, feature = "y"))]
mod tests { use crate::n; fn o() {} }
use super::p;
"##;
    let source = Source::new("sync-core/src/x/y.rs", text.to_owned());
    let paths = |code: &str| -> Vec<_> { paths_of_the_crate(code, &["x", "y"]).iter().map(|p| p.join("::")).collect() };
    assert_eq!(paths(&source.code), ["b", "j::k", "j::l", "m", "n", "x::p"]);
    assert_eq!(paths(&source.production), ["b", "m", "x::p"]);
    assert_eq!(source.production.lines().count(), text.lines().count(), "the lines stay where they are");
}

#[test]
fn a_path_is_found_however_it_is_written() {
    let paths = |code: &str| -> Vec<_> { paths_of_the_crate(code, &["x", "y"]).iter().map(|p| p.join("::")).collect() };
    assert_eq!(paths("use crate::{a::{b, c as d}, e::f};"), ["a::b", "a::c", "e::f"]);
    assert_eq!(paths("super::super::relay::run(crate::a::b::<u8>())"), ["relay::run", "a::b"]);
    assert_eq!(paths("pub(crate) fn f(super_: T) {}"), [""]);
    for code in ["use rdkafka::A;", "fn f() -> ::rdkafka::A", "use ::rdkafka as r;", "use rdkafka;", "<rdkafka::A>::b"]
    {
        assert!(names_crate(code, "rdkafka"), "{code}");
    }
    for code in ["mod rdkafka; use rdkafka::A;", "use crate::rdkafka::A;", "let rdkafka = 1;", "librdkafka::A"] {
        assert!(!names_crate(code, "rdkafka"), "{code}");
    }
}
