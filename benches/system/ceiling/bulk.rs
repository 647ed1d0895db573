//! Indexing: the same documents under the same keys and versions, from memory, several requests at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use clap::Args;
use futures::future::try_join_all;
use serde::Deserialize;
use tokio_postgres::NoTls;

use crate::Outcome;
use crate::figures::Figures;
use crate::jobs::PROJECTION;

/// Writes all documents of a table.
#[derive(Debug, Args)]
pub(crate) struct Bulk {
    /// The database with the table.
    #[arg(long)]
    url: String,
    /// The index, in full.
    #[arg(long)]
    index: String,
    /// Documents in one request.
    #[arg(long)]
    documents: usize,
    /// Requests at a time.
    #[arg(long)]
    in_flight: usize,
    /// Of every document.
    #[arg(long)]
    version: u64,
}

impl Bulk {
    pub(super) async fn run(&self) -> Outcome<Figures> {
        let bodies = Arc::new(self.bodies().await?);
        let http = reqwest::Client::builder().no_proxy().build()?;
        let next = Arc::new(AtomicUsize::new(0));
        let began = Instant::now();
        let sender = |_| {
            let (bodies, http, next) = (Arc::clone(&bodies), http.clone(), Arc::clone(&next));
            async move {
                while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
                    send(&http, &self.index, body.clone()).await?;
                }
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
            }
        };
        try_join_all((0..self.in_flight).map(sender)).await?;
        let took = began.elapsed().as_secs_f64();
        Ok(Figures::rate(bodies.iter().map(|body| body.documents).sum(), took))
    }

    async fn bodies(&self) -> Outcome<Vec<Body>> {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await?;
        tokio::spawn(connection);
        let sql = format!("select p.key::text, p.document::text from ({PROJECTION}) as p");
        let rows = client.query(&sql, &[]).await?;
        let body = |rows: &[tokio_postgres::Row]| {
            let mut text = String::new();
            for row in rows {
                let (key, document): (&str, &str) = (row.get(0), row.get(1));
                text +=
                    &format!(r#"{{"index":{{"_id":"{key}","version":{},"version_type":"external"}}}}"#, self.version);
                text += &format!("\n{document}\n");
            }
            Body { text: text.into(), documents: rows.len() as u64 }
        };
        Ok(rows.chunks(self.documents).map(body).collect())
    }
}

#[derive(Clone)]
struct Body {
    text: bytes::Bytes,
    documents: u64,
}

async fn send(http: &reqwest::Client, index: &str, body: Body) -> Outcome<()> {
    #[derive(Deserialize)]
    struct Answer {
        errors: bool,
    }

    let request = http.post(format!("{index}/_bulk?filter_path=errors")).header("content-type", "application/x-ndjson");
    let answer = request.body(body.text).send().await?.error_for_status()?;
    let Answer { errors } = serde_json::from_slice(&answer.bytes().await?)?;
    if errors { Err("a document was not taken".into()) } else { Ok(()) }
}
