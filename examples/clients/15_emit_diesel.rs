//! Events from diesel, in the transaction that writes the row: all it takes is SQL.
//!
//! `DATABASE_URL=postgres://… cargo run --bin 15_emit_diesel`, in this directory; a new database, after `sync-runner migrate`.

use std::error::Error;

use diesel::prelude::*;
use diesel::result::Error::RollbackTransaction;
use diesel::sql_types::{BigInt, Jsonb, Text};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::json;

/// In an application, a migration.
const BOOKS: &str = "
create table books (isbn text primary key, title text not null);
select outbox.watch('books', 'books');";

const EVENTS: &str = "
select concat_ws(' ', topic, action, key, payload, headers) as line, version from outbox.events order by id";

diesel::table! {
    books (isbn) {
        isbn -> Text,
        title -> Text,
    }
}

diesel::define_sql_function! {
    #[sql_name = "outbox.emit"]
    fn emit(topic: Text, key: Text, action: Text, payload: Jsonb, headers: Jsonb) -> BigInt;
}

/// What was written.
#[derive(QueryableByName)]
struct Event {
    #[diesel(sql_type = Text)]
    line: String,
    #[diesel(sql_type = BigInt)]
    version: i64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut connection = AsyncPgConnection::establish(&std::env::var("DATABASE_URL")?).await?;
    connection.batch_execute(BOOKS).await?;

    // Commit: both the row and the events.
    let version = connection.transaction(async |connection| add_book(connection, "1", "Dune").await).await?;

    // Any error rolls back: neither.
    let outcome: QueryResult<()> = connection
        .transaction(async |connection| {
            add_book(connection, "2", "Emma").await?;
            Err(RollbackTransaction)
        })
        .await;
    assert_eq!(outcome, Err(RollbackTransaction));

    let titles: Vec<String> = books::table.select(books::title).load(&mut connection).await?;
    println!("books: {}", titles.join(", "));
    let events: Vec<Event> = diesel::sql_query(EVENTS).load(&mut connection).await?;
    for event in &events {
        println!("event: {}", event.line);
    }
    println!("emit returned the version of its event: {}", events.last().is_some_and(|last| last.version == version));
    Ok(())
}

/// The row, of which the watched table tells by itself, and an event of the application's own.
async fn add_book(connection: &mut AsyncPgConnection, isbn: &str, title: &str) -> QueryResult<i64> {
    let row = (books::isbn.eq(isbn), books::title.eq(title));
    diesel::insert_into(books::table).values(row).execute(connection).await?;
    let (payload, headers) = (json!({ "title": title }), json!({ "type": "BookAdded" }));
    diesel::select(emit("book-news", isbn, "INDEX", payload, headers)).get_result(connection).await
}
