//! Of several servers the primary is found, whatever the others do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use serde_json::Value;
use sync_core::adapter::postgres::{Postgres, PostgresConfig, PostgresDeadLetters, PostgresSource, SourceConfig};
use sync_core::port::{DeadLetters, LetterSelection, Source};
use sync_core::{ErrorKind, Remedy};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::{APP, Delivery, deployment_of, domain_on};
use crate::support::cluster::{Cluster, url_of_all};
use crate::support::postgres::outbox_at;

const BOUND: Duration = Duration::from_secs(60);

fn postgres(url: &str) -> Postgres {
    let connect_timeout = Duration::from_secs(1);
    Postgres::new(&PostgresConfig::new(url).connect_timeout(connect_timeout)).unwrap()
}

/// Takes connections, and never says a word; counts them.
async fn silent_server() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            held.push(connection);
        }
    });
    (address, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_and_a_standby_do_not_hide_the_primary() {
    let primary = Cluster::start(&[]);
    primary.answer(&format!("create database {APP}"));
    outbox_at(&primary.url(APP)).await;
    let standby = primary.standby();
    standby.until_caught_up(&primary);
    let (silent, asked) = silent_server().await;
    let all = url_of_all(&[&standby, &primary], APP).replacen('@', &format!("@{silent},"), 1);
    let database = postgres(&all);
    let found = async {
        let port = database.client().await.unwrap().query_one("show port", &[]).await.unwrap();
        assert_eq!(primary.address(), format!("127.0.0.1:{}", port.get::<_, String>(0)));
        PostgresSource::new(database.clone(), SourceConfig::default()).open().await.unwrap()
    };
    drop(timeout(BOUND, found).await.expect("the search goes on behind the silent one"));
    let before = asked.load(Ordering::SeqCst);
    let several = try_join_all((0..3).map(|_| database.client())).await.unwrap();
    assert_eq!((several.len(), asked.load(Ordering::SeqCst)), (3, before), "whoever served is asked first");

    let nobody = postgres(&url_of_all(&[&standby], APP));
    let refused = nobody.client().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    assert!(refused.to_string().contains("does not allow writes"), "{refused}");
    let nobody = postgres(&format!("postgres://sync@{silent}/{APP}"));
    assert_eq!(nobody.client().await.unwrap_err().kind(), ErrorKind::Unavailable);
    let source = PostgresSource::new(nobody, SourceConfig::default());
    let refused = timeout(BOUND, source.open()).await.expect("it gives up").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_turns_read_only_is_an_outage_and_its_connections_are_given_up() {
    let cluster = Cluster::start(&[]);
    cluster.answer(&format!("create database {APP}"));
    outbox_at(&cluster.url(APP)).await;
    let database = postgres(&cluster.url(APP));
    let letters = PostgresDeadLetters::new(database.clone());
    let backend = async || -> i32 {
        database.client().await.unwrap().query_one("select pg_backend_pid()", &[]).await.unwrap().get(0)
    };
    letters.remove(&[1]).await.unwrap();
    let before = backend().await;
    assert_eq!(backend().await, before, "connections are used again");
    // Reaches connections that are open, as a standby behind a proxy would.
    cluster.set("default_transaction_read_only = on");
    cluster.signal("HUP");
    let read_only = async || letters.remove(&[1]).await.err();
    let error = timeout(BOUND, async {
        loop {
            if let Some(error) = read_only().await {
                return error;
            }
        }
    });
    let error = error.await.expect("it turns read-only");
    assert_eq!((error.kind(), error.remedy()), (ErrorKind::Unavailable, Remedy::Retry), "{error}");
    assert!(error.to_string().contains("read-only transaction"), "{error}");
    assert_ne!(backend().await, before, "the connection was given up");
    let open = PostgresSource::new(database.clone(), SourceConfig::default()).open().await.unwrap_err();
    assert_eq!(open.remedy(), Remedy::Retry, "{open}");
    cluster.set("default_transaction_read_only = off");
    cluster.signal("HUP");
    let back = async { while letters.remove(&[1]).await.is_err() {} };
    timeout(BOUND, back).await.expect("it takes writes again");
    assert!(letters.list(&LetterSelection::default(), 0, 1).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_when_a_standby_answers_and_when_one_may() {
    let primary = Cluster::start(&[]);
    let mut deployment = deployment_of(domain_on(&primary).await, Delivery::AtLeastOnce);
    let standby = primary.standby();
    standby.until_caught_up(&primary);
    let server = |report: &Value| {
        let checks = report["checks"].as_array().unwrap();
        let server = checks.iter().find(|check| check["check"] == "server").unwrap();
        (server["verdict"].as_str().unwrap().to_owned(), server["found"].as_str().unwrap().to_owned())
    };

    deployment.set("postgres.url", standby.url(APP));
    let (verdict, found) = server(&deployment.report("check").await);
    assert!(verdict == "failed" && found.contains("standby") && found.contains("name its primary"), "{found}");

    let several = |first: &Cluster, second: &Cluster| url_of_all(&[first, second], APP);
    let any = |url: String| url.replace("?target_session_attrs=read-write", "");
    deployment.set("postgres.url", any(several(&standby, &primary)));
    let (verdict, found) = server(&deployment.report("check").await);
    assert!(verdict == "failed" && found.contains("target_session_attrs=read-write"), "{found}");

    deployment.set("postgres.url", any(several(&primary, &standby)));
    let (verdict, found) = server(&deployment.report("check").await);
    assert!(verdict == "warning" && found.contains("target_session_attrs=read-write"), "{found}");

    deployment.set("postgres.url", several(&standby, &primary));
    let (verdict, found) = server(&deployment.report("check").await);
    assert!(verdict == "ok" && found.contains("primary"), "{found}");
}
