//! Searches, and a page to search on.

mod api;
mod parameters;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use metrics::counter;
use sync_core::query::Fields;
use sync_core::search::Search;
use sync_core::telemetry::metrics::SEARCH_REJECTED;
use sync_core::{Error, ErrorKind};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{answer, server};

/// The page for people.
const PAGE: &str = include_str!("search/page.html");

/// What the page may do: be its own script and style, and ask its own server.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
                           base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// An index that is searched.
#[derive(Debug)]
pub(crate) struct SearchedIndex {
    /// What answers.
    pub(crate) search: Search,
    /// What can be asked.
    pub(crate) fields: Arc<Fields>,
}

/// What is behind the addresses.
#[derive(Debug)]
struct State {
    indexes: Arc<BTreeMap<String, SearchedIndex>>,
    permits: Semaphore,
}

/// The server of one process.
#[derive(Debug)]
pub(crate) struct SearchServer {
    listen: SocketAddr,
    state: Arc<State>,
}

impl SearchServer {
    /// Serves searches of these indexes, so many at a time.
    pub(crate) fn new(listen: SocketAddr, indexes: Arc<BTreeMap<String, SearchedIndex>>, concurrency: usize) -> Self {
        counter!(SEARCH_REJECTED.name).increment(0);
        Self { listen, state: Arc::new(State { indexes, permits: Semaphore::new(concurrency) }) }
    }

    /// Serves until `shutdown`; requests that are under way then are answered if that takes no longer than some seconds.
    ///
    /// # Errors
    /// `Configuration` when the address cannot be listened on.
    pub(crate) async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let listener = tokio::net::TcpListener::bind(self.listen).await.map_err(|error| {
            let what = format!(
                "search.listen: cannot listen on {}; give each process an address of its own, or run this one without the role \
                 search (--roles relay,indexer,reconciler,admin)",
                self.listen
            );
            Error::new(ErrorKind::Configuration, what).with_source(error)
        })?;
        tracing::info!(address = %self.listen, "searches are answered at http://{}/", self.listen);
        let router = Router::new()
            .route("/", get(page))
            .route("/search", get(api::search))
            .route("/indexes", get(api::indexes))
            .with_state(self.state);
        server::serve(listener, router, shutdown).await;
        Ok(())
    }
}

async fn page() -> Response {
    answer::page(PAGE, PAGE_POLICY)
}
