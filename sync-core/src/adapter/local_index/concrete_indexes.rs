//! One index in a directory takes the place of another.

use async_trait::async_trait;

use super::alias::{Alias, LocalDirectory, LocalIndexConfig, Opened};
use super::files::{self, off_thread};
use crate::error::{Error, ErrorKind};
use crate::port::ConcreteIndexes;

/// The indexes behind one name.
#[derive(Clone, Debug)]
pub struct LocalIndexes {
    alias: Alias,
}

impl LocalIndexes {
    /// Those of this name; new ones are made of the mapping. Touches no disk.
    ///
    /// # Errors
    /// `Configuration`, naming `indexes.<name>.alias` or `indexes.<name>.mapping`.
    pub fn new(directory: &LocalDirectory, config: LocalIndexConfig) -> Result<Self, Error> {
        Ok(Self { alias: Alias::new(directory, config)? })
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Alias) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let alias = self.alias.clone();
        off_thread(move || work(&alias)).await
    }
}

fn wrong(what: String) -> Error {
    Error::new(ErrorKind::Configuration, what)
}

fn is_there(alias: &Alias, name: &str) -> Result<std::sync::Arc<Opened>, Error> {
    alias.open(name)?.ok_or_else(|| wrong(format!("the index {name} is gone")))
}

fn not_searched(alias: &Alias, name: &str) -> Result<(), Error> {
    match alias.searched()? {
        Some(searched) if searched == name => Err(wrong(format!("the index {name} is searched"))),
        Some(_) | None => Ok(()),
    }
}

#[async_trait]
impl ConcreteIndexes for LocalIndexes {
    async fn searched(&self) -> Result<Option<String>, Error> {
        self.with(Alias::searched).await
    }

    async fn next_name(&self, searched: &str, used: &[String]) -> Result<String, Error> {
        let used: Vec<_> = used.iter().map(String::as_str).chain([searched]).map(str::to_owned).collect();
        self.with(move |alias| {
            let last = used.iter().filter_map(|name| alias.number(name)).max().unwrap_or_default();
            let mut number = last.saturating_add(1);
            while alias.open(&alias.numbered(number))?.is_some() {
                number = number.saturating_add(1);
            }
            Ok(alias.numbered(number))
        })
        .await
    }

    async fn make(&self, name: &str, reindex: i64, searched: &str) -> Result<(), Error> {
        let [name, searched] = [name, searched].map(str::to_owned);
        self.with(move |alias| {
            let lock = alias.lock()?;
            let history = is_there(alias, &searched)?.store.state()?.and_then(|state| state.history());
            alias.make(&lock, &name, Some(reindex), history)?;
            let made_for = is_there(alias, &name)?.store.state()?.and_then(|state| state.reindex);
            if made_for == Some(reindex) {
                Ok(())
            } else {
                Err(wrong(format!("the index {name} is there, and was not made for this re-index")))
            }
        })
        .await
    }

    /// Nothing has to be done: what is applied is found.
    async fn refresh(&self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        self.with(move |alias| is_there(alias, &name).map(drop)).await
    }

    async fn switch(&self, from: &str, to: &str) -> Result<(), Error> {
        let [from, to] = [from, to].map(str::to_owned);
        self.with(move |alias| {
            let lock = alias.lock()?;
            let searched = alias.searched()?;
            if searched.as_ref() == Some(&to) {
                return Ok(());
            }
            if searched.as_ref() != Some(&from) {
                return Err(wrong(format!("neither {from} nor {to} is searched")));
            }
            is_there(alias, &to)?;
            alias.search(&lock, &to)
        })
        .await
    }

    async fn seal(&self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        self.with(move |alias| {
            not_searched(alias, &name)?;
            let Some(opened) = alias.open(&name)? else { return Ok(()) };
            // With the lock of the index, which whoever writes holds until the end.
            opened.store.change(|state| state.sealed(true)).map(drop)
        })
        .await
    }

    async fn unseal(&self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        self.with(move |alias| is_there(alias, &name)?.store.change(|state| state.sealed(false)).map(drop)).await
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        self.with(move |alias| {
            let _lock = alias.lock()?;
            not_searched(alias, &name)?;
            files::remove_directory(&alias.directory().join(&name))
        })
        .await
    }
}
