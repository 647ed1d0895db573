//! Systems that cannot be reached.

use crate::runner::Runner;

const SYSTEMS: [(&str, &str); 3] =
    [("postgres", "postgres.url"), ("kafka", "kafka.brokers"), ("elasticsearch", "elasticsearch.url")];

#[test]
fn check_tells_every_system_that_cannot_be_reached_with_its_setting() {
    let runner = Runner::nowhere();
    let json = runner.run(&["check", "--json"]);
    assert_eq!(json.code, Some(1), "{}", json.err);
    let report = json.json();
    assert_eq!(report["ok"], false);
    for (part, setting) in SYSTEMS {
        let checks = report["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["part"] == part).unwrap();
        assert_eq!((&check["verdict"], &check["kind"]), (&"failed".into(), &"unavailable".into()), "{check}");
        assert!(check["found"].as_str().unwrap().contains(setting), "{check}");
    }

    let table = runner.run(&["check"]);
    assert_eq!((table.code, table.err.as_str()), (Some(1), ""));
    assert_eq!(table.out.lines().filter(|line| line.starts_with("failed ")).count(), 3, "{}", table.out);
    assert!(table.out.contains("3 failed"), "{}", table.out);
}

#[test]
fn status_shows_every_stage_with_its_own_error() {
    let runner = Runner::nowhere();
    let json = runner.run(&["status", "--json"]);
    assert_eq!(json.code, Some(1), "{}", json.err);
    let report = json.json();
    for (stage, setting) in [
        (&report["watches"], "postgres.url"),
        (&report["outbox"], "postgres.url"),
        (&report["bus"]["jobs"], "kafka.brokers"),
        (&report["indexes"]["jobs"], "elasticsearch.url"),
        (&report["reindexes"], "postgres.url"),
    ] {
        assert!(stage["error"]["message"].as_str().unwrap().contains(setting), "{report}");
    }
    let table = runner.run(&["status"]);
    assert_eq!((table.code, table.err.as_str()), (Some(1), ""));
    assert_eq!(table.out.matches("unknown").count(), 7, "{}", table.out);
}

#[test]
fn migrate_says_once_that_the_database_is_not_there() {
    let ended = Runner::nowhere().run(&["migrate"]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""));
    assert_eq!(ended.err.matches("postgres.url: cannot connect").count(), 1, "{}", ended.err);
}

#[test]
fn a_system_that_is_down_at_the_start_is_waited_for_until_a_signal() {
    for signal in ["TERM", "INT"] {
        let runner = Runner::nowhere();
        let mut running = runner.start(&["run", "--roles", "relay"]);
        running.until_told("the relay tries again");
        running.signal(signal);
        let (code, told) = running.end();
        assert_eq!(code, Some(0), "{told}");
        assert!(told.contains("postgres.url: cannot connect") && told.contains("role stopped"), "{told}");
    }
}

#[test]
fn the_log_is_json_when_asked_for() {
    let runner = Runner::nowhere();
    let mut running = runner.start(&["run", "--roles", "relay", "--set", "log.format=json"]);
    running.until_told("the relay tries again");
    running.signal("TERM");
    let (code, told) = running.end();
    assert_eq!(code, Some(0), "{told}");
    for line in told.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["level"].is_string() && line["message"].is_string(), "{line}");
    }
}
