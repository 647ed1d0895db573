//! Requests to a cluster: its nodes in turn, one that cannot be reached left alone for a while.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ::elasticsearch::auth::Credentials;
use ::elasticsearch::cert::{Certificate, CertificateValidation};
use ::elasticsearch::http::headers::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use ::elasticsearch::http::transport::{SingleNodeConnectionPool, Transport, TransportBuilder};
use ::elasticsearch::http::{Method, Url};
use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt as _};
use serde::Deserialize;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use super::config::{Auth, ElasticsearchConfig};
use super::error::{Cause, answered, garbled, no_answer, unusable};
use super::product::Product;
use super::verdict::{Asked, Verdict, verdict};
use crate::error::{Error, ErrorKind};
use crate::telemetry::trace;

const REQUEST_TIMEOUT: &str = "elasticsearch.request_timeout";

/// How long a node that could not be reached is asked last.
const REST: Duration = Duration::from_secs(30);

/// A node, and until when it is asked last.
#[derive(Debug)]
struct Node {
    url: String,
    transport: Transport,
    rests_until: Mutex<Option<Instant>>,
}

impl Node {
    fn rests(&self, now: Instant) -> bool {
        self.rests_until.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| now < until)
    }

    /// Asks it, whatever it answers.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        timeout: Duration,
    ) -> Result<Answer, ::elasticsearch::Error> {
        let mut headers = HeaderMap::new();
        // Otherwise the client asks for gzip, which costs the cluster more than it saves on the way.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(context) = trace::current()
            && let Ok(value) = HeaderValue::from_str(&context.to_string())
        {
            headers.insert(trace::HEADER, value);
        }
        let answer = self.transport.send(method, path, headers, None::<&()>, body, Some(timeout)).await?;
        let status = answer.status_code().as_u16();
        let answer = Answer { url: self.url.clone(), status, body: answer.bytes().await? };
        self.rest_until(None);
        Ok(answer)
    }

    /// Asks it for what somebody waits for. It rests when it cannot answer.
    async fn ask_while_waited_for(
        &self,
        path: &str,
        body: Bytes,
        TimeLimits { attempt, budget }: TimeLimits,
        doing: &str,
    ) -> Result<(Answer, Judged), Error> {
        let mut asking = Asking { node: self, late: Instant::now() + attempt, is_over: false };
        let answer = self.ask(Method::Post, path, Some(body), budget).await;
        asking.is_over = true;
        let judged = match answer {
            Ok(answer) => answer.judge(Asked::Other, doing).map(|judged| (answer, judged)),
            Err(error) => Err(no_answer(&self.url, "search.budget", budget, error)),
        };
        if matches!(&judged, Err(error) if error.kind() == ErrorKind::Unavailable) {
            self.rest_until(Some(Instant::now() + REST));
        }
        judged
    }

    fn rest_until(&self, until: Option<Instant>) {
        *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// A node that is waited for. When nobody waits any longer (another has answered, say) and it was late by then, it rests, as
/// if it had failed.
struct Asking<'a> {
    node: &'a Node,
    late: Instant,
    /// It has answered, or failed.
    is_over: bool,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        if !self.is_over && now >= self.late {
            self.node.rest_until(Some(now + REST));
        }
    }
}

/// How long a request may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeLimits {
    /// After this a node is late, and another one is asked.
    pub(super) attempt: Duration,
    /// All of it.
    pub(super) budget: Duration,
}

/// What a node answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) url: String,
    pub(super) status: u16,
    pub(super) body: Bytes,
}

impl Answer {
    /// Reads a body that holds what was asked for.
    pub(super) fn read<'a, T: Deserialize<'a>>(&'a self, doing: &str) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| garbled(&self.url, doing, &self.body, error))
    }

    /// The verdict on it, and the error if there is one.
    pub(super) fn judge(&self, asked: Asked, doing: &str) -> Result<Judged, Error> {
        let cause = if (200..300).contains(&self.status) { Cause::default() } else { Cause::read(&self.body) };
        match verdict(asked, self.status, cause.kind.as_deref()) {
            Verdict::Done => Ok(Judged::Done),
            Verdict::IndexMissing => Ok(Judged::IndexMissing),
            // A conflict is something a single document has.
            Verdict::Stale => Err(answered(ErrorKind::Configuration, &self.url, doing, self.status, &cause)),
            Verdict::Failed(kind) => Err(answered(kind, &self.url, doing, self.status, &cause)),
        }
    }
}

/// A whole request that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    Done,
    IndexMissing,
}

/// The nodes of one cluster.
#[derive(Debug)]
pub(super) struct Client {
    nodes: Vec<Node>,
    turn: AtomicUsize,
    timeout: Duration,
    product: OnceCell<Product>,
}

impl Client {
    /// Checks the configuration; reaches out to nobody.
    pub(super) fn new(config: &ElasticsearchConfig) -> Result<Self, Error> {
        if config.urls.is_empty() {
            return Err(Error::new(ErrorKind::Configuration, "elasticsearch.url: no address is given"));
        }
        let nodes = config.urls.iter().map(|url| node(url, config)).collect::<Result<_, _>>()?;
        Ok(Self { nodes, turn: AtomicUsize::new(0), timeout: config.request_timeout, product: OnceCell::new() })
    }

    /// What kind of cluster it is; asked once.
    pub(super) async fn product(&self) -> Result<Product, Error> {
        self.product.get_or_try_init(|| Product::of(self)).await.copied()
    }

    /// Asks one node after the other until one answers, whatever it answers.
    ///
    /// That repeats a request whose answer was lost, so every request has to be one that may be repeated.
    pub(super) async fn send(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Answer, Error> {
        let mut failed = None;
        for node in self.in_turn() {
            match node.ask(method, path, body.clone(), self.timeout).await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    node.rest_until(Some(Instant::now() + REST));
                    // The time this request may take is used up; the next request asks another node first.
                    if error.is_timeout() {
                        return Err(no_answer(&node.url, REQUEST_TIMEOUT, self.timeout, error));
                    }
                    failed = Some(no_answer(&node.url, REQUEST_TIMEOUT, self.timeout, error));
                }
            }
        }
        Err(failed.unwrap_or_else(|| Error::new(ErrorKind::Configuration, "elasticsearch.url: no address is given")))
    }

    /// Asks one node; another one instead when it cannot answer, and as well when it is late. The first answer counts.
    pub(super) async fn send_within(
        &self,
        TimeLimits { attempt, budget }: TimeLimits,
        path: &str,
        body: Bytes,
        doing: &str,
    ) -> Result<(Answer, Judged), Error> {
        let began = Instant::now();
        let mut nodes = self.in_turn().take(2).peekable();
        let mut asked = FuturesUnordered::new();
        let mut failed = None;
        loop {
            let left = budget.saturating_sub(began.elapsed());
            if let Some(node) = nodes.next_if(|_| !left.is_zero()) {
                asked.push(node.ask_while_waited_for(path, body.clone(), TimeLimits { attempt, budget: left }, doing));
            }
            let judged = tokio::select! {
                judged = asked.next() => judged,
                () = sleep(attempt), if !left.is_zero() && nodes.peek().is_some() => continue,
            };
            match judged {
                Some(Err(error)) if error.kind() == ErrorKind::Unavailable => failed = Some(error),
                Some(judged) => return judged,
                None => break,
            }
        }
        Err(failed.unwrap_or_else(|| Error::new(ErrorKind::Unavailable, format!("{doing}: no time was left for it"))))
    }

    /// All nodes, each call beginning with the next; those that rest come last.
    fn in_turn(&self) -> impl Iterator<Item = &Node> {
        let (now, count) = (Instant::now(), self.nodes.len());
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % count;
        let turn = || self.nodes.iter().cycle().skip(first).take(count);
        let (resting, live): (Vec<_>, Vec<_>) = turn().partition(|node| node.rests(now));
        live.into_iter().chain(resting)
    }
}

fn node(url: &str, config: &ElasticsearchConfig) -> Result<Node, Error> {
    const SETTING: &str = "elasticsearch.url";
    let wrong = |why: &str| Error::new(ErrorKind::Configuration, format!("{SETTING}: {why}"));
    let parsed = Url::parse(url)
        .map_err(|error| wrong("this is not an address; it looks like http://localhost:9200").with_source(error))?;
    // Checked before anything is said about the address: it might be said with its password.
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(wrong(
            "an address holds no user name and password; set elasticsearch.username and elasticsearch.password",
        ));
    }
    if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
        return Err(wrong(&format!("{url}: an address begins with http:// or https:// and names a host")));
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(wrong(&format!("{url}: an address has no ? and no #")));
    }
    // The environment's proxies are for the way out; a cluster behind one would surprise whoever runs this inside.
    let mut builder = TransportBuilder::new(SingleNodeConnectionPool::new(parsed)).disable_proxy();
    if let Some(credentials) = credentials(&config.auth)? {
        builder = builder.auth(credentials);
    }
    if let Some(file) = &config.ca_file {
        let setting = format!("elasticsearch.ca_file: {}", file.display());
        let pem = std::fs::read(file).map_err(|error| unusable(&setting, error))?;
        let certificates = Certificate::from_pem(&pem).map_err(|error| unusable(&setting, error))?;
        builder = builder.cert_validation(CertificateValidation::Full(certificates));
    }
    let transport = builder.build().map_err(|error| unusable("elasticsearch", ::elasticsearch::Error::from(error)))?;
    Ok(Node { url: url.trim_end_matches('/').to_owned(), transport, rests_until: Mutex::new(None) })
}

fn credentials(auth: &Auth) -> Result<Option<Credentials>, Error> {
    match auth {
        Auth::None => Ok(None),
        Auth::Basic { username, password } => Ok(Some(Credentials::Basic(username.clone(), password.clone()))),
        // The client panics on a key that cannot be a header.
        Auth::ApiKey(key) if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) => Err(Error::new(
            ErrorKind::Configuration,
            "elasticsearch.api_key: an encoded key is letters and digits without spaces or line breaks",
        )),
        Auth::ApiKey(key) => Ok(Some(Credentials::EncodedApiKey(key.clone()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(urls: &[&str]) -> ElasticsearchConfig {
        ElasticsearchConfig { urls: urls.iter().map(ToString::to_string).collect(), ..ElasticsearchConfig::default() }
    }

    #[track_caller]
    fn refused(config: &ElasticsearchConfig, setting: &str) -> String {
        let error = Client::new(config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        let said = error.to_string();
        assert!(said.starts_with(setting), "{said}");
        said
    }

    #[test]
    fn an_address_is_checked_before_it_is_used() {
        for url in ["", "localhost:9200", "ftp://localhost", "http://", "http://a:b:c", "http://h?x", "http://h#x"] {
            refused(&config(&[url]), "elasticsearch.url");
        }
        refused(&config(&[]), "elasticsearch.url");
        refused(&config(&["http://localhost:9200", "nonsense"]), "elasticsearch.url");
        Client::new(&config(&["http://localhost:9200/", "https://[::1]:9200/behind/a/path"])).unwrap();
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        let said = refused(&config(&["http://sync:hunter2@localhost:9200"]), "elasticsearch.url");
        assert!(!said.contains("hunter2") && said.contains("elasticsearch.password"), "{said}");
    }

    #[test]
    fn a_key_or_a_file_that_cannot_be_used_is_refused() {
        for key in ["", "a b", "a\nb", "größe"] {
            let auth = Auth::ApiKey(key.into());
            let said = refused(&ElasticsearchConfig { auth, ..config(&["http://h"]) }, "elasticsearch.api_key");
            assert!(key.is_empty() || !said.contains(key), "{said}");
        }
        let ca_file = Some("/nonexistent/ca.pem".into());
        refused(&ElasticsearchConfig { ca_file, ..config(&["https://h"]) }, "elasticsearch.ca_file");
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_take_turns_and_one_that_rests_comes_last() {
        let client = Client::new(&config(&["http://a", "http://b", "http://c"])).unwrap();
        let turn = || client.in_turn().map(|node| &node.url[7..]).collect::<String>();
        assert_eq!([turn(), turn(), turn(), turn()], ["abc", "bca", "cab", "abc"]);
        client.nodes[2].rest_until(Some(Instant::now() + REST));
        assert_eq!([turn(), turn(), turn()], ["bac", "abc", "abc"]);
        tokio::time::advance(REST).await;
        assert_eq!(turn(), "bca");
    }
}
