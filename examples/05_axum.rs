//! A web service that writes to PostgreSQL and searches in its index: an event in the transaction of each write, the engine beside
//! the handlers, and PostgreSQL for the searches when the index is away.
//!
//! `SYNC__POSTGRES__URL=postgres://… cargo run --example 05_axum`

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query as Parameters, State};
use axum::http::StatusCode;
use axum::routing::{get, put};
use axum::{Json, Router};
use serde::Deserialize;
use sync_core::adapter::local_index::{LocalDirectory, LocalSearcher, LocalSink};
use sync_core::adapter::postgres::{
    Emit, Postgres, PostgresConfig, PostgresProjection, PostgresSearcher, PostgresSearcherConfig, emit,
};
use sync_core::pipeline::Pipeline;
use sync_core::query::{FieldNames, Fields, Query};
use sync_core::search::{Answer, Search, SearchConfig};
use sync_core::{ErrorKind, Remedy};
use sync_examples::{MAPPING, execute, fresh_database, index, projection};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[derive(Clone)]
struct App {
    database: Postgres,
    search: Arc<Search>,
    fields: Arc<Fields>,
}

type Failed = (StatusCode, String);

/// What was asked is wrong; or it cannot be answered now; or a person has to mend something.
fn failed(error: sync_core::Error) -> Failed {
    let status = match (error.kind(), error.remedy()) {
        (ErrorKind::Refused, _) => StatusCode::BAD_REQUEST,
        (_, Remedy::Retry) => StatusCode::SERVICE_UNAVAILABLE,
        (_, Remedy::TryLater | Remedy::Park | Remedy::Halt) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, error.to_string())
}

fn not_written(error: impl std::fmt::Display) -> Failed {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

#[derive(Deserialize)]
struct Book {
    title: String,
}

/// The row and its event, or neither.
async fn put_book(State(app): State<App>, Path(isbn): Path<String>, Json(book): Json<Book>) -> Result<String, Failed> {
    let mut client = app.database.client().await.map_err(failed)?;
    let transaction = client.transaction().await.map_err(not_written)?;
    let sql = "insert into books (isbn, title) values ($1, $2) on conflict (isbn) do update set title = excluded.title";
    transaction.execute(sql, &[&isbn, &book.title]).await.map_err(not_written)?;
    let version = emit(&*transaction, &Emit::index("books", &isbn)).await.map_err(failed)?;
    transaction.commit().await.map_err(not_written)?;
    Ok(format!("{isbn}@{version}"))
}

#[derive(Deserialize)]
struct Asked {
    q: String,
    /// What an earlier answer of `put_book` said: the search waits until that is seen.
    wrote: Option<String>,
}

async fn search(State(app): State<App>, Parameters(asked): Parameters<Asked>) -> Result<Json<Answer>, Failed> {
    let mut query = Query::parse(&asked.q, &app.fields).map_err(failed)?;
    query.wrote = asked.wrote.iter().map(|wrote| sync_core::query::Wrote::parse(wrote)).collect();
    app.search.search(&query).await.map(Json).map_err(failed)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // What the engine does and what it waits for is told by `tracing`, to whoever subscribes.
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let address = PostgresConfig::new(fresh_database().await?);
    let database = Postgres::new(&address)?;
    database.migrate().await?;
    execute(&database, "create table books (isbn text primary key, title text not null, year int)").await?;

    let directory = tempfile::tempdir()?;
    let path = directory.path().join("indexes");
    let indexes = LocalDirectory::new(&path);
    let fields = Arc::new(Fields::of_mapping(MAPPING, &FieldNames::new("isbn").text(["title"]).fields(["year"]))?);
    let of = projection();
    let rows = PostgresSearcher::new(&address, &[], &PostgresSearcherConfig::of(&of), Arc::clone(&fields))?;
    let search_in = Search::new(
        "books",
        Arc::new(LocalSearcher::new(&indexes, index(), Arc::clone(&fields))?),
        Arc::new(rows),
        Arc::new(PostgresProjection::new(database.clone(), projection())),
        // Patient, so that a busy machine tells the same story.
        SearchConfig::default().budget(Duration::from_secs(10)).wait(Duration::from_secs(30)),
    );
    let pipeline = Pipeline::builder(&database).index(of, Arc::new(LocalSink::new(&indexes, index())?)).build()?;

    let app = App { database, search: Arc::new(search_in), fields };
    let router = Router::new().route("/books/{isbn}", put(put_book)).route("/search", get(search)).with_state(app);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);

    // One token ends both, each in order; and the engine, if it cannot go on, ends the service: somebody has to see it.
    let shutdown = CancellationToken::new();
    let serving = axum::serve(listener, router).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let engine = async {
        let ended = pipeline.run(shutdown.clone()).await;
        shutdown.cancel();
        ended
    };
    let (served, indexed, visited) = tokio::join!(serving, engine, async {
        let visited = visit(&url, &path).await;
        shutdown.cancel();
        visited
    });
    served?;
    indexed?;
    visited
}

/// What a user of the service does.
async fn visit(url: &str, directory: &std::path::Path) -> Result<(), Box<dyn Error>> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
    let mut wrote = Vec::new();
    for (isbn, title) in [("1", "Dune"), ("2", "Emma"), ("1", "Dune, revised")] {
        let answer =
            client.put(format!("{url}/books/{isbn}")).json(&serde_json::json!({ "title": title })).send().await?;
        println!("PUT /books/{isbn}: {}", answer.status());
        wrote.push(answer.text().await?);
    }
    let told = |answer: serde_json::Value| {
        let titles: Vec<_> =
            answer["hits"].as_array().into_iter().flatten().map(|hit| &hit["document"]["title"]).collect();
        format!(
            "{} says {}{}",
            answer["source"],
            serde_json::json!(titles),
            if answer["degraded"] == true { ", degraded" } else { "" }
        )
    };
    let search = format!("{url}/search");
    // Both books are in the index then, and nobody writes to it any more.
    client.get(&search).query(&[("q", "emma"), ("wrote", &wrote[1])]).send().await?.error_for_status()?;
    let asked = [("q", "revised"), ("wrote", &wrote[2])];
    println!("{}", told(client.get(&search).query(&asked).send().await?.json().await?));
    std::fs::rename(directory, directory.with_file_name("gone"))?;
    println!("the index is gone");
    println!("{}", told(client.get(&search).query(&[("q", "emma")]).send().await?.json().await?));
    Ok(())
}
