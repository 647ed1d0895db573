//! Dead letters in PostgreSQL, when there are many.

use std::time::Duration;

use sync_core::adapter::postgres::PostgresDeadLetters;
use sync_core::port::{DeadLetters, KeptLetter, LetterSelection, Unannounced};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::postgres::{database, fresh_outbox};
use crate::support::proxy::host_and_port;

const LETTERS: usize = 2_000;
const BYTES_OF_A_VALUE: u64 = 50_000;
const BOUND: Duration = Duration::from_secs(60);

/// A URL for one connection, and how many bytes come back on it until it is closed.
async fn counted(url: &str) -> (String, JoinHandle<u64>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (target, here) = (host_and_port(url).to_owned(), listener.local_addr().unwrap().to_string());
    let counting = tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = TcpStream::connect(target).await.unwrap();
        copy_bidirectional(&mut near, &mut far).await.unwrap().1
    });
    (url.replace(host_and_port(url), &here), counting)
}

#[tokio::test]
async fn of_many_letters_with_large_values_a_list_fetches_everything_but_those() {
    let (client, url) = fresh_outbox().await;
    let sql = "insert into outbox.dead_letters \
                      (reader, topic, subject, origin_partition, origin_offset, key, value, error_kind, error, attempts, \
                       parked_at) \
               select 'jobs', 'jobs', md5(n::text), 0, n, 'k' || n, repeat('x', $2), 'refused', 'too strange', 1, now() \
                 from generate_series(1, $1::bigint) n";
    let (letters, bytes) = (i64::try_from(LETTERS).unwrap(), i32::try_from(BYTES_OF_A_VALUE).unwrap());
    client.execute(sql, &[&letters, &bytes]).await.unwrap();

    let (watched, received) = counted(&url).await;
    let letters = PostgresDeadLetters::new(database(&watched));
    let listed = letters.list(&LetterSelection::default(), 0, LETTERS).await.unwrap();
    let claimed = letters.claim(LETTERS, Duration::from_secs(60)).await.unwrap();
    for found in [&listed, &claimed] {
        assert_eq!(found.len(), LETTERS);
        let is_bare = |kept: &KeptLetter| kept.letter.value.is_none() && kept.letter.key.is_some();
        assert!(found.iter().all(is_bare), "all but the value is told");
    }
    drop(letters);
    let received = timeout(BOUND, received).await.expect("the connection is closed").unwrap();
    let all = 2 * LETTERS as u64 * BYTES_OF_A_VALUE;
    assert!(received > LETTERS as u64 && received < all / 50, "{received} bytes were fetched, the values have {all}");

    let whole = PostgresDeadLetters::new(database(&url)).get(listed[0].id).await.unwrap().unwrap();
    assert_eq!(whole.letter.value.map(|value| value.len() as u64), Some(BYTES_OF_A_VALUE), "one alone is shown whole");
}
