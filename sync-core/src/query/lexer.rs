//! The query language's tokens.

use std::iter::Peekable;
use std::str::Chars;

/// One of the things between the blanks of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// A minus stood before it.
    pub(super) is_excluded: bool,
    pub(super) what: Lexeme,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lexeme {
    /// A word without a name.
    Bare(String),
    /// What stood in quotes.
    Quoted(String),
    /// A name, and what is asked of it.
    Named(String, Vec<Piece>),
}

/// A part of what follows a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Bare(String),
    /// In quotes, nothing has a meaning.
    Quoted(String),
    Comma,
}

/// Reads tokens. A quote that is not closed ends with the text: people search while they type.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut characters = text.chars().peekable();
    let mut tokens = Vec::new();
    loop {
        while characters.next_if(|c| c.is_whitespace()).is_some() {}
        if characters.peek().is_none() {
            return tokens;
        }
        let is_excluded = characters.next_if_eq(&'-').is_some();
        let what = if characters.next_if_eq(&'"').is_some() {
            Lexeme::Quoted(quoted(&mut characters))
        } else {
            bare(&mut characters)
        };
        tokens.push(Token { is_excluded, what });
    }
}

fn quoted(characters: &mut Peekable<Chars<'_>>) -> String {
    characters.by_ref().take_while(|c| *c != '"').collect()
}

fn bare(characters: &mut Peekable<Chars<'_>>) -> Lexeme {
    let mut word = String::new();
    while let Some(c) = characters.next_if(|c| !c.is_whitespace()) {
        // An address has a colon, too: http://…
        let ends_a_name =
            c == ':' && is_name(&word) && characters.peek().is_some_and(|c| *c != '/' && !c.is_whitespace());
        if ends_a_name {
            return Lexeme::Named(word, pieces(characters));
        }
        word.push(c);
    }
    Lexeme::Bare(word)
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
}

fn pieces(characters: &mut Peekable<Chars<'_>>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    while let Some(c) = characters.next_if(|c| !c.is_whitespace()) {
        match (c, pieces.last_mut()) {
            ('"', _) => pieces.push(Piece::Quoted(quoted(characters))),
            (',', _) => pieces.push(Piece::Comma),
            (c, Some(Piece::Bare(word))) => word.push(c),
            (c, None | Some(Piece::Quoted(_) | Piece::Comma)) => pieces.push(Piece::Bare(c.to_string())),
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(bool, Lexeme)> {
        tokens(text).into_iter().map(|token| (token.is_excluded, token.what)).collect()
    }

    #[test]
    fn blanks_part_tokens_and_quotes_keep_them_together() {
        let bare = |text: &str| Lexeme::Bare(text.into());
        assert_eq!(read("  a  -b\tc-d "), [(false, bare("a")), (true, bare("b")), (false, bare("c-d"))]);
        assert_eq!(read("-\"a b\"\"c"), [(true, Lexeme::Quoted("a b".into())), (false, Lexeme::Quoted("c".into()))]);
        assert_eq!(read(""), []);
    }

    #[test]
    fn a_name_is_followed_by_a_colon_and_something() {
        let piece = |text: &str| Piece::Bare(text.into());
        let expected = vec![piece("b"), Piece::Comma, Piece::Quoted("c, d".into())];
        assert_eq!(read("a.x:b,\"c, d\""), [(false, Lexeme::Named("a.x".into(), expected))]);
        for text in ["a:", "http://a", "1:2", ":a", "a-b:c"] {
            assert_eq!(read(text), [(false, Lexeme::Bare(text.into()))], "{text}");
        }
    }
}
