//! Telling people of dead letters: once, and never more often than they can read.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sync_core::adapter::memory::MemoryDeadLetters;
use sync_core::adapter::webhook::{Webhook, WebhookConfig};
use sync_core::alerts::{Alerts, AlertsConfig};
use sync_core::port::{
    Alert, AlertHandler, ConditionAlert, ConditionState, DeadLetter, DeadLetters, KeptLetter, LetterAlert, Origin,
    Severity,
};
use sync_core::testkit::{HttpReply, HttpRequest, HttpResponder};
use sync_core::{Error, ErrorKind};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

fn letter(offset: i64) -> DeadLetter {
    DeadLetter {
        reader: "jobs".into(),
        origin: Origin { topic: "job-es-sync".into(), partition: 2, offset },
        event: Some(7),
        key: Some(format!("job-{offset}")),
        value: Some("not shown".into()),
        error_kind: "refused".into(),
        error: "field [salary] cannot hold \"much\"".into(),
        attempts: 1,
        parked_at: "2026-01-02T03:04:05Z".parse().unwrap(),
    }
}

async fn parked(letters: &MemoryDeadLetters, offsets: std::ops::RangeInclusive<i64>) {
    for offset in offsets {
        letters.park(&letter(offset)).await.unwrap();
    }
}

/// A letter that nobody wants to be told of.
const POISON: i64 = 666;

/// Notes when it was told of what; fails as often as it is told to.
#[derive(Debug, Default)]
struct Person {
    told: Mutex<Vec<(Instant, Vec<i64>)>>,
    failures: Mutex<u32>,
}

impl Person {
    fn told(&self) -> Vec<(Instant, Vec<i64>)> {
        self.told.lock().unwrap().clone()
    }

    fn offsets(&self) -> Vec<i64> {
        self.told().into_iter().flat_map(|(_, offsets)| offsets).collect()
    }
}

#[async_trait]
impl AlertHandler for Person {
    async fn alert(&self, alert: &Alert) -> Result<(), Error> {
        let Alert::Letters(alert) = alert else { panic!("{alert}") };
        let offsets: Vec<_> = alert.letters.iter().map(|kept| kept.letter.origin.offset).collect();
        if offsets == [POISON] {
            return Err(Error::new(ErrorKind::Configuration, "413 Payload Too Large"));
        }
        let mut failures = self.failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return Err(Error::new(ErrorKind::Unavailable, "nobody answers"));
        }
        self.told.lock().unwrap().push((Instant::now(), offsets));
        Ok(())
    }
}

fn alerts(letters: &MemoryDeadLetters, people: &[&Arc<Person>], per_minute: usize) -> Alerts {
    let handlers = people.iter().map(|person| Arc::<Person>::clone(person) as Arc<dyn AlertHandler>).collect();
    Alerts::new(Arc::new(letters.clone()), handlers, AlertsConfig::default().per_minute(per_minute))
}

/// Runs them for so many minutes of a clock that does not wait.
async fn for_minutes(minutes: u64, all: &[&Alerts]) {
    let shutdown = CancellationToken::new();
    let running = futures::future::join_all(all.iter().map(|alerts| alerts.run(shutdown.clone())));
    let end = async {
        sleep(Duration::from_secs(60 * minutes)).await;
        shutdown.cancel();
    };
    tokio::join!(running, end);
}

#[tokio::test(start_paused = true)]
async fn each_dead_letter_is_told_of_once_however_many_processes_look() {
    let (letters, person) = (MemoryDeadLetters::new(), Arc::default());
    parked(&letters, 1..=8).await;
    let processes = [alerts(&letters, &[&person], 10), alerts(&letters, &[&person], 10)];
    for_minutes(5, &processes.each_ref()).await;
    assert_eq!(person.offsets(), (1..=8).collect::<Vec<_>>());
    assert!(person.told().iter().all(|(_, offsets)| offsets.len() == 1), "each alone");
    for_minutes(5, &[&alerts(&letters, &[&person], 10)]).await;
    parked(&letters, 4..=4).await;
    for_minutes(5, &[&alerts(&letters, &[&person], 10)]).await;
    assert_eq!(person.offsets(), [1, 2, 3, 4, 5, 6, 7, 8, 4], "parked anew, it is news");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_dead_letters_is_told_of_together_and_never_faster_than_people_asked_for() {
    let (letters, person) = (MemoryDeadLetters::new(), Arc::default());
    parked(&letters, 1..=350).await;
    for_minutes(10, &[&alerts(&letters, &[&person], 3)]).await;
    assert_eq!(person.offsets(), (1..=350).collect::<Vec<_>>());
    let told = person.told();
    for (first, fourth) in told.iter().zip(told.iter().skip(3)) {
        assert!(fourth.0 - first.0 >= Duration::from_secs(60), "four in a minute");
    }
    assert_eq!(told[..3].iter().map(|(_, offsets)| offsets.len()).collect::<Vec<_>>(), [1, 1, 98]);
}

#[tokio::test(start_paused = true)]
async fn whoever_cannot_be_told_now_is_told_later_and_nobody_else_twice_meanwhile() {
    let (letters, away, there) = (MemoryDeadLetters::new(), Arc::<Person>::default(), Arc::default());
    *away.failures.lock().unwrap() = 3;
    parked(&letters, 1..=2).await;
    for_minutes(10, &[&alerts(&letters, &[&away, &there], 10)]).await;
    for person in [&away, &there] {
        let mut offsets = person.offsets();
        offsets.sort_unstable();
        assert_eq!(offsets, [1, 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_is_refused_holds_up_no_other() {
    let (letters, person) = (MemoryDeadLetters::new(), Arc::default());
    parked(&letters, POISON..=POISON).await;
    parked(&letters, 1..=3).await;
    for_minutes(1, &[&alerts(&letters, &[&person], 10)]).await;
    assert_eq!(person.offsets(), [1, 2, 3]);
}

#[tokio::test]
async fn an_alert_has_a_length_that_chats_take_whatever_is_in_the_letters() {
    let seen: Arc<Mutex<Vec<HttpRequest>>> = Arc::default();
    let requests = Arc::clone(&seen);
    let server = HttpResponder::start(move |request| {
        requests.lock().unwrap().push(request.clone());
        HttpReply::Answer { status: 200, body: String::new() }
    })
    .await;
    let config = WebhookConfig::new(server.url()).timeout(Duration::from_secs(20));
    let long = |id| DeadLetter { key: Some("k".repeat(900_000)), error: "größer ".repeat(100_000), ..letter(id) };
    let letters = (1..=100).map(|id| KeptLetter { id, letter: long(id) }).collect();
    Webhook::new(&config).unwrap().alert(&Alert::Letters(LetterAlert { letters })).await.unwrap();
    let request = seen.lock().unwrap().remove(0);
    assert!(request.body.len() < 40_000, "{} bytes", request.body.len());
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!((&body["count"], body["dead_letters"].as_array().unwrap().len()), (&100.into(), 20));
}

#[tokio::test]
async fn a_webhook_gets_the_letters_and_a_line_that_chats_show() {
    let seen: Arc<Mutex<Vec<HttpRequest>>> = Arc::default();
    let statuses = Mutex::new(vec![404, 401, 503, 302, 204]);
    let requests = Arc::clone(&seen);
    let server = HttpResponder::start(move |request| {
        requests.lock().unwrap().push(request.clone());
        HttpReply::Answer { status: statuses.lock().unwrap().pop().unwrap(), body: String::new() }
    })
    .await;
    let config = WebhookConfig::new(format!("{}/hooks/secret", server.url()))
        .headers(vec![("Authorization".to_owned(), "Bearer secret".to_owned())])
        .timeout(Duration::from_secs(20));
    let webhook = Webhook::new(&config).unwrap();
    let kept = |id| KeptLetter { id, letter: letter(id) };
    webhook.alert(&Alert::Letters(LetterAlert { letters: vec![kept(5), kept(6)] })).await.unwrap();
    let request = seen.lock().unwrap().remove(0);
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/hooks/secret"));
    for (name, value) in [("authorization", "Bearer secret"), ("content-type", "application/json")] {
        assert!(request.headers.contains(&(name.to_owned(), value.to_owned())), "{:?}", request.headers);
    }
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    let line = "dead letter 5 of jobs and 1 more, the first one: key \"job-5\": field [salary] cannot hold \"much\"";
    assert_eq!((&body["alert"], &body["text"]), (&"dead_letters".into(), &line.into()));
    let expected = serde_json::json!({
        "id": 6, "reader": "jobs", "topic": "job-es-sync", "partition": 2, "offset": 6, "event": 7, "key": "job-6",
        "error_kind": "refused", "error": "field [salary] cannot hold \"much\"", "attempts": 1,
        "parked_at": "2026-01-02T03:04:05Z".parse::<Timestamp>().unwrap(),
    });
    assert_eq!(body["dead_letters"][1], expected);

    let alert = Alert::Letters(LetterAlert { letters: vec![kept(1)] });
    let expected = [ErrorKind::Configuration, ErrorKind::Unavailable, ErrorKind::Denied, ErrorKind::Configuration];
    for kind in expected {
        let error = webhook.alert(&alert).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    drop(server);
    let error = webhook.alert(&alert).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[tokio::test]
async fn a_webhook_gets_a_condition_with_what_tells_its_beginning_from_its_end() {
    let seen: Arc<Mutex<Vec<HttpRequest>>> = Arc::default();
    let requests = Arc::clone(&seen);
    let server = HttpResponder::start(move |request| {
        requests.lock().unwrap().push(request.clone());
        HttpReply::Answer { status: 200, body: String::new() }
    })
    .await;
    let config = WebhookConfig::new(server.url()).timeout(Duration::from_secs(20));
    let webhook = Webhook::new(&config).unwrap();
    let alert = |state| ConditionAlert {
        name: "SyncLagHigh",
        subject: "jobs".to_owned(),
        severity: Severity::Warning,
        state,
        since: Timestamp::UNIX_EPOCH,
        summary: "jobs: a change waits for 400 s (more than 300 s)".to_owned(),
        is_local: false,
    };
    for state in [ConditionState::Firing, ConditionState::Resolved] {
        webhook.alert(&Alert::Condition(alert(state))).await.unwrap();
    }
    let bodies: Vec<serde_json::Value> =
        seen.lock().unwrap().iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect();
    let [firing, resolved] = &bodies[..] else { panic!("{bodies:?}") };
    assert_eq!((&firing["state"], &resolved["state"]), (&"firing".into(), &"resolved".into()));
    assert_eq!((&firing["key"], &resolved["key"]), (&"SyncLagHigh/jobs".into(), &"SyncLagHigh/jobs".into()));
    assert_eq!((&firing["severity"], &firing["runbook"]), (&"warning".into(), &"docs/runbook.md#synclaghigh".into()));
    assert!(resolved["text"].as_str().unwrap().starts_with("resolved: SyncLagHigh"), "{resolved}");
}
