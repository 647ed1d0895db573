//! Where it is told what was done for a trace.

use std::fmt::Debug;

use jiff::Timestamp;

use crate::telemetry::trace::TraceContext;

/// Which part did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// It put a message onto a bus.
    Producer,
    /// It took one from there, and did what it asks for.
    Consumer,
}

/// Something that was done for a trace, from its beginning to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// What it was done for.
    pub parent: TraceContext,
    /// What was done.
    pub name: &'static str,
    /// Which part did it.
    pub kind: SpanKind,
    /// When it began.
    pub began_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// More about it; no payloads, no keys.
    pub attributes: Vec<(&'static str, String)>,
    /// The kind of error it came to nothing by; what errors say may quote payloads.
    pub error: Option<String>,
}

/// Takes spans, from many at once. Never waits and never fails: what is too much, or cannot be told on, is left out.
pub trait Tracer: Debug + Send + Sync + 'static {
    /// One more.
    fn record(&self, span: Span);
}
