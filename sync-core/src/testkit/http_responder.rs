//! A web server that says what a test tells it to, and breaks off where a test wants it to.
#![allow(clippy::expect_used, reason = "a test that cannot listen on its own machine has failed")]

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// What was asked.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path, with what comes after `?`.
    pub path: String,
    /// Names in small letters, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum HttpReply {
    /// A whole answer, of the type `application/json`.
    Answer {
        /// The status.
        status: u16,
        /// The body.
        body: String,
    },
    /// An answer that promises its whole body, of which `sent` bytes come before the connection is reset.
    CutOff {
        /// The status.
        status: u16,
        /// The body.
        body: String,
        /// How much of it comes, in bytes.
        sent: usize,
    },
    /// The connection is reset without an answer.
    Reset,
    /// Nothing comes, and the connection stays.
    Silence,
    /// These bytes, which need not be HTTP, and the connection ends.
    Raw(Vec<u8>),
}

/// A server of a port of its own on this machine; it ends when it is dropped.
#[derive(Debug)]
pub struct HttpResponder {
    address: SocketAddr,
    server: AbortHandle,
}

impl HttpResponder {
    /// Starts a server that answers each request as `reply` says.
    ///
    /// # Panics
    /// When there is no port to listen on.
    pub async fn start(reply: impl Fn(&HttpRequest) -> HttpReply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let reply = Arc::new(reply);
        let server = tokio::spawn(async move {
            // Connections end with the task that waits for new ones.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let reply = Arc::clone(&reply);
                connections.spawn(async move { converse(stream, &*reply).await });
            }
        });
        Self { address, server: server.abort_handle() }
    }

    /// Its address, `http://…`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for HttpResponder {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Answers the requests of one connection until either side ends it.
async fn converse(stream: TcpStream, reply: &(impl Fn(&HttpRequest) -> HttpReply + Sync)) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await? {
        match reply(&request) {
            HttpReply::Answer { status, body } => {
                stream.write_all(head(status, body.len()).as_bytes()).await?;
                stream.write_all(body.as_bytes()).await?;
            }
            HttpReply::CutOff { status, body, sent } => {
                stream.write_all(head(status, body.len()).as_bytes()).await?;
                stream.write_all(&body.as_bytes()[..sent]).await?;
                return stream.get_ref().set_zero_linger();
            }
            HttpReply::Reset => return stream.get_ref().set_zero_linger(),
            HttpReply::Silence => std::future::pending().await,
            HttpReply::Raw(bytes) => return stream.write_all(&bytes).await,
        }
    }
    Ok(())
}

fn head(status: u16, length: usize) -> String {
    format!("HTTP/1.1 {status} Scripted\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n")
}

/// The next request; `None` when there will be none.
async fn read(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<HttpRequest>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    let (mut headers, mut length) = (Vec::new(), 0);
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await?;
        let Some((name, value)) = header.split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Some(HttpRequest { method, path, headers, body }))
}
