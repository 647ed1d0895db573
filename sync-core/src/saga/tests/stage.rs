//! A journey whose bookings go wrong where a test says, and a worker that books it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::pending;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::adapter::memory::MemorySagas;
use crate::error::{Error, ErrorKind};
use crate::port::{PastSaga, SagaEvent, SagaOrder, SagaOutcome, Sagas as _};
use crate::saga::{SagaConfig, SagaDefinition, SagaStep, SagaWorker, StepContext};

pub(super) const STEPS: [&str; 3] = ["flight", "hotel", "car"];
pub(super) const KIND: &str = "trip";
pub(super) const LEASE: Duration = Duration::from_secs(15);
/// The time a saga is allowed.
pub(super) const ALLOWED: Duration = Duration::from_secs(600);

/// Where in a step something goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    BeforeAct,
    AfterAct,
    BeforeUndo,
    AfterUndo,
}

/// What goes wrong there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Fails(ErrorKind),
    /// The step says nothing any more; tests then let the process die, or wait.
    Hangs,
}

/// What the steps change, and what goes wrong with them.
#[derive(Debug)]
pub(super) struct World {
    booked: Mutex<BTreeSet<&'static str>>,
    /// Each is met so many times.
    troubles: Mutex<Vec<(&'static str, Place, Trouble, usize)>>,
    hanging: Semaphore,
    calls: Mutex<Vec<String>>,
}

impl World {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            booked: Mutex::default(),
            troubles: Mutex::default(),
            hanging: Semaphore::new(0),
            calls: Mutex::default(),
        })
    }

    pub(super) fn trouble(&self, step: &'static str, place: Place, trouble: Trouble, times: usize) {
        self.troubles.lock().unwrap().push((step, place, trouble, times));
    }

    pub(super) fn booked(&self) -> Vec<&'static str> {
        self.booked.lock().unwrap().iter().copied().collect()
    }

    async fn meet(&self, step: &'static str, place: Place) -> Result<(), Error> {
        let met = {
            let mut troubles = self.troubles.lock().unwrap();
            let here = troubles.iter_mut().find(|(at, when, _, left)| (*at, *when) == (step, place) && *left > 0);
            here.map(|(_, _, trouble, left)| {
                *left -= 1;
                *trouble
            })
        };
        match met {
            None => Ok(()),
            Some(Trouble::Fails(kind)) => Err(Error::new(kind, format!("{step} is full"))),
            Some(Trouble::Hangs) => {
                self.hanging.add_permits(1);
                pending().await
            }
        }
    }

    pub(super) async fn until_hanging(&self) {
        self.hanging.acquire().await.unwrap().forget();
    }
}

#[derive(Debug)]
struct Booking {
    name: &'static str,
    world: Arc<World>,
    may_be_repeated: bool,
}

#[async_trait]
impl SagaStep for Booking {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn act(&self, context: StepContext<'_>) -> Result<Value, Error> {
        self.world.calls.lock().unwrap().push(format!("+{}", self.name));
        self.world.meet(self.name, Place::BeforeAct).await?;
        self.world.booked.lock().unwrap().insert(self.name);
        self.world.meet(self.name, Place::AfterAct).await?;
        Ok(json!([context.subject, context.params["to"], context.outputs.len()]))
    }

    async fn undo(&self, _: StepContext<'_>) -> Result<(), Error> {
        self.world.calls.lock().unwrap().push(format!("-{}", self.name));
        self.world.meet(self.name, Place::BeforeUndo).await?;
        self.world.booked.lock().unwrap().remove(self.name);
        self.world.meet(self.name, Place::AfterUndo).await
    }

    fn may_be_repeated(&self) -> bool {
        self.may_be_repeated
    }
}

/// How sagas ended, and why.
type Endings = Arc<Mutex<Vec<(SagaOutcome, Option<String>)>>>;

type Refusals = Arc<Mutex<Vec<(SagaOutcome, ErrorKind)>>>;

pub(super) struct Stage {
    pub(super) world: Arc<World>,
    pub(super) sagas: MemorySagas,
    /// What was told when sagas ended.
    pub(super) endings: Endings,
    /// Ends that fail, each once, and how.
    pub(super) refusals: Refusals,
    pub(super) may_be_repeated: bool,
    pub(super) config: SagaConfig,
}

impl Stage {
    pub(super) async fn new() -> Self {
        let (endings, refusals) = (Endings::default(), Refusals::default());
        let (told, refused) = (Arc::clone(&endings), Arc::clone(&refusals));
        let sagas = MemorySagas::new(LEASE).with_ending(move |_, ending| {
            let mut refused = refused.lock().unwrap();
            if let Some(place) = refused.iter().position(|(outcome, _)| *outcome == ending.outcome) {
                let (_, kind) = refused.remove(place);
                return Err(Error::new(kind, "the traveller is unknown"));
            }
            told.lock().unwrap().push((ending.outcome, ending.error.clone()));
            Ok(())
        });
        let stage = Self {
            world: World::new(),
            sagas,
            endings,
            refusals,
            may_be_repeated: true,
            config: SagaConfig::default(),
        };
        let params = json!({ "to": "rome" });
        let order = SagaOrder { kind: KIND.to_owned(), subject: "anna".to_owned(), params, time_allowed: ALLOWED };
        stage.sagas.begin(&order).await.unwrap();
        stage
    }

    pub(super) fn steps(&self) -> Vec<Arc<dyn SagaStep>> {
        let booking = |name| {
            let (world, may_be_repeated) = (Arc::clone(&self.world), self.may_be_repeated);
            Arc::new(Booking { name, world, may_be_repeated }) as Arc<dyn SagaStep>
        };
        STEPS.map(booking).to_vec()
    }

    pub(super) fn worker(&self) -> SagaWorker {
        let definitions =
            vec![SagaDefinition::new(KIND, self.steps()), SagaDefinition::undoing("return", self.steps())];
        SagaWorker::new(Arc::new(self.sagas.another()), definitions, self.config).unwrap()
    }

    /// Works until everything that was begun is over.
    pub(super) async fn until_over(&self) -> PastSaga {
        let (worker, shutdown) = (self.worker(), CancellationToken::new());
        let over = async {
            while self.sagas.list(None, 9).await.unwrap().iter().any(|past| past.outcome.is_none()) {
                sleep(Duration::from_millis(50)).await;
            }
            shutdown.cancel();
        };
        timeout(Duration::from_secs(3_600), futures::future::join(worker.run(shutdown.clone()), over)).await.unwrap();
        self.sagas.list(None, 9).await.unwrap().remove(0)
    }

    /// Works until something hangs, and dies there.
    pub(super) async fn until_dead(&self) {
        let worker = self.worker();
        tokio::select! {
            () = worker.run(CancellationToken::new()) => {}
            () = self.world.until_hanging() => {}
        }
    }

    pub(super) fn calls(&self) -> String {
        self.world.calls.lock().unwrap().join(" ")
    }

    pub(super) fn ending(&self) -> (SagaOutcome, String) {
        let mut endings = self.endings.lock().unwrap();
        assert_eq!(endings.len(), 1, "{endings:?}");
        let (outcome, error) = endings.remove(0);
        (outcome, error.unwrap_or_default())
    }

    /// Whether everything is there, as the end says, or nothing.
    pub(super) fn is_whole(&self) -> bool {
        let (outcome, _) = self.ending();
        self.world.booked().len() == if outcome == SagaOutcome::Done { STEPS.len() } else { 0 }
    }

    /// What is noted as left.
    pub(super) async fn left(&self) -> BTreeSet<String> {
        let log = self.sagas.list(None, 1).await.unwrap().remove(0).saga.log;
        let left = |event| if let SagaEvent::Left { step, .. } = event { Some(step) } else { None };
        log.into_iter().filter_map(left).collect()
    }
}
