//! An old snapshot is held open while writers write: what becomes of readers, of tables, and of writers of hot keys.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_postgres::Client;

use super::BOUND;
use crate::board::{Board, Ratio};
use crate::cli::Options;
use crate::figures::Figures;
use crate::pgbench::Load;
use crate::stage::Stage;
use crate::topic::Topic;
use crate::{Outcome, ours, peer};

/// Seconds the snapshot is held while writers write.
const SIZE: u64 = 120;
/// Events of the backlogs that are drained before and meanwhile.
const BACKLOG: i64 = 50_000;
/// Keys the writers of hot keys choose from.
const HOT: u32 = 8;

const RATIOS: &[Ratio] = &[
    Ratio {
        name: "ratio_pinned",
        ours: "peer:poller pinned",
        others: &["peer:poller before"],
        of: "rate",
        least: None,
    },
    Ratio {
        name: "ratio_pinned",
        ours: "ours:hot keys pinned",
        others: &["ours:hot keys before"],
        of: "rate",
        least: None,
    },
    Ratio { name: "ratio_pinned", ours: "ours pinned", others: &["ours before"], of: "rate", least: Some(0.9) },
];

pub(crate) async fn run(options: &Options) -> Outcome<bool> {
    let mut board = Board::new("pinned", options.json);
    for round in 1..=options.rounds {
        Stage::with("pinned", async |stage| {
            ours(stage, options, round, &mut board).await?;
            if options.peers { poller(stage, options, round, &mut board).await } else { Ok(()) }
        })
        .await?;
    }
    Ok(board.finish(RATIOS, &[], options.require))
}

fn seconds(options: &Options) -> Outcome<u32> {
    Ok(u32::try_from(options.size.unwrap_or(SIZE))?)
}

/// Holds a snapshot that sees nothing of what follows, for as long as the connection lives.
async fn pin(stage: &Stage) -> Outcome<Client> {
    let client = stage.database().await?;
    client.batch_execute("begin isolation level repeatable read; select count(*) from outbox.subscriptions").await?;
    Ok(client)
}

async fn ours(stage: &Stage, options: &Options, round: u32, board: &mut Board) -> Outcome<()> {
    let seconds = seconds(options)?;
    let client = stage.database().await?;
    let topic = Topic::new(&stage.brokers, &stage.name).await?;
    let hot = format!("\\set id random(1, {HOT})\nselect outbox.emit('{}', :id::text);\n", stage.name);
    let load = |seconds| Load { script: &hot, seconds };
    let mut relay = ours::start(stage, "relay", &options.set)?;
    relay.until_says("the relay holds the lease and reads", BOUND).await?;
    let drained = async |relay: &mut crate::program::Program| {
        let before = topic.end()?;
        let began = Instant::now();
        let emit = "select outbox.emit_many($1, array(select 'key-' || n from generate_series(1, $2::int8) n))";
        client.execute(emit, &[&stage.name, &BACKLOG]).await?;
        let written = began.elapsed().as_secs_f64();
        let began = Instant::now();
        topic.until_holds(before + BACKLOG.unsigned_abs(), relay, BOUND).await?;
        let figures = Figures::rate(BACKLOG.unsigned_abs(), began.elapsed().as_secs_f64());
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(figures.with("write_s", written))
    };
    drained(&mut relay).await?;
    board.add("ours before", round, drained(&mut relay).await?);
    let rate = load(seconds.min(10)).run(stage).await?;
    board.add("ours:hot keys before", round, Figures { rate: Some(rate), ..Figures::default() });
    let pinned = pin(stage).await?;
    load(seconds).run(stage).await?;
    let rate = load(seconds.min(10)).run(stage).await?;
    let figures = Figures { rate: Some(rate), ..Figures::default() };
    board.add("ours:hot keys pinned", round, figures.with("dead_versions", dead(&client, "outbox.versions").await?));
    let figures = drained(&mut relay).await?.with("dead_events", dead(&client, "outbox.events").await?);
    board.add("ours pinned", round, figures);
    drop(pinned);
    relay.end().await
}

/// Dead rows of a table, or of all its leaves.
async fn dead(client: &Client, table: &str) -> Outcome<f64> {
    // Statistics are written a moment after the transaction.
    sleep(Duration::from_secs(2)).await;
    let sum = "select coalesce(sum(n_dead_tup), 0)::float8 from pg_stat_all_tables
                where relid = $1::text::regclass
                   or relid in (select inhrelid from pg_inherits where inhparent = $1::text::regclass)";
    Ok(client.query_one(sum, &[&table]).await?.get(0))
}

async fn poller(stage: &Stage, options: &Options, round: u32, board: &mut Board) -> Outcome<()> {
    let seconds = seconds(options)?;
    let client = stage.database().await?;
    let topic = Topic::new(&stage.brokers, &format!("{}-poller", stage.name)).await?;
    client.batch_execute(peer::poller::TABLE).await?;
    let insert = format!(
        "insert into public.hand_outbox (topic, key, payload) values ('{}', 'key', '{{\"n\": 1}}');\n",
        topic.name
    );
    let mut poller = peer::poller::start(stage)?;
    let drained = async |poller: &mut crate::program::Program| {
        // What the writers left is published first.
        let waiting = "select count(*) from public.hand_outbox where not published";
        while client.query_one(waiting, &[]).await?.get::<_, i64>(0) > 0 {
            poller.is_alive()?;
            sleep(Duration::from_millis(200)).await;
        }
        let before = topic.end()?;
        let backlog = "insert into public.hand_outbox (topic, key, payload)
                       select $1, 'key-' || n, '{\"n\": 1}' from generate_series(1, $2::int8) n";
        client.execute(backlog, &[&topic.name, &BACKLOG]).await?;
        let began = Instant::now();
        topic.until_holds(before + BACKLOG.unsigned_abs(), poller, BOUND).await?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Figures::rate(
            BACKLOG.unsigned_abs(),
            began.elapsed().as_secs_f64(),
        ))
    };
    drained(&mut poller).await?;
    board.add("peer:poller before", round, drained(&mut poller).await?);
    let pinned = pin(stage).await?;
    Load { script: &insert, seconds }.run(stage).await?;
    let figures = drained(&mut poller).await?;
    board.add("peer:poller pinned", round, figures.with("dead_events", dead(&client, "public.hand_outbox").await?));
    drop(pinned);
    poller.end().await
}
