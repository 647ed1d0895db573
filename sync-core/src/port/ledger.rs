//! A source whose position is kept by the bus, in one transaction with the messages.

use std::fmt::Debug;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::history::History;
use super::source::{Cursor, Position, Reader, Source};
use crate::error::{Error, ErrorKind};

/// A place in a source's stream that may be kept outside the source: all events up to it are published.
///
/// A source's own position means something only in the history that gave it. So a mark names a window the source has
/// entered into its ledger, and the token only this history gave to that number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The window's number in the ledger; grows.
    pub window: i64,
    /// What tells it from a window another history gave the same number.
    pub token: String,
    /// The last event done inside the window; `None` when all of it is.
    pub last: Option<i64>,
    /// The term of the lease under which it was published.
    pub term: i64,
    /// The number of the history in which it was published.
    pub epoch: i32,
    /// The token of that history; empty where that was not kept yet.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub history: String,
}

impl Mark {
    /// Whether a holder of `term` in the history `present` may go on from here.
    ///
    /// # Errors
    /// `Fenced` when a later term of this history has published; `History` when a later history has.
    pub fn admits(&self, term: i64, present: &History) -> Result<(), Error> {
        let epoch = present.epoch;
        if self.epoch > epoch {
            let what = format!(
                "the bus holds a position of epoch {}, this database is in epoch {epoch}: either another primary has \
                 published since, or this database was restored from before that. Nothing is published. If it is the \
                 database to go on with, run `select outbox.raise_epoch({})`",
                self.epoch,
                self.epoch.saturating_add(1)
            );
            return Err(Error::new(ErrorKind::History, what));
        }
        // Terms of another copy of the database say nothing about this one's.
        let is_ours = self.history.is_empty() || self.history == present.token;
        if self.epoch == epoch && is_ours && self.term > term {
            let what = format!("the bus holds a position of term {}, this relay has term {term}", self.term);
            return Err(Error::new(ErrorKind::Fenced, what));
        }
        Ok(())
    }
}

/// A source that enters windows into a ledger, so that a [`Mark`] can be kept elsewhere.
#[async_trait]
pub trait LedgerSource: Source {
    /// Takes the subscription's lease, and reads nothing yet: the position is asked for elsewhere first.
    ///
    /// May be called again after any error; what was claimed before is then fenced. Dropped half-way, it may have
    /// taken the lease: that runs out by itself.
    ///
    /// # Errors
    /// As [`Source::open`].
    async fn claim(&self) -> Result<Claim, Error>;
}

/// A lease that was taken.
#[derive(Debug)]
pub struct Claim {
    /// What tells this subscription of this database from all others: the same for every holder.
    pub name: String,
    /// Keeps the lease. Its [`advance`](Cursor::advance) only mirrors the position, late and not every one of them;
    /// it must never be told what is not published.
    pub cursor: Box<dyn Cursor>,
    /// The way to a reader.
    pub unresumed: Box<dyn Unresumed>,
}

/// A claimed subscription whose position is not known yet.
#[async_trait]
pub trait Unresumed: Debug + Send {
    /// Goes on from `mark`. It goes on from the position mirrored into the source instead when there is no mark, when
    /// the mark is older than the last reading without a ledger, or when this history never gave it. Only the last
    /// begins a new epoch: versions may be handed out again.
    ///
    /// Dropped half-way, or after an error, an epoch may have begun; then the same mark begins no other. Claim anew.
    ///
    /// # Errors
    /// As [`Mark::admits`]; `Fenced` when the lease was lost; `Unavailable`.
    async fn resume(self: Box<Self>, mark: Option<Mark>) -> Result<Resumed, Error>;
}

/// A subscription that is open.
#[derive(Debug)]
pub struct Resumed {
    /// Reads events. Each batch with events has a mark, whose window the ledger holds for good. `next` is `Fenced` when
    /// the lease was lost before a window could be entered.
    pub reader: Box<dyn Reader>,
    /// Where it begins: everything before it is published, and the source may not know that yet.
    pub position: Position,
    /// The history the events belong to.
    pub epoch: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_stops_earlier_terms_of_its_history_and_earlier_histories() {
        let history = |epoch, token: &str| History { epoch, token: token.to_owned() };
        let mut mark =
            Mark { window: 1, token: String::new(), last: None, term: 5, epoch: 2, history: "here".to_owned() };
        let refused = |term, epoch| mark.admits(term, &history(epoch, "here")).err().map(|error| error.kind());
        assert_eq!([refused(5, 2), refused(6, 2), refused(1, 3)], [None, None, None]);
        assert_eq!(refused(4, 2), Some(ErrorKind::Fenced));
        assert_eq!(refused(9, 1), Some(ErrorKind::History));
        assert!(mark.admits(4, &history(2, "elsewhere")).is_ok(), "terms of another history do not count");
        mark.history.clear();
        assert_eq!(mark.admits(4, &history(2, "here")).err().map(|error| error.kind()), Some(ErrorKind::Fenced));
    }
}
