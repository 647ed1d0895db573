//! One trace, from the transaction that wrote to the request that indexed it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use sync_core::testkit::{HttpReply, HttpResponder};

use crate::runner::BOUND;
use crate::servers::Stage;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const EMITTER: &str = "00f067aa0ba902b7";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A collector, and the spans it was told.
async fn collector() -> (HttpResponder, Arc<Mutex<Vec<Span>>>) {
    let spans = Arc::<Mutex<Vec<Span>>>::default();
    let told = Arc::clone(&spans);
    let collector = HttpResponder::start(move |request| {
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/traces"));
        let request = ExportTraceServiceRequest::decode(&request.body[..]).unwrap();
        let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        told.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
        HttpReply::Answer { status: 200, body: String::new() }
    });
    (collector.await, spans)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_from_the_transaction_through_the_bus_into_the_index() {
    for delivery in ["at_least_once", "exactly_once"] {
        let stage = Stage::migrated("kafka").await;
        let (collector, spans) = collector().await;
        let endpoint = format!("traces.endpoint={}", collector.url());
        let delivery = format!("relay.delivery={delivery}");
        let running = stage.runner.start(&["run", "--roles", "relay,indexer", "--set", &endpoint, "--set", &delivery]);
        stage
            .sql(&format!(
                "begin; set local outbox.traceparent = '00-{TRACE}-{EMITTER}-01'; insert into jobs values (1, 'traced'); commit;
                 begin; set local outbox.traceparent = '00-{TRACE}-{EMITTER}-00'; insert into jobs values (2, 'not sampled'); commit;
                 insert into jobs values (3, 'not traced')"
            ))
            .await;
        let by = Instant::now() + BOUND;
        while spans.lock().unwrap().len() < 2 {
            assert!(Instant::now() < by, "{:?}", spans.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        stage.until_status(|told| told["bus"]["jobs"]["messages_behind"] == 0);
        running.signal("TERM");
        let (code, told) = running.end();
        assert_eq!(code, Some(0), "{told}");
        let spans = spans.lock().unwrap();
        let by_name: BTreeMap<_, _> = spans.iter().map(|span| (span.name.as_str(), span)).collect();
        let names: Vec<_> = by_name.keys().copied().collect();
        assert_eq!((names, spans.len()), (vec!["index", "outbox publish"], 2), "{spans:?}");
        for span in spans.iter() {
            assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.to_owned(), EMITTER.to_owned()));
            assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
        }
        let [index, publish] = ["index", "outbox publish"].map(|name| by_name[name]);
        assert!(publish.start_time_unix_nano <= index.end_time_unix_nano, "{publish:?} {index:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_holds_up_nothing() {
    let stage = Stage::migrated("direct").await;
    let endpoint = format!("traces.endpoint=http://127.0.0.1:{}", crate::runner::closed_port());
    let running = stage.runner.start(&["run", "--roles", "relay,indexer", "--set", &endpoint]);
    stage
        .sql(&format!("set outbox.traceparent = '00-{TRACE}-{EMITTER}-01'; insert into jobs values (1, 'traced')"))
        .await;
    stage.until_status(|told| told["indexes"]["jobs"]["documents"] == 1);
    let began = Instant::now();
    running.signal("TERM");
    let (code, told) = running.end();
    assert!(code == Some(0) && began.elapsed() < Duration::from_secs(10), "{:?} {told}", began.elapsed());
}
