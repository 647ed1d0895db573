//! What a word is: as Unicode says, without regard to case. It is the same for what is written and what is looked for.

use tantivy::tokenizer::{Token, TokenStream, Tokenizer};
use unicode_segmentation::UnicodeSegmentation;

/// The name of the tokenizer in an index.
pub(super) const WORDS: &str = "words";

/// Finds the words of a text that is written.
#[derive(Clone, Debug)]
pub(super) struct Words;

/// The words of one text.
#[derive(Debug)]
pub(super) struct WordsOf<'a> {
    left: unicode_segmentation::UnicodeWordIndices<'a>,
    token: Token,
}

impl Tokenizer for Words {
    type TokenStream<'a> = WordsOf<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> WordsOf<'a> {
        WordsOf { left: text.unicode_word_indices(), token: Token::default() }
    }
}

impl TokenStream for WordsOf<'_> {
    fn advance(&mut self) -> bool {
        let Some((offset, word)) = self.left.next() else { return false };
        self.token.offset_from = offset;
        self.token.offset_to = offset + word.len();
        // Before the first word the position is the largest there is.
        self.token.position = self.token.position.wrapping_add(1);
        self.token.text = word.to_lowercase();
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::words_of;

    #[test]
    fn what_is_written_has_the_words_that_are_looked_for_at_consecutive_places() {
        let text = "Größe, AC/DC 3.14 日本 don't";
        let (mut tokenizer, mut found) = (Words, Vec::new());
        let mut stream = tokenizer.token_stream(text);
        while stream.advance() {
            let token = stream.token();
            assert_eq!(token.position, found.len());
            assert_eq!(text[token.offset_from..token.offset_to].to_lowercase(), token.text);
            found.push(token.text.clone());
        }
        assert_eq!(found, words_of(text).collect::<Vec<_>>());
        assert_eq!(found, ["größe", "ac", "dc", "3.14", "日", "本", "don't"]);
    }
}
