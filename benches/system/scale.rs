//! What is full first as changes grow: the flow of changes through all stages, simulated from what an event costs in
//! each. It needs no servers, and is no measurement.

mod flow;

use clap::Args;
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{ContentArrangement, Table};
use serde_json::json;

use self::flow::{Seen, simulate};
use crate::Outcome;

/// Simulates the plans of the documentation, or one of your own.
#[derive(Debug, Args)]
pub(crate) struct Scale {
    /// Changes a second of a plan of your own.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: Option<u32>,
    /// Databases, each with an outbox, a relay and a topic.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    outboxes: u32,
    /// Partitions of each topic.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    partitions: u32,
    /// Processes with the role indexer, all together.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    indexers: u32,
    /// Processors of each database.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    database_cores: u32,
    /// Processors of Elasticsearch, all nodes together.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    index_cores: u32,
    /// Simulated seconds.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Prints one JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
}

/// Changes, and what there is for them.
#[derive(Clone, Copy, Debug)]
struct Plan {
    rate: u32,
    outboxes: u32,
    partitions: u32,
    indexers: u32,
    database_cores: u32,
    index_cores: u32,
}

/// What the smallest takes, then each time ten times as many: first with what there was, then with what they need.
const PLANS: [Plan; 7] = [
    Plan { rate: 1_000, outboxes: 1, partitions: 6, indexers: 1, database_cores: 2, index_cores: 2 },
    Plan { rate: 10_000, outboxes: 1, partitions: 6, indexers: 1, database_cores: 2, index_cores: 2 },
    Plan { rate: 100_000, outboxes: 1, partitions: 6, indexers: 1, database_cores: 2, index_cores: 2 },
    Plan { rate: 100_000, outboxes: 1, partitions: 6, indexers: 1, database_cores: 6, index_cores: 8 },
    Plan { rate: 1_000_000, outboxes: 1, partitions: 6, indexers: 1, database_cores: 60, index_cores: 80 },
    Plan { rate: 1_000_000, outboxes: 8, partitions: 6, indexers: 8, database_cores: 8, index_cores: 80 },
    Plan { rate: 1_000_000, outboxes: 8, partitions: 24, indexers: 16, database_cores: 8, index_cores: 80 },
];

impl Scale {
    pub(crate) fn run(&self) -> Outcome<()> {
        let own = self.rate.map(|rate| {
            let Self { outboxes, partitions, indexers, database_cores, index_cores, .. } = *self;
            Plan { rate, outboxes, partitions, indexers, database_cores, index_cores }
        });
        let plans = own.map_or_else(|| PLANS.to_vec(), |plan| vec![plan]);
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN);
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header([
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
        ]);
        for plan in plans {
            let seen = simulate(&plan, self.seconds);
            if self.json {
                println!("{}", line(&plan, &seen)?);
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
    let sizes = [plan.rate, plan.outboxes, plan.partitions, plan.indexers, plan.database_cores, plan.index_cores];
    let used = seen.used.map(|(_, share)| format!("{:.0} %", share * 100.0));
    let flow = [format!("{:.0}", seen.indexed), format!("{:.0}", seen.p50_ms), format!("{:.0}", seen.p99_ms)];
    let full = seen.full(plan.rate).join(", ");
    sizes.map(|size| size.to_string()).into_iter().chain(used).chain(flow).chain([full]).collect()
}

fn line(plan: &Plan, seen: &Seen) -> Outcome<String> {
    let used: serde_json::Map<_, _> = seen.used.iter().map(|(who, share)| ((*who).to_owned(), json!(share))).collect();
    Ok(serde_json::to_string(&json!({
        "bench": "scale", "rate": plan.rate, "outboxes": plan.outboxes, "partitions": plan.partitions,
        "indexers": plan.indexers, "database_cores": plan.database_cores, "index_cores": plan.index_cores,
        "used": used, "indexed": seen.indexed, "p50_ms": seen.p50_ms, "p99_ms": seen.p99_ms, "full": seen.full(plan.rate),
    }))?)
}
