//! Carries out a schedule of faults.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::sleep;

use super::plan::{Fault, Process, Round, Strike};
use super::site::Site;
use crate::support::index_proxy::Bulks;
use crate::support::proxy::Link;

/// For every connection to hear of it.
const RESETTING: Duration = Duration::from_millis(300);

/// How often each kind of fault struck.
pub type Struck = BTreeMap<String, u64>;

/// Lets all rounds pass. Afterwards every server, process and network is up again.
pub async fn carry_out(site: &Site<'_>, schedule: &[Round], struck: &mut Struck) {
    for Round { rest, strikes } in schedule {
        sleep(*rest).await;
        let can_strike = |strike: &&Strike| !matches!(strike.fault, Fault::Jump(_)) || site.servers.have_clocks();
        let strikes: Vec<_> = strikes.iter().filter(can_strike).collect();
        for Strike { fault, .. } in &strikes {
            *struck.entry(fault.kind()).or_default() += 1;
        }
        join_all(strikes.into_iter().map(|strike| carry_out_one(site, *strike))).await;
    }
}

async fn carry_out_one(site: &Site<'_>, Strike { fault, after, lasting }: Strike) {
    sleep(after).await;
    match fault {
        Fault::Kill(process) => kill(site, process, lasting).await,
        Fault::Freeze(process) => freeze(site, process, lasting).await,
        Fault::Leave(process) => leave(site, process, lasting).await,
        Fault::KillServer(server) => site.servers.kill(server, lasting).await,
        Fault::FreezeServer(server) => site.servers.freeze(server, lasting).await,
        Fault::Promote => {
            site.servers.cut_off().await;
            sleep(lasting).await;
            site.promote().await;
        }
        Fault::Jump(seconds) => site.servers.jump(seconds, lasting).await,
        Fault::Network(wire, whose, link) => {
            site.servers.set(wire, whose, link);
            sleep(lasting).await;
            site.servers.set(wire, whose, Link::Open);
        }
        Fault::Lose(wire, whose) => {
            site.servers.set(wire, whose, Link::Silent);
            sleep(lasting).await;
            site.servers.set(wire, whose, Link::Reset);
            sleep(RESETTING).await;
            site.servers.set(wire, whose, Link::Open);
        }
        Fault::Answers(bulks) => {
            site.servers.index.set(bulks);
            sleep(lasting).await;
            site.servers.index.set(Bulks::Pass);
        }
    }
}

async fn kill(site: &Site<'_>, process: Process, down: Duration) {
    let runner = site.process(process).await;
    let mut runner = runner.lock().await;
    runner.kill().await;
    sleep(down).await;
    runner.start();
}

async fn freeze(site: &Site<'_>, process: Process, lasting: Duration) {
    let runner = site.process(process).await;
    let mut runner = runner.lock().await;
    assert!(runner.is_alive(), "it had ended by itself");
    runner.signal("STOP").await;
    sleep(lasting).await;
    runner.signal("CONT").await;
}

/// An orderly end beside whatever else goes wrong.
async fn leave(site: &Site<'_>, process: Process, down: Duration) {
    let runner = site.process(process).await;
    let mut runner = runner.lock().await;
    assert!(runner.is_alive(), "it had ended by itself");
    let ended = runner.stop().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    sleep(down).await;
    runner.start();
}
