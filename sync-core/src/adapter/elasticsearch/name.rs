//! Names of indexes: which are legal, and how they are written in a path.

/// The longest alias, in bytes: index names have at most 255, and ours end in a hyphen and six digits.
const MAX_ALIAS_BYTES: usize = 248;

/// Why Elasticsearch would not take this name.
pub(super) fn illegal_name(name: &str) -> Option<String> {
    const FORBIDDEN: &[char] = &['\\', '/', '*', '?', '"', '<', '>', '|', ' ', ',', '#', ':'];
    if name.is_empty() || name.len() > MAX_ALIAS_BYTES {
        return Some(format!("a name has 1 to {MAX_ALIAS_BYTES} bytes"));
    }
    if name.starts_with(['-', '_', '+', '.']) {
        return Some("a name does not begin with - _ + or .".to_owned());
    }
    if name.contains(FORBIDDEN) || name.chars().any(char::is_control) {
        return Some("a name has no spaces and none of \\ / * ? \" < > | , # :".to_owned());
    }
    (name != name.to_lowercase()).then(|| "a name has no capital letters".to_owned())
}

/// A name as one part of a path.
pub(super) fn segment(name: &str) -> String {
    use std::fmt::Write;

    let mut path = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            path.push(char::from(byte));
        } else if write!(path, "%{byte:02X}").is_err() {
            // Writing into memory has no way to fail.
            return path;
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_checked_before_it_is_used() {
        let long = "x".repeat(249);
        for name in ["", "Jobs", "a b", "a*", "_all", "-a", "+a", ".", "..", "a/b", "a,b", "a:b", "É", "a\nb", &long] {
            assert!(illegal_name(name).is_some(), "{name}");
        }
        for name in ["jobs", "jobs-2", "a.b_c", "größe", &"x".repeat(248)] {
            assert_eq!(illegal_name(name), None, "{name}");
        }
    }

    #[test]
    fn a_name_is_one_part_of_a_path() {
        assert_eq!(segment("jobs-000001"), "jobs-000001");
        assert_eq!(segment("a+b%größe"), "a%2Bb%25gr%C3%B6%C3%9Fe");
    }
}
