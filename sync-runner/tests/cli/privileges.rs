//! Users of PostgreSQL that may do only what their role needs.

use crate::servers::{Stage, failed, given};

const ROLES_SQL: &str = include_str!("../../../deploy/postgres/roles.sql");

/// What roles.sql grants in a section, to this user.
fn granted(section: &str, user: &str) -> String {
    let (_, text) = ROLES_SQL.split_once(&format!("\\if :{{?{section}}}\n")).unwrap();
    text.split_once("\\endif").unwrap().0.replace(&format!(":\"{section}\""), user)
}

#[tokio::test]
async fn check_names_all_that_a_role_lacks_and_nothing_that_only_others_need() {
    let stage = Stage::migrated("direct").await;
    let user = format!("{}_relay", stage.name);
    stage.sql(&format!("create role {user} login password 'relay'")).await;
    let place = given("SYNC__POSTGRES__URL").rsplit_once('@').unwrap().1.rsplit_once('/').unwrap().0.to_owned();
    let url = format!("postgres.url=postgres://{user}:relay@{place}/{}", stage.name);
    let check = |more: &[&str]| stage.runner.run(&[&["check", "--json", "--set", url.as_str()][..], more].concat());

    let without = check(&["--roles", "relay"]);
    assert_eq!(without.code, Some(2), "{}", without.all());
    let found = failed(&without, "postgres");
    for lacking in [
        format!("postgres.url: the user {user} may not USAGE on schema outbox (relay), ").as_str(),
        "SELECT on table outbox.events (relay)",
        "USAGE on sequence outbox.window_seq (relay)",
        "EXECUTE on function outbox.maintain (relay)",
        "deploy/postgres/roles.sql",
    ] {
        assert!(found.contains(lacking), "{lacking}: {found}");
    }
    assert!(!found.contains("outbox.runs") && !found.contains("(indexer)"), "{found}");

    stage.sql(&granted("relay", &user)).await;
    // Where it may do everything to every column, it may do it to the table.
    let columns = "id, xid, topic, key, version, action, payload, value, headers, created_at";
    stage
        .sql(&format!(
            "revoke select on outbox.events from {user}; grant select ({columns}) on outbox.events to {user}"
        ))
        .await;
    let report = check(&["--roles", "relay"]).json();
    let checks = report["checks"].as_array().unwrap();
    // It lacks nothing but a broker: here relay and indexer are one process.
    let refused: Vec<_> =
        checks.iter().filter(|check| check["verdict"] == "failed").map(|check| &check["check"]).collect();
    assert_eq!(refused, ["bus"], "{report}");
    let is_of = |part: &str| checks.iter().filter(|check| check["part"] == part).collect::<Vec<_>>();
    assert!(is_of("elasticsearch").is_empty(), "{report}");
    assert!(is_of("indexes.jobs").iter().all(|check| check["check"] == "watched"), "{report}");

    let found = failed(&check(&["--roles", "relay,admin"]), "postgres");
    assert!(found.contains("INSERT on table outbox.leases (watch)") && !found.contains("(relay)"), "{found}");
    stage.sql(&granted("watch", &user)).await;
    let watching = check(&["--roles", "relay,admin"]).json();
    let letters = watching["checks"].as_array().unwrap().iter().find(|check| check["check"] == "letters").unwrap();
    assert!(
        letters["verdict"] == "warning"
            && letters["found"].as_str().unwrap().contains("DELETE on table outbox.dead_letters"),
        "{letters}"
    );
    let all = failed(&check(&[]), "postgres");
    assert!(all.contains("(indexer, reconciler)") && !all.contains("(search") && !all.contains("(workspaces"), "{all}");
    stage.sql(&format!("drop owned by {user}; drop role {user}")).await;
}
