//! Events the bus will never take.

use std::sync::Arc;

use crate::error::Error;
use crate::event::Outgoing;
use crate::port::{Clock, DeadLetter, DeadLetters, Origin, Withheld};

/// Where a relay puts them.
#[derive(Debug)]
pub(super) struct Parking {
    /// Whose relay it is.
    pub(super) subscription: String,
    pub(super) letters: Arc<dyn DeadLetters>,
    pub(super) clock: Arc<dyn Clock>,
}

/// What a letter tells of an event.
pub(super) struct Unpublished {
    pub(super) id: i64,
    pub(super) topic: String,
    pub(super) key: String,
    pub(super) value: Option<String>,
}

impl Unpublished {
    /// Of its message. A value that was made for want of a payload tells nothing, and is left out.
    pub(super) fn new(id: i64, has_payload: bool, message: Outgoing) -> Self {
        let Outgoing { topic, key, value, .. } = message;
        Self { id, topic, key, value: value.filter(|_| has_payload) }
    }

    /// Whoever keeps letters beside the events takes the value from there.
    pub(super) fn withheld(event: Withheld) -> Self {
        let Withheld { id, topic, key, .. } = event;
        Self { id, topic, key, value: None }
    }
}

impl Parking {
    /// Returns once the event is safe among the dead letters, with all it carried.
    pub(super) async fn park(&self, event: Unpublished, error: &Error) -> Result<(), Error> {
        let Unpublished { id, topic, key, value } = event;
        tracing::warn!(id, topic, key, %error, "parked as a dead letter: it was not published");
        let letter = DeadLetter {
            reader: self.subscription.clone(),
            origin: Origin::unpublished(topic, id),
            event: Some(id),
            key: Some(key),
            value,
            error_kind: error.kind().name().to_owned(),
            error: error.to_string(),
            attempts: 1,
            parked_at: self.clock.now(),
        };
        self.letters.park(&letter).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_holds_what_would_have_been_sent_unless_that_was_made_of_nothing() {
        let message = |value: Option<&str>| Outgoing {
            topic: "orders".to_owned(),
            key: "k".to_owned(),
            value: value.map(str::to_owned),
            headers: Vec::new(),
        };
        assert_eq!(Unpublished::new(7, true, message(Some("{}"))).value.as_deref(), Some("{}"));
        assert_eq!(Unpublished::new(7, false, message(Some("{\"key\":\"k\"}"))).value, None);
        assert_eq!(Unpublished::new(7, true, message(None)).value, None);
    }
}
