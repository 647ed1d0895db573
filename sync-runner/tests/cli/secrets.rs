//! No secret is told, whatever is asked for and however talkative the log.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use crate::http::{ask, get};
use crate::runner::{Runner, closed_port};

const SECRETS: [&str; 9] = [
    "hunter2-operators",
    "hunter2-in-url",
    "hunter2-postgres",
    "hunter2-sasl",
    "hunter2-property",
    "hunter2-basic",
    "hunter2-file",
    "hunter2-hook",
    "hunter2-header",
];

/// Somebody who refuses every request, and ends with this test.
fn refusing_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 4096];
            let answered = stream.read(&mut request).and_then(|_| {
                stream.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            });
            drop(answered);
        }
    });
    port
}

fn runner() -> Runner {
    let (postgres, kafka, elasticsearch) = (closed_port(), closed_port(), refusing_server());
    Runner::new(&format!(
        "[postgres]\nurl = \"postgres://sync:hunter2-in-url@127.0.0.1:{postgres}/sync?password=hunter2-in-url\"\n\
         [kafka]\nbrokers = \"127.0.0.1:{kafka}\"\nsecurity = \"sasl_plaintext\"\n\
         sasl = {{ username = \"sync\", mechanism = \"PLAIN\", password = \"hunter2-sasl\" }}\n\
         properties = {{ \"ssl.key.password\" = \"hunter2-property\", \"debug\" = \"all\" }}\n\
         [elasticsearch]\nurl = \"http://127.0.0.1:{elasticsearch}\"\nusername = \"sync\"\npassword_file = \"pw\"\n\
         [alerts.webhook]\nurl = \"http://127.0.0.1:{elasticsearch}/hunter2-hook\"\n\
         headers = {{ Authorization = \"hunter2-header\" }}\n\
         [log]\nfilter = \"trace\"\n\
         [indexes.jobs]\nprojection = \"jobs.sql\"\n"
    ))
    .with("jobs.sql", "select 1 as key, null::json as document")
    .with("pw", "hunter2-file\n")
    .variable("SYNC__POSTGRES__PASSWORD", "hunter2-postgres")
}

#[track_caller]
fn assert_silent(told: &str) {
    // What basic authentication sends for `sync:hunter2-file` and `sync:hunter2-basic`.
    let encoded = ["c3luYzpodW50ZXIyLWZpbGU=", "c3luYzpodW50ZXIyLWJhc2lj"];
    for secret in SECRETS.into_iter().chain(encoded) {
        let line = told.lines().find(|line| line.contains(secret));
        assert_eq!(line, None);
    }
}

#[test]
fn no_command_tells_a_secret_not_even_in_its_most_talkative_log() {
    let runner = runner();
    for arguments in [
        &["check"] as &[&str],
        &["check", "--json"],
        &["migrate"],
        &["status"],
        &["status", "--json"],
        &["check", "--set", "elasticsearch.password=hunter2-basic"],
    ] {
        let ended = runner.run(arguments);
        assert!(matches!(ended.code, Some(1 | 2)), "{arguments:?}: {}", ended.all());
        assert!(ended.err.contains("DEBUG"), "the log was not talkative: {}", ended.err);
        assert_silent(&ended.all());
    }
    let mut running = runner.start(&["run"]);
    running.until_told("role halted");
    let (code, told) = running.end();
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("elasticsearch.password"), "{told}");
    assert_silent(&told);
}

#[test]
fn nothing_that_operators_see_of_a_process_holds_a_secret() {
    let (runner, port) = (runner(), closed_port());
    let admin = [format!("admin.listen=127.0.0.1:{port}"), "admin.token=hunter2-operators".to_owned()];
    let mut running = runner.start(&["run", "--roles", "admin", "--set", &admin[0], "--set", &admin[1]]);
    running.until_told("the status page is at");
    let status = get(port, "/api/status");
    assert!(status.status == 200 && status.body.contains("postgres.url"), "{}", status.body);
    for path in ["/", "/metrics", "/livez", "/readyz", "/api/status", "/api/dead-letters", "/api/dead-letters/1"] {
        assert_silent(&get(port, path).body);
    }
    let refused =
        ask(port, "POST /api/dead-letters/1/discard", &["host: localhost", "authorization: Bearer hunter2-x"]);
    assert_eq!(refused.status, 401);
    assert_silent(&refused.body);
    running.signal("TERM");
    assert_silent(&running.end().1);
}

#[test]
fn no_refusal_of_a_configuration_tells_a_secret() {
    let runner = runner();
    for arguments in [
        &["check", "--set", "postgres.pasword=hunter2-basic"] as &[&str],
        &["check", "--set", "postgres.password:hunter2-basic"],
        &["check", "--set", "=hunter2-basic"],
        &["check", "--set", "postgres.url=hunter2-basic"],
        &["check", "--json", "--set", "elasticsearch.url=http://sync:hunter2-basic@127.0.0.1:1"],
        &["run", "--set", "kafka.properties.linger.ms=hunter2-basic"],
        &["status", "--set", "kafka.properties.sasl.password=hunter2-basic"],
    ] {
        let ended = runner.run(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.all());
        assert_silent(&ended.all());
    }
    runner.write("sync.toml", "[postgres]\npassword = \"hunter2-basic\nurl = 1 2\n");
    let ended = runner.run(&["check"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("sync.toml line 2: not TOML"), "{}", ended.err);
    assert_silent(&ended.all());
}
