//! Work of several steps outside the database, done as a whole or taken back: orders, of which one cannot be delivered and
//! one outlives the process that began it.
//!
//! `SYNC__POSTGRES__URL=postgres://… cargo run --example 04_saga`, a role that may create a database.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use sync_core::adapter::postgres::{
    EndingStatement, EndingStatements, Postgres, PostgresConfig, PostgresSagas, SagasConfig,
};
use sync_core::port::Sagas;
use sync_core::saga::{SagaConfig, SagaDefinition, SagaStep, SagaWorker, StepContext};
use sync_core::{Error, ErrorKind};
use sync_examples::fresh_database;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The orders, and in one transaction: an order, and the saga that delivers it.
const TABLES: &str = "
create table orders (id text primary key, status text not null default 'OPEN', error text);
insert into orders values ('tea to oslo'), ('tea to mars');
select outbox.begin_saga('order', id, jsonb_build_object('cups', 2, 'to', split_part(id, ' ', 3))) from orders order by id desc;";

/// Part of the transaction that ends the saga.
const DONE: &str = "update orders set status = 'DELIVERED' where id = $1->>'subject'";
const COMPENSATED: &str = "update orders set status = 'FAILED', error = $1->>'error' where id = $1->>'subject'";

#[derive(Debug)]
struct Stock;

#[async_trait]
impl SagaStep for Stock {
    fn name(&self) -> &'static str {
        "stock"
    }

    async fn act(&self, context: StepContext<'_>) -> Result<Value, Error> {
        println!("{}: {} cups taken", context.subject, context.params["cups"]);
        Ok(json!({ "price": 7 }))
    }

    async fn undo(&self, context: StepContext<'_>) -> Result<(), Error> {
        println!("{}: {} cups put back", context.subject, context.params["cups"]);
        Ok(())
    }
}

/// Never answers the first process that asks to pay for an order to Oslo.
#[derive(Debug)]
struct Payment {
    hangs: Option<Arc<Notify>>,
}

#[async_trait]
impl SagaStep for Payment {
    fn name(&self) -> &'static str {
        "payment"
    }

    async fn act(&self, context: StepContext<'_>) -> Result<Value, Error> {
        if let Some(hangs) = self.hangs.as_ref().filter(|_| context.params["to"] == "oslo") {
            println!("{}: the process dies while it pays", context.subject);
            hangs.notify_one();
            std::future::pending::<()>().await;
        }
        println!("{}: {} paid", context.subject, context.outputs["stock"]["price"]);
        Ok(Value::Null)
    }

    async fn undo(&self, context: StepContext<'_>) -> Result<(), Error> {
        println!("{}: {} paid back", context.subject, context.outputs["stock"]["price"]);
        Ok(())
    }
}

#[derive(Debug)]
struct Courier;

#[async_trait]
impl SagaStep for Courier {
    fn name(&self) -> &'static str {
        "courier"
    }

    async fn act(&self, context: StepContext<'_>) -> Result<Value, Error> {
        if context.params["to"] == "mars" {
            return Err(Error::new(ErrorKind::Refused, "nobody goes there"));
        }
        println!("{}: on its way", context.subject);
        Ok(Value::Null)
    }

    async fn undo(&self, _: StepContext<'_>) -> Result<(), Error> {
        Ok(())
    }
}

/// A process that works on orders.
fn worker(database: &Postgres, hangs: Option<Arc<Notify>>) -> Result<SagaWorker, sync_core::Error> {
    let endings = EndingStatements::default()
        .done(EndingStatement::new("DONE", DONE))
        .compensated(EndingStatement::new("COMPENSATED", COMPENSATED));
    let config = SagasConfig::default().lease(Duration::from_secs(2)).endings([("order".to_owned(), endings)].into());
    let log = Arc::new(PostgresSagas::new(database.clone(), config));
    let steps: Vec<Arc<dyn SagaStep>> = vec![Arc::new(Stock), Arc::new(Payment { hangs }), Arc::new(Courier)];
    let config = SagaConfig::default().concurrency(1);
    SagaWorker::new(log, vec![SagaDefinition::new("order", steps)], config)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let database = Postgres::new(&PostgresConfig::new(fresh_database().await?))?;
    database.migrate().await?;
    let client = database.client().await?;
    client.batch_execute(TABLES).await?;

    let hangs = Arc::new(Notify::new());
    let dying = worker(&database, Some(Arc::clone(&hangs)))?;
    tokio::select! {
        () = dying.run(CancellationToken::new()) => {}
        () = hangs.notified() => {}
    }

    // Another process takes up what the first one held, when its lease is over.
    let (other, shutdown) = (worker(&database, None)?, CancellationToken::new());
    let sagas = PostgresSagas::new(database, SagasConfig::default());
    let until_over = async {
        while sagas.list(None, 9).await?.iter().any(|past| past.outcome.is_none()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        shutdown.cancel();
        Ok::<_, Error>(())
    };
    let ((), ended) = tokio::join!(other.run(shutdown.clone()), until_over);
    ended?;
    for row in client.query("select concat_ws(': ', id, status, error) from orders order by id", &[]).await? {
        println!("{}", row.get::<_, String>(0));
    }
    Ok(())
}
