//! Every row of a table changes once, in transactions of a thousand, while the sync is up: from the first commit until
//! a search finds the last change.

use std::time::Instant;

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::BOUND;
use crate::board::{Board, Ratio};
use crate::cli::Options;
use crate::figures::Figures;
use crate::index::Index;
use crate::peer::pgsync::PgSync;
use crate::program::Program;
use crate::stage::Stage;
use crate::topic::Topic;
use crate::{Outcome, ceiling, jobs, ours};

/// Rows of the table.
const SIZE: u64 = 100_000;
/// Rows that change together.
const TRANSACTION: usize = 1_000;

/// A variant of ours. Each has a topic, a subscription and an index of its own, so that none has to catch up with what
/// was written while it was another's turn.
struct Variant {
    what: &'static str,
    bus: &'static str,
    /// What the triggers are for.
    each: &'static str,
}

const OURS: [Variant; 4] = [
    Variant { what: "ours", bus: "kafka", each: "row" },
    Variant { what: "ours:statement", bus: "kafka", each: "statement" },
    Variant { what: "ours:direct", bus: "direct", each: "row" },
    Variant { what: "ours:direct:statement", bus: "direct", each: "statement" },
];

impl Variant {
    /// Of its topic, subscription and index.
    fn name(&self, stage: &Stage) -> String {
        format!("{}_{}_{}", stage.name, self.bus, self.each)
    }

    async fn turn(&self, stage: &Stage, client: &Client, table: &Table, more: &[String]) -> Outcome<Figures> {
        let name = self.name(stage);
        client.execute("select outbox.watch('public.jobs', $1, each => $2)", &[&name, &self.each]).await?;
        let mut settings = jobs::settings(&name, &name);
        settings.push(format!("kafka.group={name}"));
        settings.extend([format!("relay.bus={}", self.bus), format!("relay.subscription={name}")]);
        settings.push(format!("relay.topics={name}"));
        settings.extend_from_slice(more);
        let mut sync = ours::start(stage, "relay,indexer", &settings)?;
        let index = Index::new(stage, &name);
        index.until_finds("*", table.size(), &mut sync, BOUND).await?;
        let figures = table.change(client, &index, &mut sync).await?;
        let figures = sync.usage(figures)?;
        sync.end().await?;
        client.execute("select outbox.unwatch('public.jobs')", &[]).await?;
        Ok(figures)
    }
}

const RATIOS: &[Ratio] = &[
    Ratio { name: "ratio_peer_statement", ours: "ours:statement", others: &["peer:pgsync"], of: "rate", least: None },
    Ratio { name: "ratio_peer_direct", ours: "ours:direct", others: &["peer:pgsync"], of: "rate", least: None },
    Ratio {
        name: "ratio_peer_direct_statement",
        ours: "ours:direct:statement",
        others: &["peer:pgsync"],
        of: "rate",
        least: None,
    },
    Ratio { name: "ratio_peer", ours: "ours", others: &["peer:pgsync"], of: "rate", least: Some(12.0) },
    Ratio { name: "ratio_ceiling", ours: "ours", others: &["ceiling:bulk"], of: "rate", least: None },
];

pub(crate) async fn run(options: &Options) -> Outcome<bool> {
    Stage::with("live", async |stage| contest(stage, options).await).await
}

async fn contest(stage: &Stage, options: &Options) -> Outcome<bool> {
    let size = options.size.unwrap_or(SIZE);
    let client = stage.database().await?;
    jobs::fill(stage, &client, size).await?;
    let table = Table::of(&client).await?;
    let mut topics = Vec::new();
    for variant in &OURS {
        let name = variant.name(stage);
        client.execute("select outbox.emit_many($1, array(select id::text from public.jobs))", &[&name]).await?;
        if variant.bus == "kafka" {
            topics.push(Topic::new(&stage.brokers, &name).await?);
        }
    }
    let mut board = Board::new("live", options.json);
    // The first turns warm the servers, and are not counted.
    for round in 0..=options.rounds {
        let mut tell = |what: &str, figures| {
            if round > 0 {
                board.add(what, round, figures)
            }
        };
        for variant in &OURS {
            tell(variant.what, variant.turn(stage, &client, &table, &options.set).await?);
        }
        // The same documents once more into an index that has them, with nobody else at work.
        tell("ceiling:bulk", ceiling::bulk(stage, table.size(), 2).await?);
        if options.peers {
            tell("peer:pgsync", pgsync(stage, &client, &table, round).await?);
        }
    }
    Ok(board.finish(RATIOS, &[], options.require))
}

async fn pgsync(stage: &Stage, client: &Client, table: &Table, round: u32) -> Outcome<Figures> {
    let name = format!("pgsync{round}");
    let mut sync = PgSync::start(stage, client, &name, table.size()).await?;
    let index = Index::new(stage, &name);
    index.until_finds("*", table.size(), sync.program(), BOUND).await?;
    let figures = table.change(client, &index, sync.program()).await?;
    let figures = sync.usage(figures)?;
    sync.end().await?;
    stage.forget_indexes(&name).await?;
    Ok(figures)
}

/// The keys of the table, in the portions in which they change.
struct Table {
    portions: Vec<Vec<String>>,
}

impl Table {
    async fn of(client: &Client) -> Outcome<Self> {
        let rows = client.query("select id::text from public.jobs order by id", &[]).await?;
        let keys: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        Ok(Self { portions: keys.chunks(TRANSACTION).map(<[String]>::to_vec).collect() })
    }

    fn size(&self) -> u64 {
        self.portions.iter().map(|portion| portion.len() as u64).sum()
    }

    /// Changes every row, as fast as the database takes it, and waits until `index` finds all of it. Before that one
    /// row, for as long as it takes: the index may be there already, and its sync not up yet.
    async fn change(&self, client: &Client, index: &Index, sync: &mut Program) -> Outcome<Figures> {
        let [probe, mark] = [1_000_000_000, 0].map(|from| from + rand::random::<u32>() % 1_000_000_000);
        let update = "update public.jobs set salary = $2, updated_at = now() where id = any ($1::text[]::uuid[])";
        let update = client.prepare_typed(update, &[Type::TEXT_ARRAY, Type::INT4]).await?;
        let first: Vec<_> = self.portions.iter().flatten().take(1).collect();
        client.execute(&update, &[&first, &probe.cast_signed()]).await?;
        index.until_finds(&format!("salary:{probe}"), 1, sync, BOUND).await?;
        let mut began = None;
        for portion in &self.portions {
            client.execute(&update, &[portion, &mark.cast_signed()]).await?;
            began.get_or_insert_with(Instant::now);
        }
        let began = began.ok_or("the table is empty")?;
        let committed = Instant::now();
        let written = (committed - began).as_secs_f64();
        let found = index.until_finds(&format!("salary:{mark}"), self.size(), sync, BOUND).await?;
        let figures = Figures::rate(self.size(), (found - began).as_secs_f64());
        let behind = found.saturating_duration_since(committed).as_secs_f64();
        Ok(figures.with("rows_written_per_s", self.size() as f64 / written).with("behind_s", behind))
    }
}
