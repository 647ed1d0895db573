//! Versions of the keys of a database in memory.

use async_trait::async_trait;
use jiff::Timestamp;

use super::database::{Clock, MemoryDatabase, State};
use crate::error::{Error, ErrorKind};
use crate::event::{Action, Event};
use crate::port::{Changed, KeyState, Versions};
use crate::version::Version;

/// Epochs are finite: one absurd version must not use most of them up.
const FAR: u64 = Version::MAX_EPOCH as u64 / 2;

#[async_trait]
impl Versions for MemoryDatabase {
    async fn states(&self, keys: &[String]) -> Result<Vec<KeyState>, Error> {
        let state = self.readable()?;
        keys.iter().map(|key| key_state(&state, key)).collect()
    }

    async fn scan_states(&self, after: Option<&str>, limit: usize) -> Result<Vec<KeyState>, Error> {
        let state = self.readable()?;
        let keys = state.rows.keys().filter(|key| after.is_none_or(|after| key.as_str() > after)).take(limit);
        keys.map(|key| key_state(&state, key)).collect()
    }

    async fn changed(&self, since: Timestamp, after: Option<&str>, limit: usize) -> Result<Changed, Error> {
        let state = self.lock();
        let is_next = |key: &str| after.is_none_or(|after| key > after);
        let changed = state.versions.iter().filter(|(key, clock)| is_next(key) && clock.at >= since);
        let keys: Vec<String> = changed.map(|(key, _)| key.clone()).take(limit).collect();
        let next = keys.last().filter(|_| keys.len() >= limit).cloned();
        Ok(Changed { keys, next })
    }

    async fn raise(&self, keys: &[String], above: Version) -> Result<(), Error> {
        let mut state = self.lock();
        if above.epoch() > FAR {
            return Err(Error::new(
                ErrorKind::Contract,
                format!("outdoing version {above} would leave too few epochs"),
            ));
        }
        let epoch = i32::try_from(above.epoch()).unwrap_or(i32::MAX);
        if epoch > state.history().epoch {
            state.raise(epoch + 1);
        }
        let mut events = Vec::with_capacity(keys.len());
        for key in keys {
            let version = state.bump(key).max(i64::try_from(above.local()).unwrap_or(i64::MAX) + 1);
            state.versions.insert(key.clone(), Clock::new(version));
            state.ids += 1;
            events.push(Event {
                id: state.ids,
                topic: state.topic.clone(),
                key: key.clone(),
                version,
                action: Action::Index,
                payload: None,
                headers: Vec::new(),
                created_at: Timestamp::UNIX_EPOCH,
            });
        }
        state.commits.push(events);
        drop(state);
        self.committed.notify_one();
        Ok(())
    }
}

fn key_state(state: &State, key: &str) -> Result<KeyState, Error> {
    Ok(KeyState {
        key: key.to_owned(),
        version: state.version(key)?,
        has_document: state.rows.contains_key(key),
        is_possible: true,
        age: state.versions.get(key).map(|clock| clock.since.elapsed()),
    })
}
