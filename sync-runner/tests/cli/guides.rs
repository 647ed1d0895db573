//! The first steps, and the guides from what there was before: their blocks, one after the other, as somebody does who follows
//! them.

use std::process::Command;
use std::time::{Duration, Instant};

use sync_core::adapter::postgres::{Postgres, PostgresConfig};
use sync_core::testkit::ElasticsearchScratch;

use crate::blocks::{Block, blocks};
use crate::http::get;
use crate::runner::{BOUND, Runner, Running, closed_port};
use crate::servers::given;

const SCHEMA: &str = include_str!("../../reference/schema.sql");

/// What was there before the guide begins.
const ROWS: &str = "
insert into public.workspaces (name, status, host) select 'w' || n, 'RUNNING', 'host-' || n from generate_series(1, 5) n;
insert into public.jobs (workspace_id, title, status, priority)
select workspace.id, 'job ' || n, 'PENDING', n from public.workspaces as workspace, generate_series(1, 20) n;";

/// What the application does while it is followed.
const CHANGES: &str = "
update public.jobs set title = title || '!' where priority % 3 = 0;
delete from public.jobs where priority = 7;
update public.workspaces set status = 'FAILED' where name = 'w1';
insert into public.jobs (workspace_id, title, status, priority) select id, 'late', 'PENDING', 0 from public.workspaces limit 3;";

/// Somebody who follows a guide.
struct Follower {
    runner: Runner,
    database: Postgres,
    /// Where searches are answered.
    search: u16,
    cluster: Option<String>,
    running: Option<Running>,
}

impl Follower {
    /// With a database that holds nothing.
    async fn new() -> Self {
        let server = given("SYNC__POSTGRES__URL");
        let name = format!("guide_{:016x}", rand::random::<u64>());
        let connect = |url: &str| Postgres::new(&PostgresConfig::new(url)).unwrap();
        connect(&server).client().await.unwrap().batch_execute(&format!("create database {name}")).await.unwrap();
        let url = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
        let [search, admin] = [closed_port(), closed_port()];
        let runner = Runner::new("")
            .variable("SYNC__POSTGRES__URL", &url)
            .variable("SYNC__SEARCH__LISTEN", &format!("127.0.0.1:{search}"))
            .variable("SYNC__ADMIN__LISTEN", &format!("127.0.0.1:{admin}"));
        Self { runner, database: connect(&url), search, cluster: None, running: None }
    }

    /// With the reference domain as an application has it that knows no outbox yet, and a cluster.
    async fn of_an_application(cluster: &str) -> Self {
        let mut follower = Self::new().await;
        follower.runner = follower.runner.variable("SYNC__ELASTICSEARCH__URL", cluster);
        follower.cluster = Some(cluster.to_owned());
        follower.sql(SCHEMA.split_once("select outbox.watch").unwrap().0).await;
        follower.sql(ROWS).await;
        follower.runner.write("projection.sql", include_str!("../../reference/projection.sql"));
        follower.runner.write("mapping.json", include_str!("../../reference/mapping.json"));
        follower
    }

    async fn sql(&self, sql: &str) {
        let ran = self.database.client().await.unwrap().batch_execute(sql).await;
        ran.unwrap_or_else(|error| panic!("{error:?}: {sql}"));
    }

    fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.signal("TERM");
            let (code, told) = running.end();
            assert_eq!(code, Some(0), "{told}");
        }
    }

    fn start(&mut self) {
        self.stop();
        let mut running = self.runner.start(&["run"]);
        running.until_told("the relay holds the lease");
        self.running = Some(running);
    }

    fn until_quiet(&self) {
        let by = Instant::now() + BOUND;
        loop {
            let status = self.runner.run(&["status", "--json"]).json();
            let on_the_bus = status["bus"].as_object().unwrap().values().all(|queue| queue["messages_behind"] == 0);
            if status["outbox"]["events_behind"] == 0 && on_the_bus {
                return;
            }
            assert!(Instant::now() < by, "{status}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// A search by curl finds one document, as soon as there is something to find.
    fn find(&self, line: &str) {
        let (_, path) = line.split_once("127.0.0.1:8080").unwrap_or_else(|| panic!("{line}"));
        let by = Instant::now() + BOUND;
        loop {
            let answer = get(self.search, path.trim_matches('\'')).json();
            if answer["total"] == 1 {
                return;
            }
            assert!(Instant::now() < by, "{line}: {answer}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What people ask the cluster themselves is answered without an error.
    fn ask(&self, script: &str) {
        let cluster = self.cluster.as_deref().expect("a cluster");
        let asked = Command::new("sh").args(["-ec", script]).env("ELASTICSEARCH", cluster).output().unwrap();
        let answer = String::from_utf8_lossy(&asked.stdout);
        assert!(asked.status.success() && answer.contains('{') && !answer.contains("\"error\""), "{script}: {asked:?}");
    }

    async fn command(&mut self, line: &str) {
        let line = line.split(" #").next().unwrap();
        let arguments: Vec<_> = line.split_whitespace().skip(1).collect();
        if arguments == ["run"] {
            self.start();
            return;
        }
        if arguments.contains(&"reconcile") {
            self.sql(CHANGES).await;
            self.until_quiet();
        }
        let ended = self.runner.run(&arguments);
        assert_eq!(ended.code, Some(0), "{line}: {}", ended.all());
        if arguments.contains(&"reconcile") {
            assert!(ended.all().contains("nothing differs"), "{line}: {}", ended.all());
        }
    }

    async fn follow(&mut self, block: &Block<'_>) {
        let Block { language, text, before } = block;
        match *language {
            "toml" => {
                self.runner.write("sync.toml", &format!("{}\n{text}\n", self.runner.read("sync.toml")));
                if self.running.is_some() {
                    self.start();
                }
            }
            "json" => self.runner.write(before.split('`').nth(1).unwrap(), text),
            "sql" => match text.strip_prefix("-- ").and_then(|text| text.split_once(".sql\n")) {
                Some((name, projection)) => self.runner.write(&format!("{name}.sql"), projection),
                None => {
                    if text.contains("drop schema outbox") {
                        self.stop();
                    }
                    self.sql(text).await;
                }
            },
            "sh" if text.contains("$ELASTICSEARCH") => self.ask(text),
            "sh" => {
                for line in text.lines() {
                    if line.starts_with("sync-runner ") {
                        self.command(line).await;
                    } else if line.contains("127.0.0.1:8080/search") {
                        self.find(line);
                    }
                }
            }
            other => panic!("nobody knows how to follow {other}"),
        }
    }
}

async fn follow(guide: &str, of_kafka: &str, of_index: &str, of_before: &str, with_kafka: bool) {
    let scratch = ElasticsearchScratch::new();
    let topic = format!("guide-{:016x}", rand::random::<u64>());
    // The index of before has a name that means a table, too.
    let before = scratch.name("before");
    assert_eq!(scratch.request("PUT", &format!("/{before}"), "{}").0, 200);
    let [asked, removed, alias] = [
        format!("ELASTICSEARCH/{of_before}/"),
        format!(r#""index": "{of_before}""#),
        format!(r#""alias": "{of_before}""#),
    ];
    let names = [
        (of_kafka, topic),
        (of_index, scratch.name("guide")),
        (&*asked, format!("ELASTICSEARCH/{before}/")),
        (&*removed, format!(r#""index": "{before}""#)),
        (&*alias, format!(r#""alias": "{before}""#)),
    ];
    let mut follower = Follower::of_an_application(&scratch.url()).await;
    if with_kafka {
        follower.runner = follower.runner.variable("SYNC__KAFKA__BROKERS", &given("SYNC__KAFKA__BROKERS"));
    }
    for block in blocks(guide, &names) {
        follower.follow(&block).await;
    }
    assert!(follower.running.is_none(), "the guide ends with what takes the outbox away");
}

#[tokio::test]
async fn the_first_steps_of_the_readme_lead_to_a_table_that_is_searched() {
    let readme = include_str!("../../../README.md");
    let steps = readme.split_once("## Use it from any language").unwrap().1.split_once("### ").unwrap().0;
    let mut follower = Follower::new().await;
    for block in blocks(steps, &[]) {
        follower.follow(&block).await;
    }
    assert!(follower.running.is_some(), "they end with a runner at work");
    follower.stop();
}

#[tokio::test]
async fn the_guide_from_a_listener_and_a_poller_leads_there_and_back_as_it_is_written() {
    follow(include_str!("../../../docs/from-listener.md"), "job-es-sync", "job-search", "jobs", true).await;
}

#[tokio::test]
async fn the_guide_from_pgsync_leads_there_and_back_as_it_is_written() {
    follow(include_str!("../../../docs/from-pgsync.md"), "workspace-changes", "workspace-search", "workspaces", false)
        .await;
}
