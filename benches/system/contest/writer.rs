//! What a transaction costs the application: eight connections update a row each and commit, with nothing more, with an
//! insert into a plain table, with an event by trigger or by call, or with a hand-written outbox.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_postgres::{AsyncMessage, Client, NoTls};

use super::BOUND;
use crate::board::{Board, Ratio};
use crate::cli::Options;
use crate::figures::Figures;
use crate::pgbench::Load;
use crate::program::Program;
use crate::stage::Stage;
use crate::topic::Topic;
use crate::{Outcome, ours, peer};

/// Seconds of one turn.
const SIZE: u64 = 10;
/// Rows the writers choose from.
const ROWS: u32 = 100_000;

const RATIOS: &[Ratio] = &[
    Ratio { name: "ratio_bare", ours: "plain insert", others: &["bare update"], of: "rate", least: None },
    Ratio { name: "ratio_bare", ours: "ours:trigger", others: &["bare update"], of: "rate", least: None },
    Ratio { name: "ratio_bare", ours: "ours:emit", others: &["bare update"], of: "rate", least: None },
    Ratio { name: "ratio_peer", ours: "ours:trigger relayed", others: &["peer:poller"], of: "rate", least: None },
    Ratio { name: "ratio_ceiling", ours: "ours:emit", others: &["plain insert"], of: "rate", least: Some(0.8) },
    Ratio { name: "ratio_ceiling", ours: "ours:trigger", others: &["plain insert"], of: "rate", least: Some(0.85) },
];

/// Who reads what is written meanwhile, on the same processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    Nobody,
    Relay,
    Poller,
}

impl Reader {
    async fn start(self, stage: &Stage, options: &Options) -> Outcome<Option<Program>> {
        match self {
            Self::Nobody => Ok(None),
            Self::Poller => Ok(Some(peer::poller::start(stage)?)),
            Self::Relay => {
                let mut relay = ours::start(stage, "relay", &options.set)?;
                relay.until_says("the relay holds the lease and reads", BOUND).await?;
                Ok(Some(relay))
            }
        }
    }
}

pub(crate) async fn run(options: &Options) -> Outcome<bool> {
    Stage::with("writer", async |stage| contest(stage, options).await).await
}

/// The tables, one of which is watched.
fn tables(topic: &str) -> String {
    let mut sql = String::new();
    for name in ["unwatched", "watched"] {
        sql += &format!(
            "create table public.{name} (id int primary key, n int not null, note text not null) with (fillfactor = 70);
             insert into public.{name} select n, 0, repeat('x', 100) from generate_series(1, {ROWS}) n;"
        );
    }
    sql + "create table public.plain_outbox (id bigint generated always as identity primary key, topic text not null,
               key text not null, payload jsonb, created_at timestamptz not null default now());"
        + peer::poller::TABLE
        + &format!("select outbox.watch('public.watched', '{topic}')")
}

/// The transaction of a contestant: an update of `table`, and what goes with it.
fn script(table: &str, with: &str) -> String {
    format!(
        "\\set id random(1, {ROWS})\nbegin;\nupdate public.{table} set n = n + 1 where id = :id;\n{with}\ncommit;\n"
    )
}

async fn contest(stage: &Stage, options: &Options) -> Outcome<bool> {
    let seconds = u32::try_from(options.size.unwrap_or(SIZE))?;
    let client = stage.database().await?;
    let topic = Topic::new(&stage.brokers, &stage.name).await?;
    client.batch_execute(&tables(&topic.name)).await?;
    let name = &topic.name;
    let insert = |table: &str| {
        format!("insert into public.{table} (topic, key, payload) values ('{name}', :id::text, '{{\"n\": 1}}');")
    };
    let (trigger, emit) = (script("watched", ""), format!("select outbox.emit('{name}', :id::text);"));
    let emit = script("unwatched", &emit);
    let contestants = [
        ("bare update", Reader::Nobody, script("unwatched", "")),
        ("plain insert", Reader::Nobody, script("unwatched", &insert("plain_outbox"))),
        ("ours:trigger", Reader::Nobody, trigger.clone()),
        ("ours:emit", Reader::Nobody, emit.clone()),
        ("ours:trigger relayed", Reader::Relay, trigger),
        ("ours:emit relayed", Reader::Relay, emit),
        ("peer:poller", Reader::Poller, script("unwatched", &insert("hand_outbox"))),
    ];
    let rings = Rings::listen(stage).await?;
    let mut board = Board::new("writer", options.json);
    // Writers look for the subscriptions they may have to wake: one relay has been here.
    if let Some(relay) = Reader::Relay.start(stage, options).await? {
        relay.end().await?;
    }
    for round in 0..=options.rounds {
        for (what, reader, script) in &contestants {
            if *reader == Reader::Poller && !options.peers {
                continue;
            }
            let program = reader.start(stage, options).await?;
            let before = rings.heard();
            let rate = Load { script, seconds }.run(stage).await?;
            let mut figures = Figures { rate: Some(rate), ..Figures::default() };
            if *reader == Reader::Relay {
                let rung = rings.heard() - before;
                figures = figures.with("notifies_per_1000", 1e3 * rung as f64 / (rate * f64::from(seconds)));
            }
            if let Some(program) = program {
                program.end().await?;
            }
            if round > 0 {
                board.add(what, round, figures);
            }
        }
    }
    Ok(board.finish(RATIOS, &[], options.require))
}

/// Counts the notifications the writers send to wake the relay.
struct Rings {
    count: Arc<AtomicU64>,
    /// The connection lives as long as this.
    _client: Client,
}

impl Rings {
    async fn listen(stage: &Stage) -> Outcome<Self> {
        let (client, mut connection) = tokio_postgres::connect(&stage.url, NoTls).await?;
        let count = Arc::new(AtomicU64::new(0));
        tokio::spawn({
            let count = Arc::clone(&count);
            async move {
                while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                    if let AsyncMessage::Notification(_) = message {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        client.batch_execute("listen outbox").await?;
        Ok(Self { count, _client: client })
    }

    fn heard(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}
