//! Reading rows in bad weather. A slow answer is what the rows were when they were read.

use async_trait::async_trait;
use sync_core::adapter::memory::MemoryDatabase;
use sync_core::port::{Current, History, Projection};
use sync_core::{Error, ErrorKind};

use super::weather::Weather;

#[derive(Debug)]
pub struct StormyProjection {
    pub inner: MemoryDatabase,
    pub weather: Weather,
}

#[async_trait]
impl Projection for StormyProjection {
    async fn agree(&self, recorded: Option<&History>) -> Result<History, Error> {
        self.weather.call(self.inner.agree(recorded)).await
    }

    async fn load(&self, keys: &[String]) -> Result<Vec<Current>, Error> {
        let load = async {
            let mut fate = self.weather.draw();
            // One row of them makes the statement fail; it is mended by the next try.
            if fate.refused && fate.dice.roll(3) == 0 {
                return Err(Error::new(ErrorKind::Configuration, "the statement failed"));
            }
            self.inner.load(keys).await
        };
        self.weather.call(load).await
    }

    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<Vec<Current>, Error> {
        self.inner.scan(after, limit).await
    }

    async fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, Error> {
        self.inner.keys(after, limit).await
    }

    async fn estimate(&self) -> Result<u64, Error> {
        self.inner.estimate().await
    }

    async fn count(&self) -> Result<u64, Error> {
        self.inner.count().await
    }

    async fn mark_synced(&self, keys: &[String]) -> Result<Vec<String>, Error> {
        self.weather.call(self.inner.mark_synced(keys)).await
    }
}
