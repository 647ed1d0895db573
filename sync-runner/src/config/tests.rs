//! Promises about the configuration as a whole.

mod reference;

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn sources(file: &str, variables: &[(&str, &str)], flags: &[&str]) -> Sources {
    Sources {
        file: Some((PathBuf::from("sync.toml"), file.to_owned())),
        variables: variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect(),
        flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
    }
}

fn read(file: &str) -> Result<Config, Vec<String>> {
    read_all(&sources(file, &[], &[]))
}

fn read_all(sources: &Sources) -> Result<Config, Vec<String>> {
    Config::read(sources).map_err(|problems| problems.problems.into_iter().map(|problem| problem.message).collect())
}

/// The documented file with every commented-out key switched on.
fn everything_on() -> String {
    let is_setting = |line: &str| {
        line.strip_prefix("# ").is_some_and(|rest| {
            rest.starts_with('[') || rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
        })
    };
    DOCUMENTED.lines().map(|line| if is_setting(line) { &line[2..] } else { line }).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_documented_file_parses_and_equals_the_defaults() {
    assert_eq!(read(DOCUMENTED), Ok(Config::default()));
    assert_eq!(read(""), Ok(Config::default()));
}

#[test]
fn the_documented_file_names_every_known_key_and_no_other() {
    let text = everything_on();
    let (layers, problems) = sources(&text, &[], &[]).lay();
    assert_eq!(problems, [], "{text}");
    let documented: BTreeSet<String> = layers.keys().cloned().collect();
    let (_, known, problems) = Config::read_layers(layers, PathBuf::new());
    assert_eq!(documented, known);
    let unknown: Vec<_> = problems.iter().filter(|problem| problem.message.contains("unknown")).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn every_line_of_the_documented_file_that_sets_a_key_has_a_comment_above_its_group() {
    let lines: Vec<_> = DOCUMENTED.lines().collect();
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| line.contains(" = ") && !line.starts_with('#')) {
        let above = lines[..index].iter().rev().find(|line| line.starts_with('#') || line.is_empty());
        assert!(above.is_some_and(|above| above.starts_with('#')) || lines[index - 1].starts_with('['), "{line}");
    }
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let file = "[postgres]\npool_size = 2\nconnect_timeout = \"3s\"\n[relay]\nbatch_bytes = \"1MiB\"\n";
    let variables = [("SYNC__POSTGRES__POOL_SIZE", "4"), ("SYNC__RELAY__BATCH_BYTES", "2MiB"), ("PATH", "/bin")];
    let config = read_all(&sources(file, &variables, &["relay.batch_bytes=3MiB"])).unwrap();
    assert_eq!(config.postgres.connect_timeout, Duration::from_secs(3));
    assert_eq!(config.postgres.pool_size, 4);
    assert_eq!(config.relay.batch_bytes, 3 << 20);
}

#[test]
fn lists_are_written_as_lists_or_with_commas() {
    let config = read_all(&sources(
        "[kafka]\nbrokers = [\"a:1\", \"b:2\"]\n",
        &[("SYNC__RELAY__TOPICS", "x, y"), ("SYNC__ELASTICSEARCH__URL", "http://a:9200/,https://b:9200")],
        &[],
    ))
    .unwrap();
    assert_eq!(config.kafka.brokers, ["a:1", "b:2"]);
    assert_eq!(config.relay.topics, Some(vec!["x".to_owned(), "y".to_owned()]));
    assert_eq!(config.elasticsearch.urls, ["http://a:9200", "https://b:9200"]);
}

#[test]
fn all_problems_are_told_at_once_each_with_its_origin_and_the_mend() {
    let file = "[postgres]\npol_size = 1\npool_size = 0\nconnect_timeout = 10\n\
                [relay]\nbus = \"kafak\"\nlease = \"10 bananas\"\n[kafka.topics]\ncreate = \"yes\"\n";
    let variables = [("SYNC__RELAY__BATCH_EVENTS", "many"), ("SYNC__KAFKA__BROKER", "b:1")];
    let problems = read_all(&sources(file, &variables, &["log.filter=a=b=c"])).unwrap_err();
    assert_eq!(
        problems,
        [
            "unknown key `kafka.broker` (environment variable SYNC__KAFKA__BROKER); did you mean `kafka.brokers`?",
            "kafka.topics.create = \"yes\" (sync.toml line 9): expected true or false",
            "log.filter (--set): \"a=b=c\" is neither a level (error, warn, info, debug, trace) nor directives of them",
            "postgres.connect_timeout = 10 (sync.toml line 4): expected a duration from 100ms to 10m, such as \
             \"500ms\", \"10s\" or \"2m\"",
            "unknown key `postgres.pol_size` (sync.toml line 2); did you mean `postgres.pool_size`?",
            "postgres.pool_size = 0 (sync.toml line 3): expected a whole number from 1 to 1000",
            "relay.batch_events = \"many\" (environment variable SYNC__RELAY__BATCH_EVENTS): expected a whole number \
             from 1 to 1000000",
            "relay.bus = \"kafak\" (sync.toml line 6): expected one of \"kafka\", \"direct\"",
            "relay.lease = \"10 bananas\" (sync.toml line 7): expected a duration from 1s to 10m, such as \"500ms\", \
             \"10s\" or \"2m\"",
        ]
    );
}

#[test]
fn counting_of_rows_can_be_switched_off() {
    let every = |text: &str| read(&format!("[admin]\ncount_interval = \"{text}\"\n"));
    assert_eq!(every("never").unwrap().admin.count_interval, None);
    assert_eq!(every("1h").unwrap().admin.count_interval, Some(Duration::from_secs(3_600)));
    let refused = every("0s").unwrap_err();
    assert!(refused[0].ends_with("such as \"500ms\", \"10s\" or \"2m\"; or \"never\""), "{refused:?}");
}

#[test]
fn a_password_and_its_file_exclude_each_other_in_one_place_and_the_later_place_wins() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pw"), "from-file\n").unwrap();
    let at = |file: &str, variables: &[(&str, &str)]| {
        let mut sources = sources(file, variables, &[]);
        sources.file = Some((folder.path().join("sync.toml"), file.to_owned()));
        read_all(&sources).map(|config| config.postgres.password.map(|secret| secret.expose().to_owned()))
    };
    assert_eq!(at("[postgres]\npassword_file = \"pw\"\n", &[]), Ok(Some("from-file".to_owned())));
    let variable = [("SYNC__POSTGRES__PASSWORD", "from-environment")];
    assert_eq!(at("[postgres]\npassword_file = \"pw\"\n", &variable), Ok(Some("from-environment".to_owned())));
    let both = at("[postgres]\npassword = \"x\"\npassword_file = \"pw\"\n", &[]).unwrap_err();
    assert!(both[0].contains("is set beside postgres.password"), "{both:?}");
    let missing = at("[postgres]\npassword_file = \"no\"\n", &[]).unwrap_err();
    assert!(missing[0].contains("sync.toml line 2): cannot read"), "{missing:?}");
}

#[test]
fn an_index_reads_its_files_beside_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("jobs.sql"), "select 1 as key").unwrap();
    fs::write(folder.path().join("bad.json"), "[]").unwrap();
    let at = |file: &str| {
        let mut sources = sources(file, &[], &[]);
        sources.file = Some((folder.path().join("sync.toml"), file.to_owned()));
        read_all(&sources)
    };
    let config = at("[indexes.jobs]\nprojection = \"jobs.sql\"\nsynced_at.table = \"jobs\"\n").unwrap();
    let index = &config.indexes["jobs"];
    assert_eq!((index.alias.as_str(), index.topic.as_str()), ("jobs", "job-es-sync"));
    assert_eq!(index.projection.text, "select 1 as key");
    assert_eq!(index.synced_at.as_ref().unwrap().column, "es_synced_at");
    let problems = at("[indexes.jobs]\nprojection = \"no.sql\"\nmapping = \"bad.json\"\ntopik = \"x\"\n\
                       [indexes.Jobs]\n[indexes.a]\nprojection = \"jobs.sql\"\nalias = \"b\"\n\
                       [indexes.b]\nprojection = \"jobs.sql\"\n")
    .unwrap_err()
    .join("\n");
    for told in [
        "unknown key `indexes.jobs.topik`",
        "did you mean `indexes.jobs.topic`?",
        "indexes.jobs.projection (",
        "line 2): cannot read",
        "bad.json is not a JSON object",
        "indexes.Jobs.alias: the name of an index is lower-case",
        "indexes.Jobs.projection: is missing",
        "indexes.b.alias: \"b\" is the alias of index a too",
    ] {
        assert!(problems.contains(told), "{told:?} is not in:\n{problems}");
    }
}

/// What makes the section of an index that follows a topic.
fn following(folder: &tempfile::TempDir) -> impl Fn(&str, &str) -> String {
    let sql = folder.path().join("a.sql");
    fs::write(&sql, "select 1").unwrap();
    move |name, topic| format!("[indexes.{name}]\ntopic = \"{topic}\"\nprojection = {sql:?}\n")
}

#[test]
fn an_index_cannot_follow_where_what_fails_for_another_goes() {
    let folder = tempfile::tempdir().unwrap();
    let index = following(&folder);
    for failed in ["x-retry-1000", "x-dlt"] {
        let problems = read(&format!("{}{}", index("a", "x"), index("b", failed))).unwrap_err();
        let told = format!("{failed:?} is where what fails for index a goes; call it otherwise");
        assert!(
            problems.len() == 1 && problems[0].contains("indexes.b.topic") && problems[0].contains(&told),
            "{problems:?}"
        );
    }
    assert!(read(&format!("{}{}", index("a", "x"), index("b", "x-retries"))).is_ok());
}

#[test]
fn credentials_that_do_not_fit_together_are_refused_with_the_mend() {
    let told = |file: &str| read(file).unwrap_err().join("\n");
    let sasl = told("[kafka]\nsecurity = \"sasl_ssl\"\n");
    assert!(sasl.contains("kafka.sasl.username: is missing") && sasl.contains("kafka.sasl.password: is missing"));
    assert!(told("[kafka.sasl]\nusername = \"me\"\n").contains("set kafka.security to"));
    assert!(told("[kafka]\nca_file = \"x\"\n").contains("kafka.ca_file (sync.toml line 2): is not used without TLS"));
    assert!(told("[kafka]\nbrokers = \"localhost\"\n").contains("\"localhost\" is not host:port"));
    assert!(told("[elasticsearch]\nusername = \"me\"\n").contains("elasticsearch.password: is missing"));
    let both = told("[elasticsearch]\nusername = \"me\"\npassword = \"a\"\napi_key = \"b\"\n");
    assert!(both.contains("elasticsearch.api_key (sync.toml line 4): is set beside a username or password"));
}

#[test]
fn the_direct_bus_is_refused_where_it_could_not_carry_everything() {
    let folder = tempfile::tempdir().unwrap();
    let index = following(&folder);
    let with = |relay: &str| read(&format!("{relay}{}{}", index("a", "x"), index("b", "x")));
    assert!(with("[kafka]\nbrokers = \"a:1\"\n[relay]\ntopics = \"x,y\"\n").is_ok());
    let problems = with("[relay]\nbus = \"direct\"\ntopics = \"x,y\"\n").unwrap_err();
    assert_eq!(
        problems,
        [
            "relay.bus (sync.toml line 2): indexes a and b both follow topic \"x\"; that needs Kafka: set kafka.brokers",
            "relay.topics (sync.toml line 3): no index follows \"y\", and without Kafka there is nowhere else to put it",
        ]
    );
}

#[test]
fn a_source_of_cloud_events_is_a_reference_and_an_encoding_one_of_the_words() {
    let relay = |key: &str, value: &str| read(&format!("[relay]\n{key} = {value:?}\n")).map(|config| config.relay);
    for source in ["/shop/orders", "https://shop.example/orders?x=1#y", "urn:uuid:1-2", "orders"] {
        assert_eq!(relay("cloudevents_source", source).unwrap().cloudevents_source, source);
    }
    for source in ["two words", "a\tb", "<a>", "{shop}", ""] {
        assert!(
            relay("cloudevents_source", source).unwrap_err()[0].starts_with("relay.cloudevents_source"),
            "{source}"
        );
    }
    assert_eq!(relay("encoding", "cloudevents_structured").unwrap().encoding, Encoding::CloudEventsStructured);
    let refused = relay("encoding", "avro").unwrap_err();
    assert!(refused[0].ends_with(r#""standard", "debezium", "cloudevents", "cloudevents_structured""#), "{refused:?}");
}

#[test]
fn exactly_once_is_refused_without_a_broker() {
    assert_eq!(
        read("[kafka]\nbrokers = \"a:1\"\n[relay]\ndelivery = \"exactly_once\"\n").unwrap().relay.delivery,
        Delivery::ExactlyOnce
    );
    let problems = read("[relay]\nbus = \"direct\"\ndelivery = \"exactly_once\"\n").unwrap_err();
    let told = "relay.delivery (sync.toml line 3): \"exactly_once\" keeps the position in Kafka, so it needs Kafka: \
                set kafka.brokers";
    assert_eq!(problems, [told]);
}

#[test]
fn whatever_a_file_holds_is_read_or_refused_with_what_it_is_about() {
    let everything = everything_on();
    sync_fuzz::try_changed("the configuration", &[DOCUMENTED, &everything], 300, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        if let Err(problems) = read(text) {
            assert!(!problems.is_empty() && problems.iter().all(|problem| !problem.is_empty()));
        }
    });
}

#[test]
fn a_missing_file_is_refused_only_when_it_was_named() {
    let folder = tempfile::tempdir().unwrap();
    let problems = Config::load(Some(&folder.path().join("no.toml")), &[]).unwrap_err();
    assert!(problems.to_string().contains("sync-runner init"), "{problems}");
}

/// Every place a secret can be written to, with a syntax that is right and others that are wrong.
fn places(secret: &str) -> Vec<Sources> {
    let url = format!("postgres://me:{secret}@db/shop");
    let in_files = [
        format!("[postgres]\npassword = \"{secret}\"\nurl = \"{url}\"\npool_size = 0\n"),
        format!("[postgres]\nurl = \"postgres://db/shop?password={secret}\"\npool_size = 0\n"),
        format!("[postgres]\nurl = \"postgres://me:a@{secret}@db\"\n"),
        format!("[postgres]\nurl = \"me:{secret}@db\"\n"),
        format!("[postgres]\nurl = [\"{url}\"]\n"),
        format!("[postgres]\npassword = [\"{secret}\"]\n"),
        format!("[postgres]\npassword = \"{secret}\n"),
        format!("[postgres]\npassword = {secret}\n"),
        format!("[postgres]\npassword = \"{secret}\" \"{secret}\"\n"),
        format!("[postgres]\npasword = \"{secret}\"\n"),
        format!("[kafka]\nsecurity = \"ssl\"\nsasl.password = \"{secret}\"\nsasl.username = \"me\"\n"),
        format!("[kafka]\nsecurity = \"sasl_ssl\"\nsasl.password = \"{secret}\"\nsasl.username = \"me\"\n"),
        format!("[kafka.properties]\n\"ssl.key.password\" = \"{secret}\"\n[relay]\nlease = 1\n"),
        format!("[kafka.properties]\nx = [\"{secret}\"]\n"),
        format!("[search.postgres]\nreplicas = [\"{url}\", \"me:{secret}@db\"]\npool_size = 0\n"),
        format!("[search.postgres]\nreplicas = \"{url}\"\n"),
        format!("[elasticsearch]\nurl = \"http://me:{secret}@es:9200\"\n"),
        format!("[elasticsearch]\nurl = \"es {secret}\"\n"),
        format!("[elasticsearch]\napi_key = \"{secret}\"\npassword = \"{secret}\"\n"),
        format!("[elasticsearch]\nusername = \"me\"\npassword = \"{secret}\"\nrequest_timeout = 1\n"),
    ];
    let in_variables =
        ["SYNC__POSTGRES__PASSWORD", "SYNC__POSTGRES__PASWORD", "SYNC__POSTGRES__URL", "SYNC__ELASTICSEARCH__API_KEY"];
    let in_flags = ["postgres.password=", "postgres.pasword=", "postgres.url=", "postgres.password:", "="];
    in_files
        .iter()
        .map(|file| sources(file, &[], &[]))
        .chain(in_variables.iter().map(|name| sources("", &[(*name, secret)], &["relay.lease=1"])))
        .chain(in_flags.iter().map(|flag| sources("", &[], &[&format!("{flag}{secret}"), "relay.lease=1"])))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_secret_is_ever_told(secret in "[A-Z]{4}[a-zA-Z0-9]{8,20}") {
        for sources in places(&secret) {
            let said = match Config::read(&sources) {
                Ok(config) => format!("{config:?} {}", config.postgres.url.shown()),
                Err(problems) => format!("{problems} {problems:?} {}", serde_json::to_string(&problems).unwrap()),
            };
            prop_assert!(!said.contains(&secret), "{}", said);
        }
    }
}

#[test]
fn a_topic_that_no_event_can_have_is_refused() {
    let problems = read("[relay]\ntopics = \"[\\\"jobs\\\"]\"\n").unwrap_err();
    let said = problems.iter().find(|problem| problem.starts_with("relay.topics")).expect("it is refused");
    assert!(said.contains("separated by commas"), "{said}");
}
