//! A database restored from what was kept of it: from a dump, into another cluster, and from a backup and the archive
//! of its log, into the past.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use sync_core::port::Sink;

use super::{APP, Delivery, assert_the_topic_has, deployment_of, domain_on, history, until_touched_is_equal};
use crate::support::cluster::{Cluster, url_of_all};
use crate::support::domain::Domain;

const BOUND: Duration = Duration::from_secs(60);

/// Keys of jobs by their title.
async fn keys(domain: &Domain, title: &str) -> BTreeSet<String> {
    let rows = domain.client.query("select id::text from jobs where title = $1", &[&title]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn a_dump_takes_the_place_of_its_database(delivery: Delivery) {
    let mut old = Cluster::start(&[]);
    // Its transaction ids are of the new cluster's future.
    let far = "do $$ begin for n in 1..5000 loop perform pg_current_xact_id(); commit; end loop; end $$";
    old.answer(far);
    let mut deployment = deployment_of(domain_on(&old).await, delivery);
    let mut runner = deployment.runner("both", "relay,indexer");
    runner.start();
    deployment.domain.execute("insert into jobs (title) select 'job ' || n from generate_series(1, 100) n").await;
    deployment.until_nothing_is_behind().await;
    deployment.domain.until_equal().await;
    let place = old.place("dumps");
    let dump = place.join("app.dump");
    old.run_program("pg_dump", APP, &["--format=custom".as_ref(), "--file".as_ref(), dump.as_os_str()]);

    // The dump grows old.
    for _ in 0..10 {
        deployment.domain.execute("update jobs set priority = priority + 1, title = 'later'").await;
    }
    deployment.domain.execute("delete from jobs where id in (select id from jobs limit 10)").await;
    deployment.domain.execute("insert into jobs (title) select 'lost' from generate_series(1, 5)").await;
    let lost = keys(&deployment.domain, "lost").await;
    deployment.until_nothing_is_behind().await;
    deployment.domain.until_equal().await;
    assert_eq!(runner.stop().await.code, Some(0));
    old.stop();

    let new = Cluster::start(&[]);
    new.answer(&format!("create database {APP}"));
    new.run_program("pg_restore", APP, &["--exit-on-error".as_ref(), dump.as_os_str()]);
    deployment.domain.follow(new.url(APP)).await;
    deployment.set("postgres.url", new.url(APP));
    let mut runner = deployment.runner("restored", "relay,indexer");
    runner.start();
    let ended = runner.end().await;
    assert_eq!(ended.code, Some(1), "a person has to say that this is the database");
    assert!(runner.said("select * from outbox.adopt_history()") > 0);
    let domain = &deployment.domain;
    assert_eq!(domain.count("select max(epoch)::bigint from outbox.history").await, 0, "nothing was changed");

    domain.execute("select * from outbox.adopt_history()").await;
    runner.start();
    deployment.until_nothing_is_behind().await;
    let domain = &deployment.domain;
    until_touched_is_equal(domain, &lost).await;
    domain.execute("insert into jobs (title) values ('new')").await;
    deployment.until_nothing_is_behind().await;
    domain.until_equal().await;
    assert_eq!(history(domain).await.epoch, 1);
    assert_eq!(runner.stop().await.code, Some(0));
    assert_the_topic_has(domain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_restored_from_an_old_dump_is_published_again_once_a_person_adopts_it() {
    a_dump_takes_the_place_of_its_database(Delivery::AtLeastOnce).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_restored_from_an_old_dump_is_published_again_exactly_once_it_is_adopted() {
    a_dump_takes_the_place_of_its_database(Delivery::ExactlyOnce).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_from_before_later_epochs_waits_until_a_person_raises_its_epoch() {
    let old = Cluster::start(&[]);
    let mut deployment = deployment_of(domain_on(&old).await, Delivery::AtLeastOnce);
    let mut runner = deployment.runner("both", "relay,indexer");
    runner.start();
    deployment.domain.execute("insert into jobs (title) select 'job ' || n from generate_series(1, 20) n").await;
    deployment.until_nothing_is_behind().await;
    let dump = old.place("dumps").join("app.dump");
    old.run_program("pg_dump", APP, &["--format=custom".as_ref(), "--file".as_ref(), dump.as_os_str()]);
    deployment.domain.execute("select outbox.raise_epoch(5)").await;
    deployment.domain.execute("update jobs set title = 'later'").await;
    deployment.until_nothing_is_behind().await;
    deployment.domain.until_equal().await;
    assert_eq!(deployment.domain.sink.history().await.unwrap().unwrap().epoch, 5, "it was taken up at once");
    assert_eq!(runner.stop().await.code, Some(0));

    let new = Cluster::start(&[]);
    new.answer(&format!("create database {APP}"));
    new.run_program("pg_restore", APP, &["--exit-on-error".as_ref(), dump.as_os_str()]);
    deployment.domain.follow(new.url(APP)).await;
    deployment.set("postgres.url", new.url(APP));
    let domain = &deployment.domain;
    domain.execute("select * from outbox.adopt_history()").await;
    let mut runner = deployment.runner("restored", "relay,indexer");
    runner.start();
    runner.until_said("this partition stopped", 1).await;
    assert!(runner.said("select outbox.raise_epoch(6)") > 0, "the log names the command");
    let titles = domain.sink.look("title:job", 1).await.unwrap();
    assert!(titles.is_empty(), "nothing was written: {titles:?}");
    domain.execute("select outbox.raise_epoch(6)").await;
    deployment.until_nothing_is_behind().await;
    domain.until_equal().await;
    assert_eq!(domain.sink.history().await.unwrap(), Some(history(domain).await));
    assert_eq!(runner.stop().await.code, Some(0), "it went on by itself");
}

async fn the_past_takes_the_place_of_the_present(delivery: Delivery) {
    let mut primary = Cluster::start(&["archive_mode = on"]);
    let archive = primary.place("archive");
    // Under its name only once it is whole.
    let copy =
        "cp %p ARCHIVE/copying && mv ARCHIVE/copying ARCHIVE/%f".replace("ARCHIVE", &archive.display().to_string());
    primary.set(&format!("archive_command = '{copy}'"));
    primary.signal("HUP");
    let mut deployment = deployment_of(domain_on(&primary).await, delivery);
    let mut restored = primary.backup();
    restored.set("archive_mode = off");
    deployment.set("postgres.url", url_of_all(&[&primary, &restored], APP));
    let mut runner = deployment.runner("both", "relay,indexer");
    runner.start();
    deployment.domain.execute("insert into jobs (title) select 'job ' || n from generate_series(1, 100) n").await;
    deployment.until_nothing_is_behind().await;
    deployment.domain.until_equal().await;
    primary.answer("select pg_create_restore_point('here')");

    for _ in 0..10 {
        deployment.domain.execute("update jobs set priority = priority + 1, title = 'later'").await;
    }
    deployment.domain.execute("delete from jobs where id in (select id from jobs limit 10)").await;
    deployment.domain.execute("insert into jobs (title) select 'lost' from generate_series(1, 5)").await;
    let lost = keys(&deployment.domain, "lost").await;
    deployment.until_nothing_is_behind().await;
    deployment.domain.until_equal().await;
    let segment = primary.answer("select pg_walfile_name(pg_switch_wal())");
    let began = Instant::now();
    while !archive.join(&segment).exists() {
        assert!(began.elapsed() < BOUND, "the log is archived");
        std::thread::sleep(Duration::from_millis(20));
    }
    primary.stop_immediately();

    restored.recover_from(&archive, &["recovery_target_name = 'here'", "recovery_target_action = 'promote'"]);
    restored.run();
    restored.until_promoted();
    deployment.domain.follow(restored.url(APP)).await;
    let domain = &deployment.domain;
    assert_eq!(domain.count("select count(*) from jobs where title like 'job %'").await, 100, "it is the past");
    domain.execute("update jobs set title = 'again'").await;
    deployment.until_nothing_is_behind().await;
    until_touched_is_equal(domain, &lost).await;
    assert!(runner.is_alive(), "it stays up");
    assert_eq!(history(domain).await.epoch, 1);
    assert_eq!(runner.stop().await.code, Some(0));
    assert_the_topic_has(domain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_into_the_past_begins_a_new_epoch_and_the_index_follows() {
    the_past_takes_the_place_of_the_present(Delivery::AtLeastOnce).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_into_the_past_begins_a_new_epoch_and_the_index_follows_what_comes_exactly_once() {
    the_past_takes_the_place_of_the_present(Delivery::ExactlyOnce).await;
}
