//! From tokens to a query.

use std::ops::Bound;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};

use super::condition::{Condition, Filter, Pattern, Value, whole_milliseconds};
use super::fields::{Field, FieldKind, Fields};
use super::lexer::{Lexeme, Piece, Token, tokens};
use super::{Query, Text, Words, refused};
use crate::error::Error;

pub(super) fn parse(text: &str, fields: &Fields) -> Result<Query, Error> {
    let mut query = Query::default();
    for Token { is_excluded, what } in tokens(text) {
        let what = match what {
            Lexeme::Named(name, pieces) => {
                query.filters.push(filter(name, is_excluded, &pieces, fields)?);
                continue;
            }
            Lexeme::Quoted(phrase) => Text::Phrase(phrase),
            Lexeme::Bare(word) => match word.strip_suffix('*') {
                Some(prefix) => Text::Prefix(prefix.to_owned()),
                None => Text::Word(word),
            },
        };
        // A dash between two words, and whatever else says nothing.
        if what.written().chars().any(char::is_alphanumeric) {
            query.text.push(Words { is_excluded, what });
        }
    }
    query.check(fields)?;
    Ok(query)
}

fn filter(name: String, is_excluded: bool, pieces: &[Piece], fields: &Fields) -> Result<Filter, Error> {
    if fields.text().iter().any(|field| field.name == name) {
        let what =
            format!("{name}: its words are looked for without a name; \"quote it\" if the colon is part of the text");
        return Err(refused(what));
    }
    let field = fields
        .get(&name)
        .map_err(|error| refused(format!("{error}; \"quote it\" if the colon is part of the text")))?;
    let condition = condition(field, pieces).ok_or_else(|| refused(format!("{name}: {}", field.expected())))?;
    Ok(Filter { field: name, is_excluded, condition })
}

fn condition(field: Field, pieces: &[Piece]) -> Option<Condition> {
    match pieces {
        [Piece::Bare(any)] if any == "*" => return Some(Condition::Present),
        [Piece::Bare(word)] if field.kind == FieldKind::Keyword && word.contains('*') => {
            return Some(Condition::Like(Pattern::new(word.split('*').map(str::to_owned).collect())));
        }
        [Piece::Bare(word)] if field.kind != FieldKind::Keyword => {
            if let Some(range) = range(field.kind, word) {
                return Some(range);
            }
        }
        _ => {}
    }
    let mut values = Vec::new();
    for of_one in pieces.split(|piece| *piece == Piece::Comma) {
        let [Piece::Bare(text) | Piece::Quoted(text)] = of_one else { return None };
        if matches!(of_one, [Piece::Bare(text)] if text.contains('*')) {
            return None;
        }
        values.push(value(field.kind, text)?);
    }
    Some(Condition::OneOf(values))
}

fn value(kind: FieldKind, text: &str) -> Option<Value> {
    Some(match kind {
        FieldKind::Keyword => Value::Keyword(text.to_owned()),
        FieldKind::Integer | FieldKind::Long => Value::Integer(text.parse().ok()?),
        // Zero is one, whatever its sign.
        FieldKind::Double => Value::Double(text.parse::<f64>().ok().filter(|number| number.is_finite())? + 0.0),
        FieldKind::Boolean => Value::Boolean(text.parse().ok()?),
        // A date is a span of time: see below.
        FieldKind::Date => return None,
    })
}

/// `>=a`, `<b`, `a..b`, and a date by itself, which is all of that day.
fn range(kind: FieldKind, text: &str) -> Option<Condition> {
    use Bound::{Excluded, Included, Unbounded};
    let between = |from: Bound<Value>, to: Bound<Value>| Some(Condition::Between(from, to));
    let span = |text: &str| -> Option<(Value, Bound<Value>)> {
        if kind == FieldKind::Date {
            let (from, to) = span_of(text)?;
            return Some((Value::Date(from), Excluded(Value::Date(to))));
        }
        let value = value(kind, text)?;
        Some((value.clone(), Included(value)))
    };
    if kind == FieldKind::Boolean {
        return None;
    }
    if let Some((from, to)) = text.split_once("..") {
        let from = if from == "*" { Unbounded } else { Included(span(from)?.0) };
        let to = if to == "*" { Unbounded } else { span(to)?.1 };
        return between(from, to);
    }
    if let Some(text) = text.strip_prefix(">=") {
        return between(Included(span(text)?.0), Unbounded);
    }
    if let Some(text) = text.strip_prefix("<=") {
        return between(Unbounded, span(text)?.1);
    }
    if let Some(text) = text.strip_prefix('>') {
        let after = match span(text)?.1 {
            Excluded(end) => Included(end),
            Included(last) => Excluded(last),
            Unbounded => Unbounded,
        };
        return between(after, Unbounded);
    }
    if let Some(text) = text.strip_prefix('<') {
        return between(Unbounded, Excluded(span(text)?.0));
    }
    let (from, to) = span(text)?;
    (kind == FieldKind::Date).then_some(Condition::Between(Included(from), to))
}

/// What a written date covers, in microseconds: a whole day, or a millisecond. Without a zone it is meant in UTC.
fn span_of(text: &str) -> Option<(i64, i64)> {
    let is_day = text.chars().all(|c| c.is_ascii_digit() || c == '-' || c == '+');
    if let (Ok(date), true) = (text.parse::<Date>(), is_day) {
        let from = micros(date.to_datetime(Time::midnight()));
        return Some((from, from + DAY));
    }
    let from = whole_milliseconds(moment(text)?);
    Some((from, from + 1_000))
}

/// A moment in microseconds; without a zone it is meant in UTC.
pub(crate) fn moment(text: &str) -> Option<i64> {
    let anywhere = || text.strip_suffix("+00:00").or(text.strip_suffix('Z')).unwrap_or(text).parse().ok().map(micros);
    text.parse::<Timestamp>().map(Timestamp::as_microsecond).ok().or_else(anywhere)
}

/// Also of a day that has no end in any calendar here.
fn micros(moment: DateTime) -> i64 {
    let since = moment.duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0));
    since.as_secs() * 1_000_000 + i64::from(since.subsec_micros())
}

const DAY: i64 = 24 * 3_600 * 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::query::FieldNames;

    fn fields() -> Fields {
        let mapping = r#"{"mappings":{"properties":{"id":{"type":"keyword"},"title":{"type":"text"},
            "status":{"type":"keyword"},"tags":{"type":"keyword"},"n":{"type":"integer"},"x":{"type":"double"},
            "at":{"type":"date"},"on":{"type":"boolean"}}}}"#;
        let fields = ["status", "tags[]", "n", "x", "at", "on"].map(str::to_owned).to_vec();
        let names = FieldNames { key: "id".into(), text: vec!["title".into()], fields, order: None };
        Fields::of_mapping(mapping, &names).unwrap()
    }

    #[track_caller]
    fn one(text: &str) -> Condition {
        let query = Query::parse(text, &fields()).unwrap();
        assert_eq!((query.filters.len(), query.text.len()), (1, 0), "{query:?}");
        query.filters[0].condition.clone()
    }

    fn date(text: &str) -> Value {
        Value::Date(text.parse::<Timestamp>().unwrap().as_microsecond())
    }

    #[test]
    fn words_prefixes_and_phrases_are_looked_for_in_text() {
        let query = Query::parse("invoice \"annual report\" -draft pre* - & http://a/b", &fields()).unwrap();
        let words = |is_excluded, what| Words { is_excluded, what };
        let expected = [
            words(false, Text::Word("invoice".into())),
            words(false, Text::Phrase("annual report".into())),
            words(true, Text::Word("draft".into())),
            words(false, Text::Prefix("pre".into())),
            words(false, Text::Word("http://a/b".into())),
        ];
        assert_eq!((query.text, query.filters.len()), (expected.to_vec(), 0));
    }

    #[test]
    fn a_field_is_asked_for_values_patterns_and_presence() {
        let keyword = |text: &str| Value::Keyword(text.into());
        assert_eq!(
            one("status:OPEN,\"two, of them\""),
            Condition::OneOf(vec![keyword("OPEN"), keyword("two, of them")])
        );
        assert_eq!(one("status:web-*"), Condition::Like(Pattern::new(vec!["web-".into(), String::new()])));
        assert_eq!(one("status:\"a*\""), Condition::OneOf(vec![keyword("a*")]));
        assert_eq!(one("-at:*"), Condition::Present);
        assert_eq!(one("n:-3,4"), Condition::OneOf(vec![Value::Integer(-3), Value::Integer(4)]));
        assert_eq!(one("on:true"), Condition::OneOf(vec![Value::Boolean(true)]));
    }

    #[test]
    fn a_number_is_asked_for_a_range() {
        use Bound::{Excluded, Included, Unbounded};
        let n = Value::Integer;
        assert_eq!(one("n:>=3"), Condition::Between(Included(n(3)), Unbounded));
        assert_eq!(one("n:<3"), Condition::Between(Unbounded, Excluded(n(3))));
        assert_eq!(one("n:-1..*"), Condition::Between(Included(n(-1)), Unbounded));
        assert_eq!(format!("{:?}", one("x:-0")), "OneOf([Double(0.0)])");
        assert_eq!(one("x:>0.5"), Condition::Between(Excluded(Value::Double(0.5)), Unbounded));
        assert_eq!(one("x:1..2"), Condition::Between(Included(Value::Double(1.0)), Included(Value::Double(2.0))));
    }

    #[test]
    fn a_date_is_a_day_or_a_millisecond_and_a_range_takes_all_of_it() {
        use Bound::{Excluded, Included, Unbounded};
        let (day, next) = (date("2026-01-31T00:00:00Z"), date("2026-02-01T00:00:00Z"));
        assert_eq!(one("at:2026-01-31"), Condition::Between(Included(day.clone()), Excluded(next.clone())));
        assert_eq!(one("at:<=2026-01-31"), Condition::Between(Unbounded, Excluded(next.clone())));
        assert_eq!(one("at:>2026-01-31"), Condition::Between(Included(next.clone()), Unbounded));
        assert_eq!(one("at:<2026-01-31"), Condition::Between(Unbounded, Excluded(day.clone())));
        assert_eq!(one("at:2026-01-31..2026-01-31"), Condition::Between(Included(day), Excluded(next)));
        let (from, to) = (date("2026-01-31T08:00:00.123Z"), date("2026-01-31T08:00:00.124Z"));
        assert_eq!(one("at:2026-01-31T09:00:00.1239+01:00"), Condition::Between(Included(from), Excluded(to)));
        assert_eq!(
            one("at:<=9999-12-31"),
            Condition::Between(Unbounded, Excluded(Value::Date(253_402_300_800_000_000)))
        );
        assert_eq!(one("at:>=2026-01-31t08:00"), one("at:>=2026-01-31T08:00"));
        assert_eq!(one("at:>=2026-01-31T08:00"), Condition::Between(Included(date("2026-01-31T08:00:00Z")), Unbounded));
    }

    #[test]
    fn what_cannot_be_asked_is_refused_with_what_can() {
        for (text, told) in [
            ("none:a", "there is no field \"none\""),
            ("title:a", "without a name"),
            ("n:three", "n: expected a whole number"),
            ("n:1,2..3", "n: expected"),
            ("n:99999999999999999999", "n: expected"),
            ("n:2147483648", "n: expected"),
            ("n:>-2147483649", "n: expected"),
            ("status:a\0b", "status: expected"),
            ("status:a\0*", "status: expected"),
            ("a\0b", "text"),
            ("x:NaN", "x: expected"),
            ("x:inf", "x: expected"),
            ("at:yesterday", "at: expected a date"),
            ("at:2026-02-30", "at: expected a date"),
            ("at:-005000-01-01", "at: expected a date"),
            ("status:web-*,db", "status: expected"),
            ("tags:a*", "tags: expected"),
            ("status:a,", "status: expected"),
            ("status:a\"b\"", "status: expected"),
            ("on:yes", "on: expected true"),
            ("on:>true", "on: expected true"),
        ] {
            let error = Query::parse(text, &fields()).unwrap_err();
            assert!(error.kind() == ErrorKind::Refused && error.to_string().contains(told), "{text}: {error}");
        }
        let many = vec!["word"; 101].join(" ");
        assert!(Query::parse(&many, &fields()).unwrap_err().to_string().contains("101 parts"));
    }
}
