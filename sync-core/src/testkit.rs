//! For tests of rooms and adapters.

pub mod conformance;
mod elasticsearch;
pub mod faults;
mod http_responder;
pub mod oracle;

pub use elasticsearch::ElasticsearchScratch;
pub use http_responder::{HttpReply, HttpRequest, HttpResponder};
