//! For tests of rooms and adapters.

pub mod conformance;
mod elasticsearch;
pub mod faults;
mod http_responder;
pub mod oracle;
mod searching;

pub use elasticsearch::ElasticsearchScratch;
pub use http_responder::{HttpReply, HttpRequest, HttpResponder};
pub use searching::{
    SEARCHED_MAPPING, SEARCHED_PROJECTION, SEARCHED_TABLE, searched_documents, searched_fields, searched_queries,
};
