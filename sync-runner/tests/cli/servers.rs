//! The binary on real servers: those of `SYNC__POSTGRES__URL`, `SYNC__KAFKA__BROKERS` and `SYNC__ELASTICSEARCH__URL`.

use std::sync::Arc;
use std::time::Instant;

use sync_core::adapter::kafka::{KafkaConfig, KafkaSubscriber};
use sync_core::adapter::postgres::{Postgres, PostgresConfig};
use sync_core::port::Subscriber;
use sync_core::testkit::ElasticsearchScratch;

use crate::runner::{BOUND, Ended, Runner, closed_port};

pub(crate) fn given(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: start the servers, then `eval` their addresses"))
}

/// A database of its own, an index of its own, and a runner that is told to use them.
pub(crate) struct Stage {
    pub(crate) runner: Runner,
    pub(crate) database: Postgres,
    pub(crate) index: Arc<ElasticsearchScratch>,
    pub(crate) name: String,
}

const TABLE: &str = "create table jobs (id bigint primary key, title text, es_synced_at timestamptz)";

impl Stage {
    async fn new(bus: &str) -> Self {
        let server = given("SYNC__POSTGRES__URL");
        let name = format!("cli_{:016x}", rand::random::<u64>());
        let connect = |url: &str| {
            let config = PostgresConfig::new(url);
            Postgres::new(&config).unwrap()
        };
        let client = connect(&server).client().await.unwrap();
        client.batch_execute(&format!("create database {name}")).await.unwrap();
        let url = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
        let database = connect(&url);
        database.client().await.unwrap().batch_execute(TABLE).await.unwrap();
        let index = ElasticsearchScratch::new();
        let runner = Runner::new(&format!(
            "[postgres]\nurl = {url:?}\n[relay]\nbus = {bus:?}\n\
             [kafka]\nbrokers = {:?}\n[elasticsearch]\nurl = {:?}\n\
             [indexes.jobs]\ntopic = {name:?}\nalias = {:?}\nprojection = \"jobs.sql\"\n\
             synced_at.table = \"jobs\"\n",
            given("SYNC__KAFKA__BROKERS"),
            index.url(),
            index.name("jobs"),
        ))
        .with("jobs.sql", "select id as key, jsonb_build_object('title', title) as document from jobs");
        Self { runner, database, index: Arc::new(index), name }
    }

    pub(crate) async fn migrated(bus: &str) -> Self {
        let stage = Self::new(bus).await;
        let ended = stage.runner.run(&["migrate"]);
        assert_eq!(ended.code, Some(0), "{}", ended.all());
        let topic = &stage.name;
        stage.sql(&format!("select outbox.watch('jobs', '{topic}', 'id', ignore => array['es_synced_at'])")).await;
        stage
    }

    pub(crate) async fn sql(&self, statement: &str) {
        self.database.client().await.unwrap().batch_execute(statement).await.unwrap();
    }

    pub(crate) async fn count(&self, query: &str) -> i64 {
        self.database.client().await.unwrap().query_one(query, &[]).await.unwrap().get(0)
    }

    /// Waits until a report of `status --json` is as it should be.
    #[track_caller]
    pub(crate) fn until_status(&self, fits: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let by = Instant::now() + BOUND;
        loop {
            let ended = self.runner.run(&["status", "--json"]);
            let report = ended.json();
            if fits(&report) {
                assert_eq!(ended.code, Some(0), "{report}");
                return report;
            }
            assert!(Instant::now() < by, "it stayed at {report}");
        }
    }
}

pub(crate) fn failed(ended: &Ended, part: &str) -> String {
    let report = ended.json();
    let checks = report["checks"].as_array().unwrap().clone();
    let failed = checks.into_iter().find(|check| check["part"] == part && check["verdict"] == "failed");
    failed.unwrap_or_else(|| panic!("nothing of {part} failed: {report}"))["found"].as_str().unwrap().to_owned()
}

async fn from_an_empty_database_to_the_index(bus: &str) {
    let stage = Stage::new(bus).await;
    let before = stage.runner.run(&["check", "--json"]);
    assert_eq!(before.code, Some(2), "{}", before.all());
    assert!(failed(&before, "postgres").contains("sync-runner migrate"));

    let dry = stage.runner.run(&["migrate", "--dry-run", "--json"]);
    assert_eq!(dry.code, Some(0), "{}", dry.all());
    let migrated = stage.runner.run(&["migrate", "--json"]);
    assert_eq!(dry.json()["migrations"], migrated.json()["migrations"]);
    assert_eq!(stage.runner.run(&["migrate", "--json"]).json()["migrations"].as_array().unwrap().len(), 0);

    let topic = &stage.name;
    stage.sql(&format!("select outbox.watch('jobs', '{topic}', 'id', ignore => array['es_synced_at'])")).await;
    let check = stage.runner.run(&["check"]);
    assert_eq!(check.code, Some(0), "{}", check.all());
    assert!(check.out.contains("public.jobs") && check.out.contains("0 failed"), "{}", check.out);
    assert!(stage.runner.run(&["status"]).out.contains("no relay has run yet"));

    let mut running = stage.runner.start(&["run"]);
    running.until_told("the relay holds the lease");
    stage.sql("insert into jobs select i, 'job ' || i from generate_series(1, 3000) i").await;
    let report = stage.until_status(|report| {
        report["indexes"]["jobs"]["documents"] == 3000
            && report["outbox"]["events_behind"] == 0
            && (bus == "direct" || report["bus"]["jobs"]["messages_behind"] == 0)
    });
    assert_eq!((&report["outbox"]["term"], report["outbox"]["holder"].is_string()), (&1.into(), true), "{report}");
    // The notes of what was indexed are no changes: nothing came after them.
    assert_eq!(stage.count("select count(*) from jobs where es_synced_at is not null").await, 3000);
    assert_eq!(stage.count("select count(*) from outbox.events").await, 3000);
    running.until_told("progress");
    running.signal("TERM");
    let began = Instant::now();
    let (code, told) = running.end();
    assert_eq!(code, Some(0), "{told}");
    assert!(began.elapsed().as_secs() < 10, "{told}");
    let rest = stage.runner.run(&["status", "--json"]).json();
    assert_eq!((&rest["outbox"]["holder"], &rest["outbox"]["events_behind"]), (&().into(), &0.into()), "{rest}");
    let (status, found) = stage.index.request("GET", &format!("/{}/_doc/7", stage.index.name("jobs")), "");
    assert_eq!((status, &found["_source"]["title"]), (200, &"job 7".into()));
}

#[tokio::test]
async fn changes_reach_the_index_through_kafka() {
    from_an_empty_database_to_the_index("kafka").await;
}

#[tokio::test]
async fn changes_reach_the_index_without_a_broker() {
    from_an_empty_database_to_the_index("direct").await;
}

#[tokio::test]
async fn topics_that_are_missing_are_found_by_check_those_for_what_fails_among_them() {
    let stage = Stage::migrated("kafka").await;
    let brokers = KafkaConfig::new(given("SYNC__KAFKA__BROKERS"));
    let subscriber = KafkaSubscriber::new(&brokers, &stage.name, &stage.name, None).unwrap();
    // It makes the topic itself.
    subscriber.subscribe().await.unwrap().close().await.unwrap();
    let check = |roles: &str| stage.runner.run(&["check", "--roles", roles, "--set", "kafka.topics.create=false"]);
    let failed = check("indexer");
    assert_eq!(failed.code, Some(2), "{}", failed.all());
    for topic in ["retry-1000", "retry-2000", "dlt"].map(|end| format!("{}-{end}", stage.name)) {
        assert!(failed.all().contains(&format!("topic {topic} does not exist; create it")), "{}", failed.all());
    }
    let relay = check("relay").all();
    assert!(!relay.contains("does not exist") && relay.contains(&format!("{}: ", stage.name)), "{relay}");
}

#[tokio::test]
async fn publishing_exactly_once_is_checked_and_told_and_refused_without_a_broker() {
    let stage = Stage::migrated("kafka").await;
    let positions = format!("relay.positions_topic={}-positions", stage.name);
    let exactly = ["--set", "relay.delivery=exactly_once", "--set", positions.as_str()];
    let check = stage.runner.run(&[&["check", "--json"], &exactly[..]].concat());
    assert_eq!(check.code, Some(0), "{}", check.all());
    let report = check.json();
    let tried = report["checks"].as_array().unwrap().iter().find(|check| check["check"] == "transactions").unwrap();
    let found = tried["found"].as_str().unwrap();
    assert!(tried["verdict"] == "ok" && found.contains("sync/check") && found.contains("will be created"), "{tried}");

    let mut running = stage.runner.start(&[&["run", "--roles", "relay"], &exactly[..]].concat());
    running.until_told("to publish exactly once");
    stage.sql("insert into jobs select i, 'job ' || i from generate_series(1, 300) i").await;
    let report = stage.until_status(|report| report["outbox"]["events_behind"] == 0);
    assert_eq!(report["outbox"]["mirrored"], true, "{report}");
    assert!(stage.runner.run(&["status"]).out.contains("it follows the one in Kafka"));
    running.signal("TERM");
    let (code, told) = running.end();
    assert_eq!(code, Some(0), "{told}");

    let direct = stage.runner.run(&[&["check", "--set", "relay.bus=direct"], &exactly[..]].concat());
    assert_eq!(direct.code, Some(2), "{}", direct.all());
    assert!(direct.all().contains("relay.delivery") && direct.all().contains("set kafka.brokers"), "{}", direct.all());
}

#[tokio::test]
async fn a_column_that_is_set_after_indexing_must_be_ignored_by_the_watch() {
    let stage = Stage::migrated("direct").await;
    let watch = format!("select outbox.watch('jobs', '{}', 'id')", stage.name);
    stage.sql(&watch).await;
    let ended = stage.runner.run(&["check", "--json"]);
    assert_eq!(ended.code, Some(2));
    let found = failed(&ended, "indexes.jobs");
    assert!(found.contains("indexes.jobs.synced_at.column") && found.contains("ignore =>"), "{found}");
    // At work it would be a change without end.
    stage.sql("insert into jobs (id, title) values (1, 'one')").await;
    let mut running = stage.runner.start(&["run"]);
    running.until_told("indexes.jobs.synced_at.column: the watch of jobs");
    running.signal("TERM");
    let (code, told) = running.end();
    assert!(code == Some(0) && told.contains("this partition stopped"), "{told}");
    assert_eq!(stage.count("select count(*) from outbox.events").await, 1);
}

#[tokio::test]
async fn a_table_watched_for_each_statement_that_becomes_a_partition_is_found_by_check() {
    let stage = Stage::migrated("direct").await;
    let each = format!(
        "select outbox.watch('jobs', '{}', 'id', ignore => array['es_synced_at'], each => 'statement')",
        stage.name
    );
    stage.sql(&each).await;
    assert_eq!(stage.runner.run(&["check"]).code, Some(0));
    stage.sql("create table whole (like jobs) partition by range (id)").await;
    stage.sql("alter table whole attach partition jobs for values from (0) to (100)").await;
    let ended = stage.runner.run(&["check", "--json"]);
    assert_eq!(ended.code, Some(2), "{}", ended.all());
    let found = failed(&ended, "indexes.jobs");
    assert!(found.contains("it became a partition or a child") && found.contains("outbox.watch again"), "{found}");
}

#[tokio::test]
async fn triggers_that_are_off_or_gone_are_found_by_check_of_routes_too() {
    let stage = Stage::migrated("direct").await;
    stage.sql("create table sent (id int, aggregatetype text, aggregateid text, payload jsonb)").await;
    stage.sql("select outbox.route('sent')").await;
    let ended = stage.runner.run(&["check"]);
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    assert!(ended.out.contains("public.sent to topic \"outbox.event.${routedByValue}\""), "{}", ended.out);

    stage.sql("alter table jobs disable trigger all").await;
    stage.sql("drop trigger outbox_route on sent").await;
    let ended = stage.runner.run(&["check", "--json"]);
    assert_eq!(ended.code, Some(2), "{}", ended.all());
    let found = failed(&ended, "indexes.jobs");
    for told in ["is disabled", "call outbox.watch again", "`sync-runner reconcile jobs --full` finds what was missed"]
    {
        assert!(found.contains(told), "{told}: {found}");
    }
    let found = failed(&ended, "postgres");
    assert!(found.contains("inserts of public.sent are not seen: the trigger for them is gone"), "{found}");
    assert!(found.contains("call outbox.route again"), "{found}");
    let ended = stage.runner.run(&["check", "--roles", "search"]);
    assert_eq!(ended.code, Some(0), "who only searches writes nothing: {}", ended.all());
}

#[tokio::test]
async fn a_projection_that_does_not_fit_is_found_by_check() {
    let stage = Stage::migrated("direct").await;
    for (sql, mend) in [
        ("select id as key from jobs", "must have `key` and `document`"),
        ("select id as key, title as document from jobs", "must be json or jsonb"),
    ] {
        stage.runner.write("jobs.sql", sql);
        let ended = stage.runner.run(&["check", "--json"]);
        assert_eq!(ended.code, Some(2));
        let found = failed(&ended, "indexes.jobs");
        assert!(found.starts_with("indexes.jobs.projection") && found.contains(mend), "{found}");
    }
}

#[tokio::test]
async fn a_mapping_that_is_none_and_documents_that_do_not_fit_it_are_found_by_check() {
    let stage = Stage::migrated("direct").await;
    let configuration = stage.runner.read("sync.toml");
    let search = "mapping = \"jobs.json\"\n[indexes.jobs.search]\nfields = \"id\"\n";
    stage.runner.write("sync.toml", &configuration.replace("synced_at.table = \"jobs\"\n", search));
    stage.sql("insert into jobs values (1, 'one')").await;
    let id = r#""id":{"type":"keyword"}"#;
    for (document, mapping, told) in [
        ("'id', id::text", format!(r#"{{"properties":{{{id},"title":{{"type":"intger"}}}}}}"#), "intger"),
        (
            "'id', id::text, 'title', title",
            format!(r#"{{"dynamic":"strict","properties":{{{id}}}}}"#),
            "does not take (\"dynamic\": \"strict\"): title",
        ),
        ("'title', title", format!(r#"{{"properties":{{{id}}}}}"#), "no field \"id\""),
    ] {
        let sql = format!("select id as key, jsonb_build_object({document}) as document, id::text from jobs");
        stage.runner.write("jobs.sql", &sql);
        stage.runner.write("jobs.json", &format!(r#"{{"mappings":{mapping}}}"#));
        let ended = stage.runner.run(&["check", "--json"]);
        assert_eq!(ended.code, Some(2), "{}", ended.all());
        let found = failed(&ended, "indexes.jobs");
        assert!(found.contains(told), "{found}");
    }
}

#[tokio::test]
async fn wrong_credentials_are_not_waited_out() {
    let stage = Stage::migrated("direct").await;
    let url = given("SYNC__POSTGRES__URL");
    let place = url.rsplit_once('@').unwrap().1;
    let set = format!("postgres.url=postgres://nobody:hunter2@{place}");
    let ended = stage.runner.run(&["check", "--json", "--set", &set]);
    assert_eq!(ended.code, Some(2), "{}", ended.all());
    let (code, told) = stage.runner.start(&["run", "--set", &set]).end();
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("role halted") && told.contains("denied") && !told.contains("hunter2"), "{told}");
}

#[tokio::test]
async fn a_database_without_an_outbox_ends_the_run() {
    let stage = Stage::new("direct").await;
    let (code, told) = stage.runner.start(&["run"]).end();
    assert_eq!(code, Some(2), "{told}");
    assert!(
        told.contains("the outbox in the database lacks 26 migrations, up to V26__") && !told.contains("role started"),
        "{told}"
    );
}

#[tokio::test]
async fn a_program_that_is_newer_than_the_outbox_ends_the_run_and_an_older_one_does_not() {
    let stage = Stage::migrated("direct").await;
    let newest = "(select max(version) from outbox.migrations)";
    stage.sql(&format!("insert into outbox.migrations select 9999, 'future', applied_on, checksum from outbox.migrations where version = {newest}")).await;
    for command in [&["migrate", "--dry-run"][..], &["migrate"]] {
        let refused = stage.runner.run(command);
        assert_eq!(refused.code, Some(2), "{}", refused.all());
        assert!(
            refused.err.contains("probably a newer one") && refused.err.contains("V9999__future"),
            "{}",
            refused.err
        );
    }
    assert_eq!(stage.runner.run(&["check"]).code, Some(0));
    let mut running = stage.runner.start(&["run"]);
    running.until_told("the relay holds the lease");
    running.signal("TERM");
    let (code, told) = running.end();
    assert_eq!(code, Some(0), "{told}");

    // That of the future, and this program's newest.
    for _ in 0..2 {
        stage.sql(&format!("delete from outbox.migrations where version = {newest}")).await;
    }
    let (code, told) = stage.runner.start(&["run"]).end();
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("lacks 1 migration, up to V") && told.contains("sync-runner migrate"), "{told}");
    assert!(!told.contains("role started"), "{told}");
}

#[tokio::test]
async fn a_second_signal_ends_at_once_what_is_still_in_flight() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let stage = Stage::migrated("direct").await;
        stage.sql("insert into jobs values (1, 'one')").await;
        // Without the index nothing is acknowledged, and an orderly end waits for that.
        let nowhere = format!("elasticsearch.url=http://127.0.0.1:{}", closed_port());
        let mut running = stage.runner.start(&["run", "--set", &nowhere]);
        running.until_told("the relay holds the lease");
        // By now the relay has read it: the tries of the indexer take longer and longer.
        running.until_told("failures=6");
        running.signal(signal);
        running.until_told("a second signal");
        let began = Instant::now();
        running.signal(signal);
        let (ended, told) = running.end();
        assert_eq!(ended, Some(code), "{told}");
        assert!(began.elapsed().as_secs() < 3, "{told}");
    }
}
