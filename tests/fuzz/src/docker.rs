//! Answers of Docker engines.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::{FuzzTarget, http_reply};
use sync_core::adapter::docker::{DockerConfig, DockerContainers};
use sync_core::port::{ContainerSpec, Containers};
use sync_core::testkit::{HttpReply, HttpResponder};

pub(super) const TARGET: FuzzTarget = FuzzTarget {
    name: "docker_answer",
    examples: &[
        r#"0[{"Id":"c0ffee","Names":["/workspace-a"],"Created":1770000000,"State":"running","Labels":{"workspace-id":"a","workspace-owner":"sync","workspace-saga":"7"}}]"#,
        r#"0{"Id":"c0ffee","Name":"/workspace-a","State":{"Running":true,"ExitCode":0,"StartedAt":"2026-01-02T03:04:05Z"},"Config":{"Labels":{"workspace-id":"a","workspace-owner":"sync","workspace-saga":"7"}},"NetworkSettings":{"Networks":{"net":{"IPAddress":"10.0.0.2","GlobalIPv6Address":"fd00::2"}}}}"#,
        r#"0{"Name":"net","IPAM":{"Config":[{"Subnet":"10.0.0.0/24","IPRange":"10.0.0.0/25"}]}}"#,
        r#"0{"SystemTime":"2026-01-02T03:04:05.123456789Z"}"#,
        r#"4{"message":"No such container: workspace-a"}"#,
        "~HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n",
    ],
    refused: &["7{\"message\":\"no space left on device\"}", "~no HTTP at all", "0\x01\0\0\0\0\0\0\x05hello"],
    run,
};

/// An engine that gives every request the same answer, and a client of it.
struct Engine {
    runtime: Runtime,
    answer: Arc<Mutex<Vec<u8>>>,
    server: HttpResponder,
}

impl Engine {
    fn start() -> Self {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => panic!("a runtime: {error}"),
        };
        let answer = Arc::<Mutex<Vec<u8>>>::default();
        let said = Arc::clone(&answer);
        let server = runtime.block_on(HttpResponder::start(move |request| match said.lock() {
            // Anything else, and nothing at all would be asked.
            Ok(_) if request.path.ends_with("/version") => {
                HttpReply::Answer { status: 200, body: r#"{"ApiVersion":"1.41"}"#.to_owned() }
            }
            Ok(said) => http_reply(&said),
            Err(_) => HttpReply::Reset,
        }));
        Self { runtime, answer, server }
    }
}

thread_local! {
    static ENGINE: RefCell<Option<Engine>> = const { RefCell::new(None) };
}

/// Whatever is answered: it is an error, or containers of workspaces.
fn run(bytes: &[u8]) -> bool {
    ENGINE.with_borrow_mut(|engine| {
        let engine = engine.get_or_insert_with(Engine::start);
        if let Ok(mut answer) = engine.answer.lock() {
            *answer = bytes.to_vec();
        }
        let config = DockerConfig::default()
            .engine(engine.server.url().replace("http://", "tcp://"))
            .timeout(Duration::from_millis(300));
        engine.runtime.block_on(async {
            match DockerContainers::new(&config) {
                Ok(containers) => asked(&containers).await,
                Err(error) => panic!("{error}"),
            }
        })
    })
}

/// Whether anything was understood.
async fn asked(containers: &DockerContainers) -> bool {
    let (listed, image) = (containers.list().await, containers.check_image("image").await);
    let spec =
        ContainerSpec { workspace: "a".to_owned(), saga: 7, image: "image".to_owned(), ..ContainerSpec::default() };
    let created = containers.create(&spec).await;
    let executed = containers.execute("a", &["true".to_owned()]).await;
    if let Ok(executed) = &executed {
        assert!(executed.output.len() <= 64 << 10 && !executed.output.contains('\0'));
    }
    let attached = containers.attach("a", "net", IpAddr::from([10, 0, 0, 2])).await;
    let (detached, removed) = (containers.detach("a").await, containers.remove("a").await);
    let any = [
        listed.is_ok(),
        image.is_ok(),
        created.is_ok(),
        executed.is_ok(),
        attached.is_ok(),
        detached.is_ok(),
        removed.is_ok(),
    ];
    any.contains(&true)
}
