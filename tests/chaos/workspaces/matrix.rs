//! Every fault at every place of a creation that succeeds, and of one that is taken back.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::iter;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use sync_core::ErrorKind;
use sync_core::port::{SagaEvent, SagaOutcome};
use sync_core::testkit::faults::Hold;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use super::struck::{Place, Strike, Struck};
use crate::chaos::writers::seed;
use crate::support::engine::Engine;
use crate::support::postgres::connect;
use crate::support::servers;
use crate::support::workplace::{STEP, Workplace, doomed, fine};

const STEPS: [&str; 5] = ["place", "container", "setup", "address", "host_name"];
const PLACES: [Place; 4] = [Place::BeforeAct, Place::AfterAct, Place::BeforeUndo, Place::AfterUndo];

/// Creations at a time.
const BESIDE: usize = 4;

/// How long a fault may take to come about.
const BOUND: Duration = Duration::from_secs(60);

/// Steps that are held up to be late have so long.
const IMPATIENT: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The step fails, and will fail again.
    Error,
    /// It says nothing.
    Timeout,
    /// It was done, or not, and nobody says so.
    LostAnswer,
    /// The connections to the database end.
    DatabaseLost,
    /// The engine dies with all containers, and comes back.
    EngineRestart,
}

/// All combinations, or on an ordinary day some of them, others each time they are asked for with another seed.
fn chosen(faults: &[Fault], everyday: usize) -> Vec<(Fault, &'static str, Place)> {
    let places = STEPS.iter().flat_map(|step| PLACES.map(|place| (*step, place)));
    let mut all: Vec<_> =
        places.flat_map(|(step, place)| faults.iter().map(move |fault| (*fault, step, place))).collect();
    if servers::scale() == 1 {
        all.shuffle(&mut StdRng::seed_from_u64(seed()));
        all.truncate(everyday);
    }
    all
}

/// One creation to its end, with a fault on its way.
async fn play(workplace: &Workplace, engine: Option<&Mutex<Engine>>, fault: Fault, step: &'static str, place: Place) {
    let is_undo = matches!(place, Place::BeforeUndo | Place::AfterUndo);
    let id = workplace.order(if is_undo { doomed() } else { fine() }).await;
    let (name, hold) = (servers::unique("worker"), Hold::default());
    let strike = match fault {
        Fault::Error if is_undo => Strike::Fails(ErrorKind::Unexplained),
        Fault::Error => Strike::Fails(ErrorKind::Refused),
        Fault::LostAnswer => Strike::Fails(ErrorKind::Unavailable),
        Fault::Timeout | Fault::DatabaseLost | Fault::EngineRestart => Strike::Waits(hold.clone()),
    };
    let struck = Struck { step, place, strike, is_over: Arc::new(AtomicBool::new(false)) };
    let patience = if fault == Fault::Timeout { IMPATIENT } else { STEP };
    let worker = workplace.worker(&name, |step| struck.around(step), patience);
    let striking = async {
        match fault {
            Fault::Error | Fault::Timeout | Fault::LostAnswer => return,
            Fault::DatabaseLost | Fault::EngineRestart => {
                timeout(BOUND, hold.reached())
                    .await
                    .unwrap_or_else(|_| panic!("{fault:?} {step} {place:?}: never there"));
            }
        }
        if fault == Fault::DatabaseLost {
            let sql = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1";
            workplace.deployment.domain.client.query(sql, &[&name]).await.unwrap();
        }
        if let Some(engine) = engine {
            let mut engine = engine.lock().await;
            engine.kill();
            engine.start().await;
        }
        hold.release();
    };
    let (past, ()) = tokio::join!(workplace.finish(&id, &worker), striking);
    if past.saga.log.iter().any(|event| matches!(event, SagaEvent::Left { .. })) {
        workplace.cleanup().round(false).await.unwrap();
    }
    workplace.assert_whole(&id, &past, &format!("{fault:?} {step} {place:?}")).await;
    if past.outcome == Some(SagaOutcome::Done) {
        // It makes room for the others.
        workplace.delete(&id).await;
        workplace.finish(&id, &worker).await;
        assert_eq!(workplace.remains(&id).await, [""; 0], "{fault:?} {step} {place:?}, deleted");
    }
}

#[tokio::test]
async fn whatever_fault_comes_at_whatever_place_of_a_creation_it_is_there_or_nothing_is_left_and_the_index_says_so() {
    let Some(engine) = servers::docker() else { return };
    let workplace = Workplace::new(&engine).await;
    let _indexing = workplace.indexing();
    let began = Instant::now();
    let chosen = chosen(&[Fault::Error, Fault::Timeout, Fault::LostAnswer, Fault::DatabaseLost], 24);
    let count = chosen.len();
    iter(chosen).for_each_concurrent(BESIDE, |(fault, step, place)| play(&workplace, None, fault, step, place)).await;
    workplace.deployment.domain.until_equal().await;
    println!("workspaces: {count} combinations of fault and place in {:?}", began.elapsed());
}

#[tokio::test]
async fn an_engine_that_dies_at_any_place_of_a_creation_leaves_nothing_behind() {
    let Some(shared) = servers::docker() else { return };
    let engine = Engine::new(&shared).await;
    let workplace = Workplace::new(&engine.address()).await;
    let engine = Mutex::new(engine);
    let began = Instant::now();
    let chosen = chosen(&[Fault::EngineRestart], 6);
    let count = chosen.len();
    for (fault, step, place) in chosen {
        play(&workplace, Some(&engine), fault, step, place).await;
    }
    println!("workspaces: an engine that dies, {count} places, in {:?}", began.elapsed());
}

/// Has the process that writes this into a saga's log wait there.
const HOLDING: &str = "
create table holding (subject text, event text, step text);
create function hold_up() returns trigger language plpgsql as $$
declare
    held text := (select h.subject from holding h join outbox.sagas s on s.subject = h.subject
                   where s.id = new.saga and h.event = new.event and h.step = new.step);
begin
    if held is not null then
        perform pg_advisory_xact_lock(778, hashtext(held));
    end if;
    return new;
end
$$;
create trigger hold_up before insert on outbox.saga_log for each row execute function hold_up();";

const WAITING: &str = "
select pid from pg_locks
 where locktype = 'advisory' and classid = 778 and objid = (hashtext($1)::bigint & 4294967295)::oid and not granted";

/// One creation by a process that is killed where it writes this; whether that is written are two cases.
async fn kill_at(workplace: &Workplace, step: &'static str, place: Place, is_written: bool) {
    let (event, params) = match place {
        Place::BeforeAct => ("acting", fine()),
        Place::AfterAct => ("done", fine()),
        Place::BeforeUndo => ("undoing", doomed()),
        Place::AfterUndo => ("undone", doomed()),
    };
    let story = format!("killed {place:?} {step}, written: {is_written}");
    let (client, id) = (connect(&workplace.deployment.domain.url).await, uuid::Uuid::now_v7().to_string());
    client.execute("insert into holding values ($1, $2, $3)", &[&id, &event, &step]).await.unwrap();
    client.execute("select pg_advisory_lock(778, hashtext($1))", &[&id]).await.unwrap();
    let arguments = ["workspace", "create", "--id", &id, "--params", &params.to_string()];
    let mut process = workplace.deployment.job(&id, &arguments);
    process.start();
    let waiting = async {
        loop {
            if let Some(row) = client.query_opt(WAITING, &[&id]).await.unwrap() {
                return row.get::<_, i32>(0);
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    let backend = timeout(BOUND, waiting).await.unwrap_or_else(|_| panic!("{story}: it never came there"));
    process.kill().await;
    if !is_written {
        client.execute("select pg_terminate_backend($1)", &[&backend]).await.unwrap();
    }
    client.execute("delete from holding where subject = $1", &[&id]).await.unwrap();
    client.execute("select pg_advisory_unlock(778, hashtext($1))", &[&id]).await.unwrap();
    let worker = workplace.worker(&servers::unique("worker"), |step| step, STEP);
    let past = workplace.finish(&id, &worker).await;
    workplace.assert_whole(&id, &past, &story).await;
}

#[tokio::test]
async fn a_process_that_is_killed_at_any_place_of_a_creation_leaves_nothing_behind() {
    let Some(engine) = servers::docker() else { return };
    let workplace = Workplace::new(&engine).await;
    workplace.configure();
    workplace.deployment.domain.execute(HOLDING).await;
    let began = Instant::now();
    let places = STEPS.iter().flat_map(|step| PLACES.map(|place| (*step, place)));
    let mut all: Vec<_> =
        places.flat_map(|(step, place)| [false, true].map(|is_written| (step, place, is_written))).collect();
    if servers::scale() == 1 {
        all.shuffle(&mut StdRng::seed_from_u64(seed()));
        all.truncate(12);
    }
    let count = all.len();
    iter(all)
        .for_each_concurrent(BESIDE, |(step, place, is_written)| kill_at(&workplace, step, place, is_written))
        .await;
    println!("workspaces: a process that is killed, {count} places, in {:?}", began.elapsed());
}
