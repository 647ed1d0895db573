//! What is told of messages whose emitter is traced.

use std::sync::Arc;

use jiff::Timestamp;

use super::failure::Failure;
use crate::port::{Incoming, Span, SpanKind, Tracer};
use crate::telemetry::trace::{self, TraceContext};

/// Where it is told, if anywhere.
#[derive(Clone, Debug, Default)]
pub(super) struct Traces(pub(super) Option<Arc<dyn Tracer>>);

/// A traced message that is worked on.
#[derive(Clone, Debug)]
pub(super) struct Traced {
    pub(super) context: TraceContext,
    offset: i64,
    received: Timestamp,
}

impl Traces {
    /// What is to be told of this message in the end, if anything is.
    pub(super) fn of(&self, message: &Incoming, now: Timestamp) -> Option<Traced> {
        self.0.as_ref()?;
        let (_, text) = message.headers.iter().find(|(name, _)| name == trace::HEADER)?;
        let context = TraceContext::parse(std::str::from_utf8(text).ok()?).filter(|context| context.is_sampled)?;
        Some(Traced { context, offset: message.offset, received: now })
    }

    /// They have been worked on; `failures` are those that were not taken.
    pub(super) fn worked_on(&self, index: &str, topic: &str, traced: Vec<Traced>, failures: &[Failure]) {
        let Some(tracer) = &self.0 else { return };
        let now = Timestamp::now();
        for Traced { context, offset, received } in traced {
            // A key that failed has the offset of its last message; those before it failed with it, and are not told apart here.
            let failure = failures.iter().find(|failure| failure.provenance.offset == offset);
            tracer.record(Span {
                parent: context,
                name: "index",
                kind: SpanKind::Consumer,
                began_at: received,
                ended_at: now.max(received),
                attributes: vec![("messaging.destination.name", topic.to_owned()), ("index", index.to_owned())],
                error: failure.map(|failure| failure.error.kind().name().to_owned()),
            });
        }
    }
}
