//! The fault campaign: applications write at random, real processes carry it from a database to two indexes, and a
//! schedule drawn from a seed lets everything between them fail. When all is up again, the oracle is told what is there.

mod broken;
mod evidence;
mod pair;
mod plan;
mod servers;
mod site;
mod strike;
mod workload;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use sync_core::port::Origin;
use tokio::time::{sleep, timeout};

use self::evidence::{Evidence, Junk};
use self::plan::{Mode, schedule};
use self::servers::Servers;
use self::site::Site;
use self::strike::{Struck, carry_out};
use self::workload::Workload;
use super::kill::INDEXES;
use crate::support::servers::scale;

/// The tables, each with a topic and an index.
const TABLES: [&str; 2] = ["items", "notes"];

/// Rounds of faults in the everyday size.
const ROUNDS: u64 = 7;

const WRITERS: u64 = 3;

/// The seeds of the everyday size, one for each mode. Together they have every kind of fault, each has a promotion.
const SEEDS: [u64; 3] = [75, 409, 185];

/// How long everything may take to start.
const BOUND: Duration = Duration::from_secs(120);

/// What one campaign was.
struct Facts {
    seed: u64,
    mode: Mode,
    evidence: Evidence,
    struck: Struck,
    recovery: Duration,
    lasted: Duration,
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, mode, evidence, struck, recovery, lasted } = self;
        let Evidence { events, messages, letters, lost, violations } = evidence;
        write!(
            f,
            "campaign: seed {seed}, {mode}, {events} events ({lost} more lost by promotions), {messages} messages, \
             {letters} dead letters, {} violations, \
             recovered in {:.1} s of {:.0} s, faults: {}",
            violations.len(),
            recovery.as_secs_f64(),
            lasted.as_secs_f64(),
            Counts(struck),
        )
    }
}

/// `2 × kill relay, 1 × cut`
struct Counts<'a>(&'a Struck);

impl fmt::Display for Counts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<_> = self.0.iter().map(|(kind, times)| format!("{times} × {kind}")).collect();
        f.write_str(&counts.join(", "))
    }
}

/// One campaign, from an empty database to the verdict.
async fn campaign(servers: &Servers, seed: u64) -> Facts {
    let began = Instant::now();
    let mode = Mode::of(seed);
    println!("campaign: SYNC_TEST_SEED={seed} SYNC_TEST_SCALE={} plays this one again", scale());
    let schedule = schedule(seed, mode, ROUNDS * scale());
    let site = Site::new(servers, mode, 2, 2).await;
    site.start().await;
    let junk = if mode.has_broker() { throw_junk(&site).await } else { Junk::default() };
    let workload = Workload::start(&site.url, seed, WRITERS);
    let mut struck = Struck::new();
    carry_out(&site, &schedule, &mut struck).await;
    let calm = Instant::now();
    workload.stop().await;
    site.until_settled().await;
    let recovery = calm.elapsed();
    site.stop().await;
    let evidence = Evidence::of(&site, &junk).await;
    let facts = Facts { seed, mode, evidence, struck, recovery, lasted: began.elapsed() };
    println!("{facts}");
    if !facts.evidence.violations.is_empty() {
        for violation in &facts.evidence.violations {
            println!("{violation}");
        }
        println!("the schedule was {schedule:#?}");
        panic!(
            "SYNC_TEST_SEED={seed}: {} violations, the first of them: {}",
            facts.evidence.violations.len(),
            facts.evidence.violations[0]
        );
    }
    site.remove().await;
    facts
}

/// Writes messages without a key into both topics, as anyone could.
async fn throw_junk(site: &Site<'_>) -> Junk {
    for indexer in &site.indexers {
        indexer.lock().await.until_said(INDEXES, 1).await;
    }
    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", &site.servers.kafka).create().unwrap();
    let mut junk = Junk::new();
    for stream in &site.streams {
        for payload in ["{}", "nonsense"] {
            let send = async {
                loop {
                    let record = FutureRecord::<(), _>::to(&stream.topic).payload(payload);
                    match producer.send(record, Duration::from_secs(10)).await {
                        Ok(delivered) => return delivered,
                        // It is being made by an indexer.
                        Err(_) => sleep(Duration::from_millis(200)).await,
                    }
                }
            };
            let delivered = timeout(BOUND, send).await.expect("the topic is there");
            junk.push(Origin { topic: stream.topic.clone(), partition: delivered.partition, offset: delivered.offset });
        }
    }
    junk
}

/// For how long campaigns follow each other, where that was asked for.
fn minutes() -> Option<Duration> {
    let minutes = std::env::var("SYNC_CHAOS_MINUTES").ok()?;
    Some(Duration::from_secs_f64(60.0 * minutes.parse::<f64>().expect("SYNC_CHAOS_MINUTES is a number")))
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_strikes_every_change_is_published_in_order_and_the_index_equals_the_database() {
    let given =
        std::env::var("SYNC_TEST_SEED").ok().map(|seed| seed.parse::<u64>().expect("SYNC_TEST_SEED is a number"));
    let seeds: Box<dyn Iterator<Item = u64> + Send> = match (minutes(), given) {
        (Some(_), first) => Box::new(first.unwrap_or_else(|| u64::from(rand::random::<u32>()))..),
        (None, Some(seed)) => Box::new(std::iter::once(seed)),
        (None, None) => Box::new(SEEDS.into_iter()),
    };
    let servers = Servers::start().await;
    if !servers.have_clocks() {
        println!("campaign: without libfaketime, clocks do not jump on this machine");
    }
    let (began, mut campaigns, mut totals) = (Instant::now(), 0, BTreeMap::new());
    for seed in seeds {
        if minutes().is_some_and(|minutes| campaigns > 0 && began.elapsed() >= minutes) {
            break;
        }
        let facts = campaign(&servers, seed).await;
        campaigns += 1;
        for (kind, times) in facts.struck {
            *totals.entry(kind).or_default() += times;
        }
    }
    println!("campaigns: {campaigns} without a violation, faults: {}", Counts(&totals));
}
