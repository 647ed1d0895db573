//! The memory source with a ledger of its windows.

use async_trait::async_trait;

use super::super::database::Window;
use super::{MemoryCursor, MemorySource};
use crate::error::{Error, ErrorKind};
use crate::port::{Claim, History, LedgerSource, Mark, Position, Resumed, Unresumed};

/// Enters windows, each once, and names places in them.
#[derive(Debug)]
pub(super) struct Ledger {
    term: i64,
    history: History,
    /// The last window entered: its end, number and token.
    entered: Option<(String, i64, String)>,
}

fn index(number: i64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn number(index: usize) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}

impl Ledger {
    /// The mark of having read from `before` to `after`, both in one window.
    pub(super) fn mark(&mut self, source: &MemorySource, before: &Position, after: &Position) -> Result<Mark, Error> {
        let hi = before.hi.clone().unwrap_or_default();
        let entered = match self.entered.take().filter(|(end, ..)| *end == hi) {
            Some(entered) => entered,
            None => self.enter(source, before.lo.clone(), hi)?,
        };
        let last = after.hi.as_ref().map(|_| after.last);
        let (_, window, token) = self.entered.insert(entered);
        let History { epoch, token: history } = self.history.clone();
        Ok(Mark { window: *window, token: token.clone(), last, term: self.term, epoch, history })
    }

    fn enter(&self, source: &MemorySource, lo: String, hi: String) -> Result<(String, i64, String), Error> {
        let mut state = source.database.lock();
        if state.subscriptions.get(&source.subscription).is_none_or(|here| here.term != self.term) {
            return Err(Error::new(ErrorKind::Fenced, "another relay took over"));
        }
        let token = format!("{:032x}", rand::random::<u128>());
        state.windows.push(Window { token: token.clone(), lo, hi: hi.clone() });
        Ok((hi, number(state.windows.len() - 1), token))
    }
}

#[async_trait]
impl LedgerSource for MemorySource {
    async fn claim(&self) -> Result<Claim, Error> {
        let (term, _) = self.take(true)?;
        let cursor = MemoryCursor { source: self.clone(), term };
        let unresumed = MemoryUnresumed { source: self.clone(), term };
        Ok(Claim { name: self.subscription.clone(), cursor: Box::new(cursor), unresumed: Box::new(unresumed) })
    }
}

#[derive(Debug)]
struct MemoryUnresumed {
    source: MemorySource,
    term: i64,
}

#[async_trait]
impl Unresumed for MemoryUnresumed {
    async fn resume(self: Box<Self>, mark: Option<Mark>) -> Result<Resumed, Error> {
        let Self { source, term } = *self;
        let mut state = source.database.lock();
        let present = state.history();
        if let Some(mark) = &mark {
            mark.admits(term, &present)?;
            let published = History { epoch: mark.epoch, token: mark.history.clone() };
            if !published.token.is_empty() && !state.knows(&published) && mark.epoch == present.epoch {
                state.raise(mark.epoch + 1);
            }
        }
        let next = number(state.windows.len());
        let Some(here) = state.subscriptions.get_mut(&source.subscription).filter(|here| here.term == term) else {
            return Err(Error::new(ErrorKind::Fenced, "another relay took over"));
        };
        let ledger_from = *here.ledger_from.get_or_insert(next);
        let mirrored = here.position.clone();
        let mark = mark.filter(|mark| mark.window >= ledger_from);
        let known = mark.as_ref().map(|mark| {
            let window = state.windows.get(index(mark.window)).filter(|window| window.token == mark.token);
            (mark, window.cloned())
        });
        let (position, entered) = match known {
            None => (mirrored, None),
            Some((mark, None)) => {
                if mark.epoch == state.history().epoch {
                    state.raise(mark.epoch + 1);
                }
                (mirrored, None)
            }
            Some((mark, Some(Window { token, lo, hi }))) => match mark.last {
                None => (Position { lo: hi, hi: None, last: 0 }, None),
                Some(last) => (Position { lo, hi: Some(hi.clone()), last }, Some((hi, mark.window, token))),
            },
        };
        let history = state.history();
        drop(state);
        let epoch = history.epoch;
        let ledger = Ledger { term, history, entered };
        Ok(Resumed { reader: source.reader(position.clone(), Some(ledger)), position, epoch })
    }
}
