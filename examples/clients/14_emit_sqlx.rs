//! Events from sqlx, in the transaction that writes the row: all it takes is SQL.
//!
//! `DATABASE_URL=postgres://… cargo run --bin 14_emit_sqlx`, in this directory; a new database, after `sync-runner migrate`.

use std::error::Error;

use serde_json::json;
use sqlx::{Connection, PgConnection, query, query_as, query_scalar, raw_sql};

/// In an application, a migration.
const BOOKS: &str = "
create table books (isbn text primary key, title text not null);
select outbox.watch('books', 'books');";

const EVENTS: &str = "
select concat_ws(' ', topic, action, key, payload, headers), version from outbox.events order by id";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut connection = PgConnection::connect(&std::env::var("DATABASE_URL")?).await?;
    raw_sql(BOOKS).execute(&mut connection).await?;

    // Commit: both the row and the events.
    let mut transaction = connection.begin().await?;
    let version = add_book(&mut transaction, "1", "Dune").await?;
    transaction.commit().await?;

    // Roll back, or drop the transaction: neither.
    let mut transaction = connection.begin().await?;
    add_book(&mut transaction, "2", "Emma").await?;
    transaction.rollback().await?;

    let books: Vec<String> = query_scalar("select title from books").fetch_all(&mut connection).await?;
    println!("books: {}", books.join(", "));
    let events: Vec<(String, i64)> = query_as(EVENTS).fetch_all(&mut connection).await?;
    for (event, _) in &events {
        println!("event: {event}");
    }
    println!("emit returned the version of its event: {}", events.last().is_some_and(|last| last.1 == version));
    Ok(())
}

/// The row, of which the watched table tells by itself, and an event of the application's own.
async fn add_book(connection: &mut PgConnection, isbn: &str, title: &str) -> sqlx::Result<i64> {
    query("insert into books values ($1, $2)").bind(isbn).bind(title).execute(&mut *connection).await?;
    query_scalar("select outbox.emit('book-news', $1, 'INDEX', $2, $3)")
        .bind(isbn)
        .bind(json!({ "title": title }))
        .bind(json!({ "type": "BookAdded" }))
        .fetch_one(connection)
        .await
}
