//! As much of HTTP as passes between the indexer and Elasticsearch.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn is_bulk(&self) -> bool {
        self.path.contains("/_bulk")
    }
}

#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// The headers of one message, names in lower case.
async fn read_headers(stream: &mut BufReader<TcpStream>) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.split_once(':') else { return Ok(headers) };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// What comes behind the headers.
async fn read_body(stream: &mut BufReader<TcpStream>, headers: &[(String, String)]) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if header(headers, "transfer-encoding").is_some_and(|encoding| encoding.contains("chunked")) {
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            let length = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            let begin = body.len();
            body.resize(begin + length + 2, 0);
            stream.read_exact(&mut body[begin..]).await?;
            body.truncate(begin + length);
            if length == 0 {
                return Ok(body);
            }
        }
    }
    let length = header(headers, "content-length").map_or(Ok(0), str::parse).map_err(io::Error::other)?;
    body.resize(length, 0);
    stream.read_exact(&mut body).await?;
    Ok(body)
}

/// The next request; none when there will be none.
pub(super) async fn read_request(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    let headers = read_headers(stream).await?;
    let body = read_body(stream, &headers).await?;
    let content_type = header(&headers, "content-type").unwrap_or("application/json").to_owned();
    Ok(Some(Request { method, path, content_type, body }))
}

/// Asks the server, on a connection of its own.
pub(super) async fn ask(target: &str, request: &Request) -> io::Result<Answer> {
    let Request { method, path, content_type, body } = request;
    let mut stream = BufReader::new(TcpStream::connect(target).await?);
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {target}\r\nconnection: close\r\ncontent-type: {content_type}\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no status: {line:?}")))?;
    let headers = read_headers(&mut stream).await?;
    let body = if method == "HEAD" { Vec::new() } else { read_body(&mut stream, &headers).await? };
    Ok(Answer { status, body })
}

pub(super) async fn write_answer(stream: &mut BufReader<TcpStream>, answer: &Answer) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {} Passed\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        answer.status,
        answer.body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&answer.body).await
}

/// Breaks a connection in the middle of an answer.
pub(super) async fn reset(mut stream: BufReader<TcpStream>) -> io::Result<()> {
    stream
        .write_all(b"HTTP/1.1 200 Passed\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{\"items\"")
        .await?;
    stream.get_ref().set_zero_linger()
}
