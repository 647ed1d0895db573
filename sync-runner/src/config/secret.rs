//! A value that must not be seen: no `Display`, and its `Debug` says nothing about it.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// A password, a key, or a setting that may hold one. Its memory is wiped when it is dropped.
#[derive(Clone)]
pub(crate) struct Secret(SecretString);

impl Secret {
    /// Takes it over.
    pub(crate) fn new(text: String) -> Self {
        Self(SecretString::from(text))
    }

    /// Gives it out, to the client that has to know it and to nobody else.
    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_says_nothing_about_it() {
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2".to_owned()))), "Some([secret])");
    }
}
