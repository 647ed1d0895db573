//! Of several copies of the database, one that is close is searched.

use std::collections::BTreeSet;
use std::time::Duration;

use sync_core::adapter::postgres::{PostgresConfig, PostgresSearcher};
use sync_core::port::Searcher;
use sync_core::query::{Query, Wrote};
use sync_core::testkit::conformance::SearcherHarness;
use sync_core::testkit::{SEARCHED_PROJECTION, searched_documents, searched_fields};
use tokio::time::{Instant, sleep};

use crate::support::cluster::Cluster;
use crate::support::postgres::outbox_at;
use crate::support::searched::{Table, searched};

const LAG: Duration = Duration::from_secs(2);

/// Documents name the port of the server they are from.
fn telling() -> String {
    SEARCHED_PROJECTION
        .replace("jsonb_build_object('id', n.id", "jsonb_build_object('by', inet_server_port(), 'id', n.id")
}

fn server(cluster: &Cluster) -> PostgresConfig {
    PostgresConfig::new(cluster.url("postgres"))
        .connect_timeout(Duration::from_secs(1))
        .statement_timeout(Duration::from_secs(3))
}

struct Copies {
    searcher: PostgresSearcher,
}

impl Copies {
    /// Who answers, and how many documents it has.
    async fn ask(&self, query: &Query) -> (String, u64) {
        let found = self.searcher.search(query).await.unwrap_or_else(|error| panic!("{error}"));
        let document: serde_json::Value = serde_json::from_str(&found.hits[0].document).unwrap();
        (document["by"].to_string(), found.total.value)
    }

    /// Searches for so long; who answered since the last half of that, and the longest of all.
    async fn ask_for(&self, time: Duration) -> (BTreeSet<String>, Duration) {
        let (began, mut by, mut longest) = (Instant::now(), BTreeSet::new(), Duration::ZERO);
        while began.elapsed() < time {
            let asked = Instant::now();
            let (answered, _) = self.ask(&Query::default()).await;
            longest = longest.max(asked.elapsed());
            if began.elapsed() > time / 2 {
                by.insert(answered);
            }
            sleep(Duration::from_millis(10)).await;
        }
        (by, longest)
    }
}

fn ports(clusters: &[&Cluster]) -> BTreeSet<String> {
    clusters.iter().map(|cluster| cluster.address().rsplit_once(':').unwrap().1.to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_far_behind_frozen_or_gone_is_left_for_the_next_and_then_for_the_primary() {
    // The statement that lets a replica go on must not be cancelled by what it replays then.
    let mut primary = Cluster::start(&["wal_level = replica", "max_standby_streaming_delay = -1"]);
    let client = outbox_at(&primary.url("postgres")).await;
    let table = Table::at(client, primary.url("postgres")).await;
    table.put(&searched_documents(3, 50)).await;
    let (one, mut other) = (primary.standby(), primary.standby());
    let config = searched(&telling(), LAG);
    let searcher =
        PostgresSearcher::new(&server(&primary), &[server(&one), server(&other)], &config, searched_fields()).unwrap();
    let copies = Copies { searcher };
    let settle = 3 * LAG;

    let (by, _) = copies.ask_for(settle).await;
    assert_eq!(by, ports(&[&one, &other]), "both copies take turns");
    assert!(copies.searcher.check_replicas().await.iter().all(Result::is_ok));

    // Another database of the same server, and a server of its own, are no copies, whatever they hold.
    primary.answer("create database another");
    let stranger = Cluster::start(&[]);
    let mut elsewhere = server(&primary);
    elsewhere.url = primary.url("another");
    let strangers =
        PostgresSearcher::new(&server(&primary), &[elsewhere, server(&stranger)], &config, searched_fields()).unwrap();
    assert!(strangers.check_replicas().await.iter().all(Result::is_err));
    let (by, _) = Copies { searcher: strangers }.ask_for(settle).await;
    assert_eq!(by, ports(&[&primary]));

    // A copy that is behind is searched until it is too far behind.
    one.answer("select pg_wal_replay_pause()");
    table.put(&searched_documents(4, 51)[50..]).await;
    let began = Instant::now();
    while copies.ask(&Query::default()).await.0 != *ports(&[&other]).first().unwrap()
        || copies.ask(&Query::default()).await.0 != *ports(&[&other]).first().unwrap()
    {
        assert!(began.elapsed() < Duration::from_secs(30), "the copy that is behind is still searched");
        sleep(Duration::from_millis(10)).await;
    }
    println!(
        "replicas: one that stood still was left {:?} after the first write it lacks (at most {LAG:?} behind)",
        began.elapsed()
    );
    assert!(began.elapsed() >= LAG / 2, "it was close until then");
    let (by, _) = copies.ask_for(settle).await;
    assert_eq!(by, ports(&[&other]));

    // What was just written is searched where it is for certain.
    let wrote = Query { wrote: vec![Wrote::parse("k0050")], ..Query::default() };
    assert_eq!(copies.ask(&wrote).await, (ports(&[&primary]).pop_first().unwrap(), 51));

    let frozen = other.freeze();
    let (by, longest) = copies.ask_for(2 * settle).await;
    println!("replicas: the longest search while one froze took {longest:?}");
    assert_eq!(by, ports(&[&primary]));
    assert!(longest < Duration::from_secs(6), "{longest:?}");
    drop(frozen);
    let (by, _) = copies.ask_for(2 * settle).await;
    assert_eq!(by, ports(&[&other]), "it is back");

    other.kill();
    let (by, longest) = copies.ask_for(settle).await;
    println!("replicas: the longest search while one was killed took {longest:?}");
    assert_eq!(by, ports(&[&primary]));

    one.answer("select pg_wal_replay_resume()");
    let (by, _) = copies.ask_for(settle).await;
    assert_eq!(by, ports(&[&one]), "it has caught up");
    // Without its primary a copy is as fresh as anything can be; of a write, only its version tells whether it has it.
    let version = table.version("k0050").await.local();
    primary.kill();
    let (by, _) = copies.ask_for(settle).await;
    assert_eq!(by, ports(&[&one]));
    assert!(copies.searcher.search(&wrote).await.is_err());
    let known = Query { wrote: vec![Wrote { version: Some(version), ..wrote.wrote[0].clone() }], ..Query::default() };
    assert_eq!(copies.ask(&known).await, (ports(&[&one]).pop_first().unwrap(), 51));
    let later =
        Query { wrote: vec![Wrote { version: Some(version + 1), ..wrote.wrote[0].clone() }], ..Query::default() };
    assert!(copies.searcher.search(&later).await.is_err(), "it would not be in the answer");
}
