//! Events the bus will never take.

use std::sync::Arc;

use crate::error::Error;
use crate::event::Event;
use crate::port::{Clock, DeadLetter, DeadLetters, Origin};

/// Where a relay puts them.
#[derive(Debug)]
pub(super) struct Parking {
    /// Whose relay it is.
    pub(super) subscription: String,
    pub(super) letters: Arc<dyn DeadLetters>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Parking {
    /// Returns once the event is safe among the dead letters, with all it carried.
    pub(super) async fn park(&self, event: Event, error: &Error) -> Result<(), Error> {
        let Event { id, topic, key, .. } = &event;
        tracing::warn!(id, topic, key, %error, "parked as a dead letter: it was not published");
        let letter = DeadLetter {
            reader: self.subscription.clone(),
            origin: Origin { topic: event.topic, partition: -1, offset: event.id },
            event: Some(event.id),
            key: Some(event.key),
            value: event.payload,
            error_kind: error.kind().name().to_owned(),
            error: error.to_string(),
            attempts: 1,
            parked_at: self.clock.now(),
        };
        self.letters.park(&letter).await
    }
}
