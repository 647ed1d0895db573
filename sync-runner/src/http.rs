//! HTTP: searches, a page to search on, and metrics.

mod api;
mod metrics;
mod parameters;
mod server;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::IntoResponse;
use axum::routing::get;
use sync_core::query::Fields;
use sync_core::search::Search;
use sync_core::{Error, ErrorKind};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// The page for people.
const PAGE: &str = include_str!("http/page.html");

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
    indexes: BTreeMap<String, SearchedIndex>,
    permits: Semaphore,
    metrics: metrics::Metrics,
}

/// The server of one process.
#[derive(Debug)]
pub(crate) struct Http {
    listen: SocketAddr,
    state: Arc<State>,
}

impl Http {
    /// Serves searches of these indexes, so many at a time.
    ///
    /// # Errors
    /// `Internal` when the process has a recorder of metrics already.
    pub(crate) fn new(
        listen: SocketAddr,
        indexes: BTreeMap<String, SearchedIndex>,
        concurrency: usize,
    ) -> Result<Self, Error> {
        let metrics = metrics::Metrics::install()?;
        Ok(Self { listen, state: Arc::new(State { indexes, permits: Semaphore::new(concurrency), metrics }) })
    }

    /// Serves until `shutdown`; requests that are under way then are answered if that takes no longer than some seconds.
    ///
    /// # Errors
    /// `Configuration` when the address cannot be listened on.
    pub(crate) async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let listener = tokio::net::TcpListener::bind(self.listen).await.map_err(|error| {
            let what = format!(
                "search.listen: cannot listen on {}; give each process an address of its own, or run this one without the role \
                 search (--roles relay,indexer,reconciler)",
                self.listen
            );
            Error::new(ErrorKind::Configuration, what).with_source(error)
        })?;
        tracing::info!(address = %self.listen, "searches are answered at http://{}/", self.listen);
        let router = Router::new()
            .route("/", get(page))
            .route("/search", get(api::search))
            .route("/indexes", get(api::indexes))
            .route("/metrics", get(metrics::render))
            .with_state(Arc::clone(&self.state));
        tokio::select! {
            () = server::serve(listener, router, shutdown) => {}
            () = self.state.metrics.keep_up() => {}
        }
        Ok(())
    }
}

async fn page() -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, PAGE)
}
