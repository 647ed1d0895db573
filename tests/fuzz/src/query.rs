//! What searchers write: queries, cursors; and what people and programs configure or send along.

use crate::FuzzTarget;
use sync_core::query::{Cursor, FieldNames, Fields, MAX_PARTS, Query};
use sync_core::telemetry::trace::TraceContext;
use sync_core::testkit::{SEARCHED_MAPPING, searched_fields};
use sync_core::{Error, ErrorKind};

/// It is not taken, and only for this.
fn is_refused(error: &Error, kind: ErrorKind) -> bool {
    assert_eq!(error.kind(), kind, "{error}");
    false
}

pub(super) const TARGET: FuzzTarget = FuzzTarget {
    name: "query",
    examples: &[
        "invoice \"annual report\" -draft status:OPEN,PAID priority:>=3 created_at:2026-01-01..2026-01-31",
        "mig* score:1.5..2 active:true status:F* workspace.name:* -status:FAILED",
        "created_at:>2026-01-01T10:00:00+01:00 priority:-5..5 \"quo\\\"ted\"",
    ],
    refused: &["nobody:1", "priority:high"],
    run: |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        match Query::parse(text, &searched_fields()) {
            Ok(query) => {
                assert!(query.text.len() + query.filters.len() <= MAX_PARTS, "{query:?}");
                assert!(query.check(&searched_fields()).is_ok(), "{query:?}");
                true
            }
            Err(error) => is_refused(&error, ErrorKind::Refused),
        }
    },
};

pub(super) const CURSOR: FuzzTarget = FuzzTarget {
    name: "cursor",
    examples: &[
        "eyJieSI6Im1lbW9yeSIsIm9yZGVyIjp7ImJ5Ijp7ImZpZWxkIjoibiIsImRlc2NlbmRpbmciOnRydWV9fSwiZGVwdGgiOjIwLCJwbGFjZSI6ImRlcHRoIn0",
        "eyJieSI6Im1lbW9yeSIsIm9yZGVyIjoicmVsZXZhbmNlIiwiZGVwdGgiOjIwLCJwbGFjZSI6eyJhZnRlciI6eyJ2YWx1ZSI6bnVsbCwia2V5IjoiYSJ9fX0",
    ],
    refused: &["", "e30"],
    run: |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        match Cursor::parse(text) {
            Ok(cursor) => {
                assert_eq!(
                    Cursor::parse(&cursor.to_string()).ok().as_ref(),
                    Some(&cursor),
                    "it is read as it was written"
                );
                let query = Query { order: Some(cursor.order.clone()), after: Some(cursor), ..Query::default() };
                drop(query.check(&searched_fields()));
                true
            }
            Err(error) => is_refused(&error, ErrorKind::Refused),
        }
    },
};

pub(super) const MAPPING: FuzzTarget = FuzzTarget {
    name: "mapping",
    examples: &[SEARCHED_MAPPING],
    refused: &["[]", "{"],
    run: |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        let names = FieldNames::new("id")
            .text(["title^3", "description"])
            .fields(["status", "tags[]", "priority", "workspace.name"])
            .order("-priority");
        match Fields::of_mapping(text, &names) {
            Ok(fields) => {
                assert_eq!(fields.text().len(), 2);
                true
            }
            Err(error) => is_refused(&error, ErrorKind::Configuration),
        }
    },
};

pub(super) const TRACE_CONTEXT: FuzzTarget = FuzzTarget {
    name: "traceparent",
    examples: &[
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-what-a-later-version-says",
    ],
    refused: &["00-0-0-01", ""],
    run: |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        let Some(context) = TraceContext::parse(text) else { return false };
        let written = context.to_string();
        assert_eq!(TraceContext::parse(&written), Some(context), "{text:?} was written as {written}");
        assert_eq!(text.get(2..52), written.get(2..52), "the ids stay as they are");
        true
    },
};
