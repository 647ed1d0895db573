//! The outbox in bad weather; and two that are broken.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use sync_core::adapter::memory::MemorySource;
use sync_core::port::{
    Batch, Claim, Cursor, Feed, LedgerSource, Mark, Position, Reader, Resumed, Source, SourceLag, Unresumed,
};
use sync_core::testkit::oracle::Oracle;
use sync_core::{Error, ErrorKind};

use super::broken::{Broken, IdCursor};
use super::weather::Weather;

#[derive(Clone, Debug)]
pub struct StormySource {
    pub inner: MemorySource,
    pub weather: Weather,
    pub oracle: Arc<Mutex<Oracle>>,
    pub broken: Broken,
    pub ids: Arc<Mutex<IdCursor>>,
}

#[async_trait]
impl Source for StormySource {
    async fn open(&self) -> Result<Feed, Error> {
        let Feed { reader, cursor, epoch } = self.weather.call(self.inner.open()).await?;
        Ok(Feed { reader: self.reader(reader), cursor: self.cursor(cursor), epoch })
    }

    async fn lag(&self) -> Result<SourceLag, Error> {
        self.inner.lag().await
    }

    async fn maintain(&self) -> Result<(), Error> {
        self.weather.call(self.inner.maintain()).await
    }
}

impl StormySource {
    fn reader(&self, inner: Box<dyn Reader>) -> Box<dyn Reader> {
        let highest = self.ids.lock().unwrap().recorded();
        Box::new(StormyReader { inner, source: self.clone(), weather: self.weather.place(), highest })
    }

    fn cursor(&self, inner: Box<dyn Cursor>) -> Box<dyn Cursor> {
        Box::new(StormyCursor { inner, source: self.clone(), weather: self.weather.place() })
    }
}

#[async_trait]
impl LedgerSource for StormySource {
    async fn claim(&self) -> Result<Claim, Error> {
        let Claim { name, cursor, unresumed } = self.weather.call(self.inner.claim()).await?;
        let unresumed = Box::new(StormyUnresumed { inner: unresumed, source: self.clone() });
        Ok(Claim { name, cursor: self.cursor(cursor), unresumed })
    }
}

#[derive(Debug)]
struct StormyUnresumed {
    inner: Box<dyn Unresumed>,
    source: StormySource,
}

#[async_trait]
impl Unresumed for StormyUnresumed {
    async fn resume(self: Box<Self>, mark: Option<Mark>) -> Result<Resumed, Error> {
        let Self { inner, source } = *self;
        let Resumed { reader, position, epoch } = source.weather.call(inner.resume(mark)).await?;
        Ok(Resumed { reader: source.reader(reader), position, epoch })
    }
}

#[derive(Debug)]
struct StormyReader {
    inner: Box<dyn Reader>,
    source: StormySource,
    weather: Weather,
    /// The highest id that was read.
    highest: i64,
}

#[async_trait]
impl Reader for StormyReader {
    async fn next(&mut self) -> Result<Option<Batch>, Error> {
        let mut read = self.weather.call(self.inner.next()).await?;
        if self.source.broken == Broken::IdCursor
            && let Some(batch) = &mut read
        {
            batch.events.retain(|event| event.id > self.highest);
            self.highest = batch.events.iter().map(|event| event.id).fold(self.highest, i64::max);
            self.source.ids.lock().unwrap().read(&batch.position, self.highest);
        }
        Ok(read)
    }

    async fn wait(&mut self) -> Result<(), Error> {
        self.weather.call(self.inner.wait()).await
    }
}

#[derive(Debug)]
struct StormyCursor {
    inner: Box<dyn Cursor>,
    source: StormySource,
    weather: Weather,
}

#[async_trait]
impl Cursor for StormyCursor {
    async fn advance(&self, position: &Position) -> Result<(), Error> {
        let source = &self.source;
        let advance = async {
            match self.inner.advance(position).await {
                Err(error)
                    if error.kind() == ErrorKind::Fenced
                        && matches!(source.broken, Broken::Fencing | Broken::Mirror) =>
                {
                    source.inner.database.rewind(&source.inner.subscription, position);
                }
                done => done?,
            }
            source.ids.lock().unwrap().record(position);
            let window = position.lo.parse().unwrap();
            source.oracle.lock().unwrap().recorded(&source.inner.subscription, (window, position.last));
            Ok(())
        };
        self.weather.call(advance).await
    }

    async fn renew(&self) -> Result<(), Error> {
        self.weather.call(self.inner.renew()).await
    }

    async fn release(&self) -> Result<(), Error> {
        self.weather.call(self.inner.release()).await
    }

    fn lease(&self) -> Duration {
        self.inner.lease()
    }
}
