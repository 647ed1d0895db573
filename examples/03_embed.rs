//! Relay and indexer inside another service, joined by the direct bus: PostgreSQL to Elasticsearch without a broker.
//!
//! `SYNC__POSTGRES__URL=postgres://… SYNC__ELASTICSEARCH__URL=http://… cargo run --example 03_embed`

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use sync_core::adapter::SystemClock;
use sync_core::adapter::direct::DirectBus;
use sync_core::adapter::elasticsearch::{ElasticsearchConfig, ElasticsearchSink, IndexConfig};
use sync_core::adapter::postgres::{
    Postgres, PostgresConfig, PostgresDeadLetters, PostgresProjection, PostgresSource, ProjectionConfig, SourceConfig,
    migrate,
};
use sync_core::indexer::{Indexer, IndexerConfig, Parking};
use sync_core::relay::{Relay, RelayConfig};
use sync_core::repair::compare;
use tokio_util::sync::CancellationToken;

const TABLES: &str = "
create table books (isbn text primary key, title text not null);
select outbox.watch('books', 'books');
insert into books values ('1', 'Dune'), ('2', 'Emma'), ('3', 'Ulysses');
update books set title = 'Emma, again' where isbn = '2';
delete from books where isbn = '3';";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = std::env::var("SYNC__POSTGRES__URL")?;
    let name = format!("example-{}", uuid::Uuid::new_v4().simple());
    let connect = |url: String| Postgres::new(&PostgresConfig::new(url));
    connect(server.clone())?.client().await?.batch_execute(&format!("create database \"{name}\"")).await?;
    let url = server.rsplit_once('/').map_or(server.as_str(), |(server, _)| server);
    let database = connect(format!("{url}/{name}"))?;
    let mut client = database.client().await?;
    migrate(&mut client).await?;
    client.batch_execute(TABLES).await?;

    let projection = Arc::new(PostgresProjection::new(
        database.clone(),
        ProjectionConfig::new("books", "books", "select isbn as key, to_jsonb(books) as document from books"),
    ));
    let cluster = ElasticsearchConfig::new([std::env::var("SYNC__ELASTICSEARCH__URL")?]);
    let index =
        IndexConfig::new("jobs", r#"{"mappings":{"properties":{"isbn":{"type":"keyword"},"title":{"type":"text"}}}}"#)
            .alias(&name);
    let sink = Arc::new(ElasticsearchSink::new(&cluster, index)?);

    let bus = DirectBus::new(["books"], 10_000, 4);
    let subscriber = Arc::new(bus.subscriber("books")?);
    let letters = Arc::new(PostgresDeadLetters::new(database.clone()));
    let parking = Parking::new("books", "books", letters, Arc::new(SystemClock));
    let source = PostgresSource::new(database, SourceConfig::default().holder(name));
    let relay = Relay::new(Arc::new(source), Arc::new(bus), RelayConfig::default());
    let (documents, target) = (Arc::clone(&projection), Arc::clone(&sink));
    let indexer = Indexer::new(subscriber, documents, target, parking, IndexerConfig::default());

    let shutdown = CancellationToken::new();
    let until_equal = async {
        while !compare(&*projection, &*sink).await.is_ok_and(|comparison| comparison.is_equal()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        shutdown.cancel();
        Ok(())
    };
    tokio::try_join!(relay.run(shutdown.clone()), indexer.run(shutdown.clone()), until_equal)?;
    for (key, stored) in sink.look("title:emma OR title:dune", 10).await? {
        println!("{key} {}", stored.document);
    }
    Ok(())
}
