//! A corner of a real Elasticsearch for one test.
#![allow(clippy::expect_used, reason = "a test without its server has failed")]

use std::io::{self, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

/// The setting that says where the server for tests is.
const URL: &str = "SYNC__ELASTICSEARCH__URL";

/// Names that no other test uses. What begins with them, indexes and templates, is removed on drop, also after a failed
/// test; for that, its requests block.
#[derive(Debug)]
pub struct ElasticsearchScratch {
    address: String,
    prefix: String,
}

impl ElasticsearchScratch {
    /// On the server of the environment (`SYNC__ELASTICSEARCH__URL`, without TLS).
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn new() -> Self {
        Self::at(&std::env::var(URL).expect("SYNC__ELASTICSEARCH__URL: start the servers and set it"))
    }

    /// On the server of this address, `http://…`.
    ///
    /// # Panics
    /// When the address is of another kind.
    #[must_use]
    pub fn at(url: &str) -> Self {
        let address = url.trim_end_matches('/').strip_prefix("http://").expect("an address with http://").to_owned();
        Self { address, prefix: format!("scratch-{:016x}", rand::random::<u64>()) }
    }

    /// The server's address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A name of one's own for an index or an alias.
    #[must_use]
    pub fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// Asks the server directly; answers status and body. Blocks.
    ///
    /// # Panics
    /// When the server does not answer.
    #[must_use]
    pub fn request(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        self.exchange(method, path, body).expect("a server that answers")
    }

    /// The indexes of this corner, sorted. Blocks.
    ///
    /// # Panics
    /// When the server does not answer.
    #[must_use]
    pub fn indexes(&self) -> Vec<String> {
        self.own_indexes().expect("a server that answers")
    }

    fn own_indexes(&self) -> io::Result<Vec<String>> {
        let path = format!("/{}-*/_settings/index.uuid?expand_wildcards=all", self.prefix);
        let (_, found) = self.exchange("GET", &path, "")?;
        Ok(found.as_object().map(|indexes| indexes.keys().cloned().collect()).unwrap_or_default())
    }

    fn exchange(&self, method: &str, path: &str, body: &str) -> io::Result<(u16, Value)> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        let mut stream = TcpStream::connect(&self.address)?;
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        read_answer(&answer).ok_or_else(|| io::Error::other(format!("{method} {path}: {answer}")))
    }

    fn remove_all(&self) -> io::Result<()> {
        for index in self.own_indexes()? {
            self.exchange("DELETE", &format!("/{index}"), "")?;
        }
        self.exchange("DELETE", &format!("/_index_template/sync-{}-*", self.prefix), "").map(drop)
    }
}

impl Default for ElasticsearchScratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for ElasticsearchScratch {
    fn drop(&mut self) {
        if let Err(error) = self.remove_all() {
            eprintln!("what begins with {} stays on {}: {error}", self.prefix, self.address);
        }
    }
}

/// Status and body of an answer that ended with its connection.
fn read_answer(answer: &str) -> Option<(u16, Value)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { join_chunks(body)? } else { body.to_owned() };
    let body = if body.is_empty() { Value::Null } else { serde_json::from_str(&body).ok()? };
    Some((status, body))
}

fn join_chunks(mut rest: &str) -> Option<String> {
    let mut whole = String::new();
    loop {
        let (length, after) = rest.split_once("\r\n")?;
        let length = usize::from_str_radix(length, 16).ok()?;
        if length == 0 {
            return Some(whole);
        }
        whole.push_str(after.get(..length)?);
        rest = after.get(length..)?.strip_prefix("\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_whole_or_in_chunks() {
        let read = |head: &str, body: &str| read_answer(&format!("HTTP/1.1 201 Created\r\n{head}\r\n\r\n{body}"));
        assert_eq!(read("content-length: 2", "{}"), Some((201, serde_json::json!({}))));
        assert_eq!(
            read("Transfer-Encoding: chunked", "2\r\n[1\r\n1\r\n]\r\n0\r\n\r\n"),
            Some((201, serde_json::json!([1])))
        );
        assert_eq!(read("Transfer-Encoding: chunked", "2\r\n[1\r\n"), None);
    }
}
