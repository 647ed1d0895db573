//! Collects the figures of all rounds; says in the end how everyone did, and how ours compares.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;
use serde_json::json;

use crate::figures::{Figures, spread};

/// What is compared, and what is wanted of it.
#[derive(Clone, Debug)]
pub(crate) struct Ratio {
    /// `ratio_peer`, `ratio_ceiling` or another name for the JSON.
    pub(crate) name: &'static str,
    /// Whose figure is divided.
    pub(crate) ours: &'static str,
    /// By whose figure: by the least of these in the same round.
    pub(crate) others: &'static [&'static str],
    /// Which figure.
    pub(crate) of: &'static str,
    /// What the ratio should be at least.
    pub(crate) least: Option<f64>,
}

/// A figure that has a limit of its own.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    /// Whose figure.
    pub(crate) what: &'static str,
    /// Which figure.
    pub(crate) of: &'static str,
    /// What it should be at most.
    pub(crate) most: f64,
}

/// The figures of one benchmark.
#[derive(Debug)]
pub(crate) struct Board {
    bench: &'static str,
    json: bool,
    turns: Vec<Turn>,
}

#[derive(Debug, Serialize)]
struct Turn {
    bench: &'static str,
    what: String,
    round: u32,
    #[serde(flatten)]
    figures: Figures,
}

const COLUMNS: [&str; 5] = ["rate", "p50_ms", "p99_ms", "rss_mb", "cpu_s"];

impl Board {
    pub(crate) fn new(bench: &'static str, json: bool) -> Self {
        Self { bench, json, turns: Vec::new() }
    }

    /// A turn is over. It is told at once: a run takes minutes.
    pub(crate) fn add(&mut self, what: &str, round: u32, figures: Figures) {
        let turn = Turn { bench: self.bench, what: what.to_owned(), round, figures };
        if self.json {
            println!("{}", serde_json::to_string(&turn).unwrap_or_default());
        } else {
            let told = self.columns(std::slice::from_ref(&turn));
            let told = told.iter().filter_map(|name| Some(format!("{name} {}", number(turn.figures.get(name)?))));
            println!("round {round}  {what}: {}", told.collect::<Vec<_>>().join(", "));
        }
        self.turns.push(turn);
    }

    fn columns(&self, turns: &[Turn]) -> Vec<String> {
        let more = turns.iter().flat_map(|turn| turn.figures.more.keys().cloned());
        let mut columns: Vec<String> = COLUMNS.iter().map(|name| (*name).to_owned()).collect();
        for name in more {
            if !columns.contains(&name) {
                columns.push(name);
            }
        }
        columns.retain(|name| turns.iter().any(|turn| turn.figures.get(name).is_some()));
        columns
    }

    fn figures<'a>(&'a self, what: &'a str, of: &'a str) -> impl Iterator<Item = (u32, f64)> + 'a {
        let turns = self.turns.iter().filter(move |turn| turn.what == what);
        turns.filter_map(move |turn| Some((turn.round, turn.figures.get(of)?)))
    }

    /// Round by round: machines are noisy, and a round is one moment of them.
    fn ratios(&self, ratio: &Ratio) -> Vec<f64> {
        let other = |round: u32| {
            let of = ratio.others.iter().flat_map(|what| self.figures(what, ratio.of));
            of.filter(|(at, _)| *at == round).map(|(_, figure)| figure).min_by(f64::total_cmp)
        };
        self.figures(ratio.ours, ratio.of).filter_map(|(round, figure)| Some(figure / other(round)?)).collect()
    }

    /// Prints what came of it. Whether everything is at least `required` times what is wanted.
    pub(crate) fn finish(self, ratios: &[Ratio], limits: &[Limit], required: Option<f64>) -> bool {
        if !self.json {
            println!("\n{}\n", self.table());
        }
        let mut is_enough = true;
        // The last line says the ratios once more, together; of several with one name the last one.
        let mut last = serde_json::Map::from_iter([("bench".to_owned(), json!(self.bench))]);
        for ratio in ratios {
            let Some((low, median, high)) = spread(self.ratios(ratio)) else { continue };
            last.insert(ratio.name.to_owned(), json!(median));
            let is_there = ratio.least.is_none_or(|least| median >= least);
            is_enough &= required.is_none_or(|part| ratio.least.is_none_or(|least| median >= least * part));
            if self.json {
                let line = json!({ "bench": self.bench, "what": ratio.ours, ratio.name: median, "lowest": low, "highest": high, "wanted": ratio.least });
                println!("{line}");
            } else {
                let others = ratio.others.join(" or ");
                let wanted = ratio
                    .least
                    .map(|least| format!(", wanted {least}: {}", if is_there { "reached" } else { "missed" }));
                let of = if ratio.of == "rate" { String::new() } else { format!("{} of ", ratio.of) };
                println!(
                    "{of}{} / {others}: {median:.2} ({low:.2} to {high:.2}){}",
                    ratio.ours,
                    wanted.unwrap_or_default()
                );
            }
        }
        for limit in limits {
            let Some((_, median, _)) = spread(self.figures(limit.what, limit.of).map(|(_, figure)| figure)) else {
                continue;
            };
            let is_there = median <= limit.most;
            is_enough &= required.is_none_or(|part| median * part <= limit.most);
            if self.json {
                println!(
                    "{}",
                    json!({ "bench": self.bench, "what": limit.what, limit.of: median, "wanted_at_most": limit.most })
                );
            } else {
                let verdict = if is_there { "reached" } else { "missed" };
                println!(
                    "{} of {}: {}, wanted at most {}: {verdict}",
                    limit.of,
                    limit.what,
                    number(median),
                    number(limit.most)
                );
            }
        }
        if self.json {
            println!("{}", serde_json::Value::Object(last));
        }
        is_enough
    }

    /// Medians, and the spread of the rates.
    fn table(&self) -> Table {
        let columns = self.columns(&self.turns);
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN);
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(std::iter::once(self.bench.to_owned()).chain(columns.iter().cloned()));
        let mut contestants: Vec<&str> = Vec::new();
        for turn in &self.turns {
            if !contestants.contains(&turn.what.as_str()) {
                contestants.push(&turn.what);
            }
        }
        for what in contestants {
            let cell = |of: &String| match spread(self.figures(what, of).map(|(_, figure)| figure)) {
                None => String::new(),
                Some((low, median, high)) if of == "rate" => {
                    format!("{} ({} to {})", number(median), number(low), number(high))
                }
                Some((_, median, _)) => number(median),
            };
            table.add_row(std::iter::once(what.to_owned()).chain(columns.iter().map(cell)));
        }
        table
    }
}

/// As many digits as mean something.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
