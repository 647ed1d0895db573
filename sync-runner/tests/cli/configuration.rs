//! What is read, what is refused, and how that is told.

use crate::runner::Runner;

#[test]
fn every_shell_gets_what_completes_commands_and_flags() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = Runner::nowhere().run(&["completions", shell]);
        assert_eq!(ended.code, Some(0), "{}", ended.all());
        assert!(ended.out.contains("reconcile") && ended.out.contains("give-up"), "{shell}: {}", ended.out);
    }
}

#[test]
fn init_writes_a_configuration_that_is_taken_and_never_overwrites_one() {
    let runner = Runner::nowhere();
    let mine = runner.read("sync.toml");
    let refused = runner.run(&["init"]);
    assert_eq!(refused.code, Some(2), "{}", refused.err);
    assert!(refused.err.contains("--force"), "{}", refused.err);
    assert_eq!(runner.read("sync.toml"), mine);

    assert_eq!(runner.run(&["init", "--path", "other.toml"]).code, Some(0));
    let written = runner.read("other.toml");
    assert!(written.contains("[postgres]") && written.contains("# password_file"), "{written}");
    let problems = runner.run(&["check", "--config", "other.toml", "--set", "relay.lease=never"]);
    assert_eq!(problems.err.lines().count(), 1, "only what --set says is wrong: {}", problems.err);

    assert_eq!(runner.run(&["init", "--force"]).code, Some(0));
    assert_eq!(runner.read("sync.toml"), written);
}

#[test]
fn everything_that_is_wrong_is_told_at_once_and_ends_with_2() {
    let runner = Runner::new("[postgres]\npol_size = 3\n[relay]\nbus = \"pigeon\"\n")
        .variable("SYNC__KAFKA__TOPICS__PARTITIONS", "none");
    for command in ["check", "migrate", "run", "status"] {
        let ended = runner.run(&[command, "--set", "log.format=xml"]);
        assert_eq!(ended.code, Some(2), "{command}");
        assert_eq!(ended.out, "");
        for told in [
            "4 problems",
            "unknown key `postgres.pol_size` (sync.toml line 2); did you mean `postgres.pool_size`?",
            "relay.bus = \"pigeon\" (sync.toml line 4): expected one of \"kafka\", \"direct\"",
            "kafka.topics.partitions = \"none\" (environment variable SYNC__KAFKA__TOPICS__PARTITIONS)",
            "log.format = \"xml\" (--set)",
        ] {
            assert!(ended.err.contains(told), "{told:?} is not in:\n{}", ended.err);
        }
    }
    let json = runner.run(&["check", "--json"]);
    assert_eq!((json.code, json.err.as_str()), (Some(2), ""));
    assert_eq!(json.json()["error"]["problems"].as_array().unwrap().len(), 3);
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let runner = Runner::new("");
    let ended = runner.run(&["check", "--config", "no.toml"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("no.toml") && ended.err.contains("sync-runner init"), "{}", ended.err);
}

#[test]
fn the_direct_bus_is_refused_when_its_roles_are_apart() {
    let ended = Runner::nowhere().run(&["run", "--roles", "relay", "--set", "relay.bus=direct"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("relay.bus") && ended.err.contains("leave out --roles"), "{}", ended.err);
}

#[test]
fn an_indexer_without_an_index_is_refused() {
    let ended = Runner::new("").run(&["run"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("[indexes.NAME]") && ended.err.contains("--roles relay"), "{}", ended.err);
}

#[test]
fn the_version_is_told_and_a_wrong_argument_ends_with_2() {
    let runner = Runner::new("");
    let version = runner.run(&["--version"]);
    assert_eq!((version.code, version.out.trim()), (Some(0), concat!("sync-runner ", env!("CARGO_PKG_VERSION"))));
    assert_eq!(runner.run(&["fly"]).code, Some(2));
    for command in ["init", "check", "migrate", "run", "status"] {
        assert!(runner.run(&["--help"]).out.contains(command));
    }
}
