//! Asking a runner over HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::runner::BOUND;

/// What was answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.body))
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        let json = self.json();
        let hits = json["hits"].as_array().unwrap_or_else(|| panic!("{json}")).iter();
        hits.map(|hit| hit["key"].as_str().unwrap().to_owned()).collect()
    }
}

pub(crate) fn get(port: u16, path: &str) -> Answer {
    ask(port, &format!("GET {path}"), &["host: localhost"])
}

/// Asks with these headers; the request has no body.
pub(crate) fn ask(port: u16, what: &str, headers: &[&str]) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    let headers = headers.join("\r\n");
    write!(stream, "{what} HTTP/1.1\r\n{headers}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}
