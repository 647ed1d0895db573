//! What is full first as changes grow: the flow of changes from writers to the index, simulated from what an event costs
//! on its way. It needs no servers, and is no measurement.

mod flow;

use clap::Args;
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{ContentArrangement, Table};
use serde_json::json;

use self::flow::{Plan, Seen, simulate};
use crate::Outcome;

/// Simulates the plans of the documentation, or one of your own.
#[derive(Debug, Args)]
pub(crate) struct Scale {
    /// A plan of your own.
    #[command(flatten)]
    plan: Option<Plan>,
    /// Simulated seconds.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Prints one JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
}

/// A small one; then each time ten times as many changes, first with what there was, then with what they need.
const PLANS: [Plan; 7] = [
    Plan { rate: 1_000, outboxes: 1, partitions: 6, indexers: 1, database_cores: 2, index_cores: 2 },
    Plan { rate: 10_000, outboxes: 1, partitions: 6, indexers: 1, database_cores: 2, index_cores: 2 },
    Plan { rate: 100_000, outboxes: 1, partitions: 6, indexers: 1, database_cores: 2, index_cores: 2 },
    Plan { rate: 100_000, outboxes: 1, partitions: 6, indexers: 1, database_cores: 6, index_cores: 8 },
    Plan { rate: 1_000_000, outboxes: 1, partitions: 6, indexers: 1, database_cores: 60, index_cores: 80 },
    Plan { rate: 1_000_000, outboxes: 8, partitions: 6, indexers: 8, database_cores: 8, index_cores: 80 },
    Plan { rate: 1_000_000, outboxes: 8, partitions: 24, indexers: 48, database_cores: 8, index_cores: 80 },
];

const COLUMNS: [&str; 14] = [
    "changes/s",
    "outboxes",
    "partitions",
    "indexers",
    "database cores",
    "index cores",
    "database",
    "relay",
    "indexer",
    "index",
    "indexed/s",
    "p50 ms",
    "p99 ms",
    "full",
];

impl Scale {
    pub(crate) fn run(&self) -> Outcome<()> {
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN);
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(COLUMNS);
        for plan in self.plan.map_or_else(|| PLANS.to_vec(), |plan| vec![plan]) {
            let seen = simulate(&plan, self.seconds);
            if self.json {
                let full = seen.full(plan.rate);
                println!("{}", json!({ "bench": "scale", "plan": plan, "seen": seen, "full": full }));
            } else {
                table.add_row(row(&plan, &seen));
            }
        }
        if !self.json {
            println!("{table}");
        }
        Ok(())
    }
}

fn row(plan: &Plan, seen: &Seen) -> Vec<String> {
    let Plan { rate, outboxes, partitions, indexers, database_cores, index_cores } = plan;
    let sizes = [rate, outboxes, partitions, indexers, database_cores, index_cores].map(ToString::to_string);
    let shares = [seen.database, seen.relay, seen.indexer, seen.index].map(|share| format!("{:.0} %", share * 100.0));
    let ages = [seen.p50_ms, seen.p99_ms].map(|age| age.map(|age| format!("{age:.0}")).unwrap_or_default());
    let indexed = [format!("{:.0}", seen.indexed)];
    sizes.into_iter().chain(shares).chain(indexed).chain(ages).chain([seen.full(plan.rate).join(", ")]).collect()
}
