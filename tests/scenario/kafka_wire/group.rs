//! Groups: members with names of their own, and lag seen from outside.

use sync_core::ErrorKind;
use sync_core::adapter::kafka::{KafkaPublisher, KafkaSubscriber};
use sync_core::port::{Consumer, OffsetCommit, Polled, Subscriber};

use super::{config, message, publish, soon};
use crate::support::servers;

async fn first_messages(consumer: &mut dyn Consumer) -> Vec<OffsetCommit> {
    loop {
        if let Polled::Messages(messages) = soon(consumer.poll()).await.unwrap() {
            let done = |one: sync_core::port::Incoming| OffsetCommit { partition: one.partition, next: one.offset + 1 };
            return messages.into_iter().map(done).collect();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_takes_anothers_instance_id_ends_it_with_an_error_that_says_so() {
    let topic = servers::unique("static");
    publish(&KafkaPublisher::new(&config()).unwrap(), vec![message(&topic, "job", 1)]).await;
    let subscriber = KafkaSubscriber::new(&config(), &topic, &topic, Some("indexer-1")).unwrap();
    let mut first = soon(subscriber.subscribe()).await.unwrap();
    let done = first_messages(&mut *first).await;
    let mut second = soon(subscriber.subscribe()).await.unwrap();
    let fenced = async {
        loop {
            match first.poll().await {
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    };
    let (error, again) = tokio::join!(soon(fenced), first_messages(&mut *second));
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.to_string().contains("instance"), "{error}");
    assert_eq!(again, done);
    // It stays ended, and says so as often as it is asked.
    assert_eq!(soon(first.poll()).await.unwrap_err().kind(), ErrorKind::Configuration);
    drop(first);
    second.commit(&again).unwrap();
    soon(second.close()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_restarts_with_its_instance_id_goes_on_at_once() {
    let topic = servers::unique("restart");
    let publisher = KafkaPublisher::new(&config()).unwrap();
    publish(&publisher, vec![message(&topic, "job", 1)]).await;
    let subscriber = KafkaSubscriber::new(&config(), &topic, &topic, Some("indexer-1")).unwrap();
    for number in 2..5 {
        let mut consumer = soon(subscriber.subscribe()).await.unwrap();
        let done = first_messages(&mut *consumer).await;
        assert_eq!(done.len(), 1, "what was committed came again");
        consumer.commit(&done).unwrap();
        soon(consumer.close()).await.unwrap();
        publish(&publisher, vec![message(&topic, "job", number)]).await;
    }
    let lag = soon(subscriber.lag()).await.unwrap();
    assert_eq!(lag.iter().map(|lag| lag.behind).sum::<u64>(), 1);
}
