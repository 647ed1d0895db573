//! How long a search takes: in the index, when a node of it has to be left for another, and in the database.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sync_core::adapter::elasticsearch::{ElasticsearchConfig, ElasticsearchSearcher, ElasticsearchSearcherConfig};
use sync_core::adapter::local_index::{LocalDirectory, LocalIndexConfig, LocalSearcher};
use sync_core::adapter::postgres::{
    Postgres, PostgresConfig, PostgresProjection, PostgresSearcher, PostgresSearcherConfig, ProjectionConfig,
};
use sync_core::policy::BreakerState;
use sync_core::port::Searcher;
use sync_core::query::{FieldNames, Fields, Order, Query};
use sync_core::search::{Search, SearchConfig};
use tokio::time::Instant;

use super::BOUND;
use crate::board::{Board, Limit};
use crate::cli::Options;
use crate::figures::{Figures, quantile};
use crate::index::Index;
use crate::jobs::{self, MAPPING, PROJECTION};
use crate::stage::Stage;
use crate::{Outcome, ours};

/// Rows of the table.
const SIZE: u64 = 1_000_000;

/// Searches of a turn: one after the other, and then again by several at a time.
const SEARCHES: u64 = 400;

const AT_A_TIME: u64 = 8;

/// Times are spread over a year; an index keeps those of all rows in order.
const SPREAD: &str = "
update public.jobs set created_at = now() - random() * interval '365 days';
vacuum (full, analyze) public.jobs;";

/// What is wanted of a search in milliseconds, half of them.
const LIMITS: &[Limit] = &[
    Limit { what: "ours:elasticsearch", of: "p50_ms", most: 50.0 },
    Limit { what: "ours:degraded", of: "p50_ms", most: 80.0 },
    Limit { what: "ours:postgres", of: "p50_ms", most: 200.0 },
    Limit { what: "ours:postgres", of: "p99_ms", most: 200.0 },
];

pub(crate) async fn run(options: &Options) -> Outcome<bool> {
    Stage::with("search", async |stage| contest(stage, options).await).await
}

async fn contest(stage: &Stage, options: &Options) -> Outcome<bool> {
    let size = options.size.unwrap_or(SIZE);
    let client = stage.database().await?;
    jobs::fill(stage, &client, size).await?;
    for statement in SPREAD.trim().lines() {
        client.batch_execute(statement).await?;
    }
    client.execute("select outbox.emit_many($1, array(select id::text from public.jobs))", &[&stage.name]).await?;
    client.batch_execute("vacuum analyze outbox.versions").await?;
    let mut settings = jobs::settings(&stage.name, &stage.name);
    settings.extend(
        ["text=title^3,description", "fields=status,salary,created_at", "order=-created_at"]
            .map(|set| format!("indexes.jobs.search.{set}")),
    );
    settings.extend_from_slice(&options.set);
    ours::command(stage, &["backfill", "jobs"], &settings)?.until_done(size, BOUND).await?;
    let directory = stage.files().join("local");
    let mut local = settings.clone();
    local.extend(jobs::in_directory(&directory));
    ours::command(stage, &["backfill", "jobs"], &local)?.until_done(size, BOUND).await?;
    ours::command(stage, &["search-indexes", "jobs", "--apply"], &settings)?.until_done(size, BOUND).await?;
    Index::new(stage, &stage.name).holds(size).await?;

    let site = Site::new(stage, &directory)?;
    let mut board = Board::new("search", options.json);
    // The first turns warm the servers, and are not counted.
    for round in 0..=options.rounds {
        for what in ["ours:elasticsearch", "ours:degraded", "ours:postgres", "ours:local"] {
            let figures = site.measure(what, size, round).await?;
            if round > 0 {
                board.add(what, round, figures);
            }
        }
    }
    Ok(board.finish(&[], LIMITS, options.require))
}

struct Site {
    fields: Arc<Fields>,
    alias: String,
    elasticsearch: String,
    /// An address at which no node is.
    nowhere: String,
    local: Arc<LocalSearcher>,
    database: Arc<PostgresSearcher>,
    rows: Arc<PostgresProjection>,
}

impl Site {
    fn new(stage: &Stage, directory: &Path) -> Outcome<Self> {
        let names = FieldNames::new("id")
            .text(["title^3", "description"])
            .fields(["status", "salary", "created_at"])
            .order("-created_at");
        let fields = Arc::new(Fields::of_mapping(MAPPING, &names)?);
        let server = PostgresConfig::new(&stage.url).pool_size(16);
        let config = PostgresSearcherConfig::new("jobs", &stage.name, PROJECTION);
        let database = Arc::new(PostgresSearcher::new(&server, &[], &config, Arc::clone(&fields))?);
        let projection = ProjectionConfig::new("jobs", &stage.name, PROJECTION);
        let rows = Arc::new(PostgresProjection::new(Postgres::new(&server)?, projection));
        let nowhere = format!("http://{}", TcpListener::bind("127.0.0.1:0")?.local_addr()?);
        let index = LocalIndexConfig::new("jobs", MAPPING).alias(&stage.name);
        let local = Arc::new(LocalSearcher::new(&LocalDirectory::new(directory), index, Arc::clone(&fields))?);
        let (alias, elasticsearch) = (stage.name.clone(), stage.elasticsearch.clone());
        Ok(Self { fields, alias, elasticsearch, nowhere, local, database, rows })
    }

    fn index(&self, what: &str) -> Outcome<Arc<dyn Searcher>> {
        let nodes = match what {
            "ours:local" => return Ok(Arc::<LocalSearcher>::clone(&self.local)),
            "ours:degraded" => vec![&self.nowhere, &self.elasticsearch],
            "ours:postgres" => vec![&self.nowhere],
            _ => vec![&self.elasticsearch],
        };
        let config = ElasticsearchSearcherConfig::new(&self.alias).budget(SearchConfig::default().budget);
        Ok(Arc::new(ElasticsearchSearcher::new(&ElasticsearchConfig::new(nodes), config, Arc::clone(&self.fields))?))
    }

    fn search(&self, what: &str) -> Outcome<Search> {
        let defaults = SearchConfig::default();
        let index = self.index(what)?;
        // Once it is open, it stays so for the turn.
        let breaker = defaults.breaker.open_for(Duration::from_secs(3_600));
        let (database, rows) = (Arc::clone(&self.database), Arc::clone(&self.rows));
        Ok(Search::new("jobs", index, database, rows, defaults.breaker(breaker)))
    }

    async fn measure(&self, what: &str, size: u64, round: u32) -> Outcome<Figures> {
        let shared = self.search(what)?;
        let is_degraded = what == "ours:degraded";
        let wanted = if is_degraded { "elasticsearch" } else { what.trim_start_matches("ours:") };
        let mut random = StdRng::seed_from_u64(u64::from(round));
        // Those at which the breaker opens.
        while wanted == "postgres" && shared.breaker() != BreakerState::Open {
            shared.search(&Query::default()).await?;
        }
        let ask = async |search: &Search, query: &Query| -> Outcome<f64> {
            let began = Instant::now();
            let answer = search.search(query).await?;
            let took = began.elapsed().as_secs_f64() * 1e3;
            if answer.source == wanted {
                Ok(took)
            } else {
                Err(format!("{what} was answered by {}", answer.source).into())
            }
        };
        let mut times = Vec::new();
        for number in 0..SEARCHES {
            // A node that could not be reached rests: one that does not know it yet is asked each time.
            let own = if is_degraded { Some(self.search(what)?) } else { None };
            times.push(ask(own.as_ref().unwrap_or(&shared), &self.query(&mut random, number, size)?).await?);
        }
        let (p50_ms, p99_ms) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
        if is_degraded {
            return Ok(Figures { p50_ms, p99_ms, ..Figures::default() });
        }
        let queries = (0..SEARCHES).map(|number| self.query(&mut random, number, size)).collect::<Outcome<Vec<_>>>()?;
        let began = Instant::now();
        let shares = queries.chunks(queries.len().div_ceil(usize::try_from(AT_A_TIME)?));
        try_join_all(shares.map(async |share| {
            for query in share {
                ask(&shared, query).await?;
            }
            Outcome::Ok(())
        }))
        .await?;
        Ok(Figures { p50_ms, p99_ms, ..Figures::rate(SEARCHES, began.elapsed().as_secs_f64()) })
    }

    /// What people ask: a word, several, with filters, while they type, the next page.
    fn query(&self, random: &mut StdRng, number: u64, size: u64) -> Outcome<Query> {
        let mut word = || format!("word{}", random.random_range(0..5_000));
        let text = match number % 6 {
            0 => word(),
            1 => format!("{} {}", word(), word()),
            2 => format!("{} status:FAILED", word()),
            3 => format!("status:RUNNING salary:{}..{}", number * 100, number * 100 + 500),
            4 => format!("{}*", word()),
            _ => format!("{} created_at:>=2020-01-01 -status:CREATED", word()),
        };
        let mut query = Query::parse(&text, &self.fields)?;
        if number % 6 == 3 {
            query.order = Some(Order::parse("-salary"));
        }
        query.limit = usize::try_from(size.min(20))?;
        Ok(query)
    }
}
