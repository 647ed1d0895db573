//! A query in the words of the index.

use std::ops::Bound;

use tantivy::query::{
    AllQuery, BooleanQuery, BoostQuery, ConstScoreQuery, EmptyQuery, ExistsQuery, InvertedIndexRangeQuery, Occur,
    PhraseQuery, Query as Matches, RangeQuery, TermQuery, TermSetQuery,
};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{Searcher as Segments, Term};

use super::excluded::Excluded;
use super::ordered::Sorting;
use crate::adapter::local_index::fields::{Kind, Searched};
use crate::adapter::local_index::store::Store;
use crate::error::{Error, ErrorKind};
use crate::query::{Condition, Fields, Filter, Pattern, Query, Text, Value, Words, words_of};

type Matcher = Box<dyn Matches>;

/// What documents are asked for, at one moment.
pub(super) struct Matching<'a> {
    pub(super) store: &'a Store,
    pub(super) searched: &'a Fields,
    pub(super) segments: &'a Segments,
}

impl Matching<'_> {
    /// What fits, ranked by the words that were looked for.
    pub(super) fn all(&self, query: &Query) -> Result<Matcher, Error> {
        let live = term(Term::from_field_bool(self.store.fields.live, true));
        let mut parts = vec![(Occur::Must, unranked(live))];
        for Words { is_excluded, what } in &query.text {
            match (self.text(what)?, is_excluded) {
                (Some(matcher), false) => parts.push((Occur::Must, matcher)),
                (Some(matcher), true) => parts.push((Occur::MustNot, Box::new(Excluded(matcher)))),
                // Of signs alone nothing is left to be found or excluded.
                (None, _) => {}
            }
        }
        for filter in &query.filters {
            let occur = if filter.is_excluded { Occur::MustNot } else { Occur::Must };
            parts.push((occur, unranked(self.holds(filter)?)));
        }
        Ok(combined(parts))
    }

    /// Those of them that come behind a place in an order.
    pub(super) fn after(&self, all: Matcher, sorting: Sorting, value: Option<&Value>, key: &str) -> Matcher {
        let Sorting { by, descending } = sorting;
        let behind_key = self.keys_behind(key, descending);
        let has_value = || Box::new(ExistsQuery::new(self.store.fields.name(by.field).to_owned(), false));
        let behind: Matcher = match value {
            None => combined(vec![
                (Occur::Must, behind_key),
                (Occur::MustNot, has_value()),
                (Occur::Must, Box::new(AllQuery)),
            ]),
            Some(value) => {
                let same = combined(vec![
                    (Occur::Must, one_of(by.field, std::slice::from_ref(value))),
                    (Occur::Must, behind_key),
                ]);
                let none = combined(vec![(Occur::Must, Box::new(AllQuery)), (Occur::MustNot, has_value())]);
                let value = to_term(by.field, value);
                let further = if descending {
                    between(by.kind, Bound::Unbounded, Bound::Excluded(value))
                } else {
                    between(by.kind, Bound::Excluded(value), Bound::Unbounded)
                };
                combined(vec![(Occur::Should, same), (Occur::Should, further), (Occur::Should, none)])
            }
        };
        combined(vec![(Occur::Must, all), (Occur::Must, behind)])
    }

    fn keys_behind(&self, key: &str, descending: bool) -> Matcher {
        let key = Term::from_field_text(self.store.fields.key, key);
        if descending {
            between(Kind::Keyword, Bound::Unbounded, Bound::Excluded(key))
        } else {
            between(Kind::Keyword, Bound::Excluded(key), Bound::Unbounded)
        }
    }

    /// A field of the index.
    ///
    /// # Errors
    /// `Configuration` when the index was made without it.
    pub(super) fn field(&self, path: &str) -> Result<Searched, Error> {
        self.store.fields.at(path).ok_or_else(|| {
            let what = format!("the index was made of a mapping without {path}; a re-index makes it anew");
            Error::new(ErrorKind::Configuration, what)
        })
    }

    /// What has these words; `None` when there is no word among them.
    fn text(&self, text: &Text) -> Result<Option<Matcher>, Error> {
        let words: Vec<_> = words_of(text.written()).collect();
        let Some((last, others)) = words.split_last() else { return Ok(None) };
        let mut fields = Vec::with_capacity(self.searched.text().len());
        for searched in self.searched.text() {
            fields.push((self.field(&searched.name)?.field, searched.weight));
        }
        let in_any = |of: &dyn Fn(Field) -> Matcher| {
            let weighted = |(field, weight): &(Field, f32)| -> (Occur, Matcher) {
                (Occur::Should, Box::new(BoostQuery::new(of(*field), *weight)))
            };
            combined(fields.iter().map(weighted).collect())
        };
        Ok(Some(match text {
            // Each word may be in a field of its own.
            Text::Word(_) => {
                combined(words.iter().map(|word| (Occur::Must, in_any(&|field| has(field, word)))).collect())
            }
            Text::Prefix(_) => in_any(&|field| {
                let whole = others.iter().map(|word| (Occur::Must, has(field, word)));
                combined(whole.chain([(Occur::Must, begins(field, last))]).collect())
            }),
            Text::Phrase(_) if others.is_empty() => in_any(&|field| has(field, last)),
            Text::Phrase(_) => in_any(&|field| {
                Box::new(PhraseQuery::new(words.iter().map(|word| Term::from_field_text(field, word)).collect()))
            }),
        }))
    }

    fn holds(&self, filter: &Filter) -> Result<Matcher, Error> {
        let Searched { field, kind } = self.field(&filter.field)?;
        Ok(match &filter.condition {
            Condition::OneOf(values) => one_of(field, values),
            Condition::Between(from, to) => {
                let bound = |bound: &Bound<Value>| bound.as_ref().map(|value| to_term(field, value));
                between(kind, bound(from), bound(to))
            }
            Condition::Like(pattern) => self.like(field, pattern)?,
            Condition::Present => Box::new(ExistsQuery::new(self.store.fields.name(field).to_owned(), false)),
        })
    }

    /// The keywords that fit are looked up, and then found.
    fn like(&self, field: Field, pattern: &Pattern) -> Result<Matcher, Error> {
        let beginning = pattern.parts().first().map_or("", String::as_str);
        let mut fitting = Vec::new();
        let mut look = || -> tantivy::Result<()> {
            for segment in self.segments.segment_readers() {
                let terms = segment.inverted_index(field)?;
                let mut keywords = terms.terms().range().ge(beginning).into_stream()?;
                while keywords.advance() {
                    let Ok(keyword) = std::str::from_utf8(keywords.key()) else { continue };
                    if !keyword.starts_with(beginning) {
                        break;
                    }
                    if pattern.fits(keyword) {
                        fitting.push(Term::from_field_text(field, keyword));
                    }
                }
            }
            Ok(())
        };
        look().map_err(|error| self.store.failed(error))?;
        Ok(if fitting.is_empty() { Box::new(EmptyQuery) } else { Box::new(TermSetQuery::new(fitting)) })
    }
}

/// All of what must be, none of what must not, one of what should.
fn combined(parts: Vec<(Occur, Matcher)>) -> Matcher {
    Box::new(BooleanQuery::new(parts))
}

fn term(term: Term) -> Matcher {
    Box::new(TermQuery::new(term, IndexRecordOption::Basic))
}

fn unranked(matcher: Matcher) -> Matcher {
    Box::new(ConstScoreQuery::new(matcher, 0.0))
}

fn has(field: Field, word: &str) -> Matcher {
    Box::new(TermQuery::new(Term::from_field_text(field, word), IndexRecordOption::WithFreqs))
}

/// A word that begins so: up to where no word can be.
fn begins(field: Field, word: &str) -> Matcher {
    let [from, to] = [word.to_owned(), format!("{word}\u{10ffff}")].map(|word| Term::from_field_text(field, &word));
    Box::new(InvertedIndexRangeQuery::new(Bound::Included(from), Bound::Excluded(to)))
}

fn between(kind: Kind, from: Bound<Term>, to: Bound<Term>) -> Matcher {
    match kind {
        // By their terms: keywords have other numbers in each segment, and of booleans a column is not asked for a range.
        Kind::Keyword | Kind::Text | Kind::Boolean => Box::new(InvertedIndexRangeQuery::new(from, to)),
        Kind::Whole | Kind::Number | Kind::Date => Box::new(RangeQuery::new(from, to)),
    }
}

fn one_of(field: Field, values: &[Value]) -> Matcher {
    Box::new(TermSetQuery::new(values.iter().map(|value| to_term(field, value))))
}

fn to_term(field: Field, value: &Value) -> Term {
    match value {
        Value::Keyword(text) => Term::from_field_text(field, text),
        Value::Integer(number) | Value::Date(number) => Term::from_field_i64(field, *number),
        Value::Double(number) => Term::from_field_f64(field, *number),
        Value::Boolean(is) => Term::from_field_bool(field, *is),
    }
}
