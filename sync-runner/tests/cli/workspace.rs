//! Workspaces by command and by SQL, on a real engine.

use std::time::Instant;

use serde_json::Value;

use crate::runner::{BOUND, Ended};
use crate::servers::Stage;

/// The image of the engine that scripts/stack starts.
const IMAGE: &str = "sync-busybox";

/// A stage with workspaces; `None` where there is no engine.
async fn stage() -> Option<Stage> {
    let engine = std::env::var("SYNC_STACK_DOCKER").ok().filter(|engine| !engine.is_empty())?;
    let stage = Stage::migrated("direct").await;
    stage.sql("create table spaces (id text primary key, status text not null default 'CREATING', error text)").await;
    let configuration = stage.runner.read("sync.toml");
    let set = |status: &str, id: &str| format!("update spaces set status = '{status}' where id = $1->>'{id}'");
    let more = format!(
        "[workspaces]\nowner = {:?}\nknown = \"select id, status in ('FAILED', 'DELETED') as is_gone from spaces\"\n\
         create = \"insert into spaces (id) values ($1->>'workspace')\"\nready = {:?}\n\
         failed = \"update spaces set status = 'FAILED', error = $1->>'error' where id = $1->>'subject'\"\n\
         delete = {:?}\ndeleted = {:?}\nimage = {IMAGE:?}\ncommand = [\"sleep\", \"100000\"]\nsetup = [\"touch /tmp/x\"]\n\
         [workspaces.cleanup]\ngrace = \"0s\"\n\
         [workspaces.hosts.here]\nengine = {engine:?}\naddresses = \"10.0.0.10-10.0.0.20\"\n",
        stage.name,
        set("RUNNING", "subject"),
        set("DELETING", "workspace"),
        set("DELETED", "subject"),
    );
    stage.runner.write("sync.toml", &format!("{configuration}{more}"));
    Some(stage)
}

#[track_caller]
fn well(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    ended.json()
}

async fn status(stage: &Stage, id: &str) -> String {
    let client = stage.database.client().await.unwrap();
    client.query_one("select status from spaces where id = $1", &[&id]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_workspace_is_created_listed_shown_and_deleted_by_command() {
    let Some(stage) = stage().await else { return };
    let [blue, red] = ["blue", "red"].map(|id| format!("{id}-{}", stage.name));
    let created = stage.runner.run(&["workspace", "create", "--id", &blue, "--json"]);
    for step in ["place: done: here", "container: begun", "setup: done", "address: done: 10.0.0.10"] {
        assert!(created.err.contains(step), "{step}: {}", created.err);
    }
    let created = well(&created);
    assert_eq!(
        (&created["state"], &created["host"], &created["address"]),
        (&"ready".into(), &"here".into(), &"10.0.0.10".into())
    );
    assert_eq!(status(&stage, &blue).await, "RUNNING");
    let again = well(&stage.runner.run(&["workspace", "create", "--id", &blue, "--json"]));
    assert_eq!(
        (&again["state"], &again["saga"]),
        (&"ready".into(), &created["saga"]),
        "repeated, it says what was begun"
    );
    let other = stage.runner.run(&["workspace", "create", "--id", &blue, "--host", "here"]);
    assert!(other.code == Some(1) && other.err.contains("with other params"), "{}", other.all());
    let listed = well(&stage.runner.run(&["workspace", "list", "--json"]));
    assert_eq!(
        (listed["workspaces"].as_array().unwrap().len(), &listed["workspaces"][0]["workspace"]),
        (1, &blue.as_str().into())
    );
    let shown = stage.runner.run(&["workspace", "status", &blue]);
    assert!(shown.out.contains(&format!("workspace {blue}: ready")) && shown.out.contains("setup"), "{}", shown.all());
    let deleted = well(&stage.runner.run(&["workspace", "delete", &blue, "--json"]));
    assert_eq!((&deleted["state"], &deleted["address"]), (&"deleted".into(), &Value::Null));
    assert_eq!(status(&stage, &blue).await, "DELETED");
    let cleaned = stage.runner.run(&["workspace", "cleanup"]);
    assert_eq!((cleaned.code, cleaned.out.trim()), (Some(0), "Nothing is left of any workspace."), "{}", cleaned.all());
    well(&stage.runner.run(&["workspace", "delete", &blue, "--json"]));
    assert_eq!(status(&stage, &blue).await, "DELETED", "deleted again, nothing is written again");
    for verb in ["status", "delete", "give-up"] {
        let unknown = stage.runner.run(&["workspace", verb, &red]);
        assert!(unknown.code == Some(1) && unknown.err.contains("nothing is known of"), "{}", unknown.all());
    }
}

#[tokio::test]
async fn a_workspace_that_cannot_be_is_told_with_what_its_set_up_wrote() {
    let Some(stage) = stage().await else { return };
    let [red, green] = ["red", "green"].map(|id| format!("{id}-{}", stage.name));
    let params = r#"{"setup": [["sh", "-c", "echo no compiler; exit 7"]]}"#;
    let ended = stage.runner.run(&["workspace", "create", "--id", &red, "--params", params, "--json"]);
    assert_eq!(ended.code, Some(1), "{}", ended.all());
    let told = ended.json();
    assert_eq!(told["state"], "failed");
    let error = told["error"].as_str().unwrap();
    assert!(error.contains("ended with code 7") && error.contains("no compiler"), "{error}");
    assert_eq!(status(&stage, &red).await, "FAILED");
    assert_eq!(well(&stage.runner.run(&["workspace", "cleanup", "--json"]))["removed"], serde_json::json!([]));
    for wrong in [r#"{"imgae": "x"}"#, r#"{"setup": "make"}"#] {
        let ended = stage.runner.run(&["workspace", "create", "--id", &green, "--params", wrong]);
        assert_eq!(ended.code, Some(1), "{}", ended.all());
        assert!(ended.err.contains("params"), "{}", ended.err);
    }
    assert_eq!(
        stage.count(&format!("select count(*) from spaces where id = '{green}'")).await,
        0,
        "refused before it was written"
    );
}

#[tokio::test]
async fn a_creation_that_is_interrupted_is_no_success_and_one_that_cannot_be_named_is_refused_before_it_is_written() {
    let Some(stage) = stage().await else { return };
    let odd = stage.runner.run(&["workspace", "create", "--id", "a b"]);
    assert!(odd.code == Some(1) && odd.err.contains("\"a b\" cannot be part of the name"), "{}", odd.all());
    assert_eq!(stage.count("select count(*) from spaces").await, 0);
    let red = format!("red-{}", stage.name);
    let params = r#"{"setup": [["sleep", "60"]]}"#;
    let mut creating = stage.runner.start(&["workspace", "create", "--id", &red, "--params", params]);
    creating.until_told("setup");
    creating.signal("INT");
    assert_eq!(creating.end().0, Some(1));
    let deleted = well(&stage.runner.run(&["workspace", "delete", &red, "--json"]));
    assert_eq!(deleted["state"], "deleted");
}

#[tokio::test]
async fn an_end_that_the_application_refuses_is_told_with_its_setting_and_can_be_given_up() {
    let Some(stage) = stage().await else { return };
    let red = format!("red-{}", stage.name);
    let setting = "workspaces.failed=select $1::jsonb, 1 / 0";
    let params = r#"{"setup": [["false"]]}"#;
    let mut creating = stage.runner.start(&["workspace", "create", "--id", &red, "--params", params, "--set", setting]);
    creating.until_told("end: not taken: workspaces.failed");
    let shown = well(&stage.runner.run(&["workspace", "status", &red, "--json"]));
    let waits = shown["waits"].as_str().unwrap();
    assert!(shown["state"] == "failing" && waits.contains("division by zero"), "{shown}");
    creating.signal("INT");
    assert_eq!(creating.end().0, Some(1));
    let given_up = stage.runner.run(&["workspace", "give-up", &red, "--set", setting, "--json"]);
    assert_eq!((given_up.code, &given_up.json()["state"]), (Some(1), &"failed".into()), "{}", given_up.all());
    assert_eq!(status(&stage, &red).await, "CREATING", "it was not told");
    let again = stage.runner.run(&["workspace", "give-up", &red]);
    assert!(again.code == Some(1) && again.err.contains("there is nothing to give up"), "{}", again.all());
}

#[tokio::test]
async fn what_was_asked_for_by_sql_is_done_by_the_roles_and_the_cleanup_is_told_before_it_is_done() {
    let Some(stage) = stage().await else { return };
    let [blue, green] = ["blue", "green"].map(|id| format!("{id}-{}", stage.name));
    let running = stage.runner.start(&["run", "--roles", "workspaces"]);
    let sql =
        format!("begin; insert into spaces (id) values ('{blue}'); select outbox.create_workspace('{blue}'); commit");
    stage.sql(&sql).await;
    let by = Instant::now() + BOUND;
    while status(&stage, &blue).await != "RUNNING" {
        assert!(Instant::now() < by, "{}", stage.runner.run(&["workspace", "status", &blue]).all());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let detached = well(&stage.runner.run(&["workspace", "create", "--id", &green, "--detach", "--json"]));
    assert_eq!(detached["workspace"], green.as_str());
    while status(&stage, &green).await != "RUNNING" {
        assert!(Instant::now() < by, "{}", stage.runner.run(&["workspace", "status", &green]).all());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));

    // Somebody says that it has failed, without having it deleted.
    stage.sql(&format!("update spaces set status = 'FAILED' where id = '{green}'")).await;
    let told = well(&stage.runner.run(&["workspace", "cleanup", "--dry-run", "--json"]));
    let kinds: Vec<_> = told["removed"].as_array().unwrap().iter().map(|orphan| &orphan["kind"]).collect();
    assert_eq!((kinds, &told["dry_run"]), (vec![&Value::from("container"), &"placement".into()], &true.into()));
    let done = well(&stage.runner.run(&["workspace", "cleanup", "--json"]));
    assert_eq!(done["removed"], told["removed"]);
    assert_eq!(well(&stage.runner.run(&["workspace", "status", &green, "--json"]))["state"], "removed");
    assert_eq!(well(&stage.runner.run(&["workspace", "cleanup", "--json"]))["removed"], serde_json::json!([]));
    well(&stage.runner.run(&["workspace", "delete", &blue, "--json"]));
}

#[tokio::test]
async fn a_database_that_knows_none_of_many_workspaces_is_not_believed() {
    let Some(stage) = stage().await else { return };
    let [blue, green] = ["blue", "green"].map(|id| format!("{id}-{}", stage.name));
    let suspicious = ["--set", "workspaces.cleanup.suspicious=2"];
    for id in [&blue, &green] {
        well(&stage.runner.run(&["workspace", "create", "--id", id, "--json"]));
    }
    stage.sql("delete from spaces").await;
    let refused = stage.runner.run(&[&["workspace", "cleanup"][..], &suspicious].concat());
    assert_eq!(refused.code, Some(1), "{}", refused.all());
    assert!(refused.err.contains("knows none of 2 workspaces") && refused.err.contains("--force"), "{}", refused.err);
    let by = Instant::now() + BOUND;
    // Others on the server may have transactions open, which might write them.
    loop {
        let forced =
            well(&stage.runner.run(&[&["workspace", "cleanup", "--force", "--json"][..], &suspicious].concat()));
        if forced["waiting"] == serde_json::json!([]) {
            break;
        }
        assert!(Instant::now() < by, "{forced}");
    }
}

#[tokio::test]
async fn check_tries_the_hosts_of_workspaces_and_has_the_statements_understood() {
    let Some(stage) = stage().await else { return };
    let checks = |more: &[&str]| {
        let ended = stage.runner.run(&[&["check", "--json"][..], more].concat());
        let checks = ended.json()["checks"].as_array().unwrap().clone();
        checks.into_iter().filter(|check| check["part"].as_str().unwrap().starts_with("workspaces")).collect::<Vec<_>>()
    };
    let well = checks(&[]);
    let tried: Vec<_> = well.iter().map(|check| check["check"].as_str().unwrap()).collect();
    assert_eq!(tried, ["engine", "image", "known", "create", "delete", "ready", "failed", "deleted"]);
    assert!(well.iter().all(|check| check["verdict"] == "ok"), "{well:?}");
    for (wrong, told) in [
        ("workspaces.hosts.here.engine=unix:///nowhere/docker.sock", "workspaces.hosts.here.engine"),
        ("workspaces.image=sync-nothing", "workspaces.image"),
        ("workspaces.hosts.here.network=sync-nowhere", "workspaces.hosts.here.network"),
        ("workspaces.hosts.here.network=none", "workspaces.hosts.here.addresses"),
        ("workspaces.host_names=/nowhere", "workspaces.host_names"),
        ("workspaces.known=select id from spaces", "workspaces.known"),
        ("workspaces.ready=select no_such_function($1)", "workspaces.ready"),
    ] {
        let failed: Vec<_> =
            checks(&["--set", wrong]).into_iter().filter(|check| check["verdict"] == "failed").collect();
        assert_eq!(failed.len(), 1, "{wrong}: {failed:?}");
        assert!(failed[0]["found"].as_str().unwrap().contains(told), "{failed:?}");
    }
}

#[tokio::test]
async fn without_a_host_every_command_says_which_setting_is_missing() {
    let stage = Stage::migrated("direct").await;
    for arguments in [
        &["workspace", "create"][..],
        &["workspace", "list"],
        &["workspace", "cleanup"],
        &["run", "--roles", "workspaces,cleanup"],
    ] {
        let ended = stage.runner.run(arguments);
        assert_eq!(ended.code, Some(2), "{}", ended.all());
        assert!(ended.err.contains("workspaces.hosts"), "{}", ended.err);
    }
    let half = ["--set", "workspaces.hosts.one.network=x", "--set", "workspaces.hosts.one.ca_file=x"];
    let half = stage.runner.run(&[&["workspace", "list"][..], &half].concat());
    assert_eq!(half.code, Some(2), "{}", half.all());
    for setting in
        ["engine", "addresses", "certificate_file", "key_file"].map(|key| format!("workspaces.hosts.one.{key}"))
    {
        assert!(half.err.contains(&setting), "{setting}: {}", half.err);
    }
}
