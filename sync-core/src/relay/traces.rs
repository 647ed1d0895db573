//! What is told of events whose emitter is traced.

use std::sync::Arc;

use jiff::Timestamp;

use crate::event::Event;
use crate::port::{Span, SpanKind, Tracer};
use crate::telemetry::trace::{self, TraceContext};

/// Where it is told, if anywhere.
#[derive(Clone, Debug, Default)]
pub(super) struct Traces(pub(super) Option<Arc<dyn Tracer>>);

/// A traced event on its way.
#[derive(Debug)]
pub(super) struct Traced {
    context: TraceContext,
    event: i64,
    topic: String,
    created_at: Timestamp,
}

impl Traces {
    /// Those of these events that are traced.
    pub(super) fn of(&self, events: &[Event]) -> Vec<Traced> {
        if self.0.is_none() {
            return Vec::new();
        }
        let traced = |event: &Event| {
            let (_, text) = event.headers.iter().find(|(name, _)| name == trace::HEADER)?;
            let context = TraceContext::parse(text).filter(|context| context.is_sampled)?;
            Some(Traced { context, event: event.id, topic: event.topic.clone(), created_at: event.created_at })
        };
        events.iter().filter_map(traced).collect()
    }

    /// The bus has acknowledged them.
    pub(super) fn published(&self, traced: Vec<Traced>) {
        let Some(tracer) = &self.0 else { return };
        let now = Timestamp::now();
        for Traced { context, event, topic, created_at } in traced {
            tracer.record(Span {
                parent: context,
                name: "outbox publish",
                kind: SpanKind::Producer,
                began_at: created_at,
                ended_at: now.max(created_at),
                attributes: vec![("messaging.destination.name", topic), ("messaging.message.id", event.to_string())],
                error: None,
            });
        }
    }
}
