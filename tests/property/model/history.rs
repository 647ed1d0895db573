//! One history: writers write, rooms come and go, things go wrong; then all gets calm, and the oracle is asked.

use std::fmt;
use std::time::Duration;

use futures::future::try_join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sync_core::adapter::memory::ManualClock;
use sync_core::port::{DeadLetters, Incoming, KeptLetter, LetterSelection};
use sync_core::repair::{Replayed, replay};
use sync_core::testkit::oracle::{Oracle, Violation};
use tokio::runtime::Builder;
use tokio::time::{sleep, timeout};

use super::broken::Broken;
use super::process::Process;
use super::weather::{Dice, Pause, Weather};
use super::world::{Bus, TOPICS, World};
use super::writers::Writers;

/// How long everything may take to settle once it is calm, on the paused clock.
const BOUND: Duration = Duration::from_secs(600);

/// Of a hundred calls of ports, how many fail: some histories are quiet, some are nothing but trouble.
const ODDS: [u64; 6] = [0, 3, 8, 15, 30, 50];

/// What one history came to.
#[derive(Debug, Default)]
pub struct Verdict {
    pub violations: Vec<Violation>,
    /// What no oracle can judge: nothing moves any more, or a room ended by itself.
    pub trouble: Vec<String>,
    pub steps: Vec<Step>,
    pub committed: u64,
    pub faults: u64,
    pub kills: u64,
    /// Dead letters at the end.
    pub parked: u64,
    /// Transactions on the bus that were committed while things went wrong.
    pub transactions: u64,
}

impl Verdict {
    pub fn is_good(&self) -> bool {
        self.violations.is_empty() && self.trouble.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.violations.iter().try_for_each(|violation| writeln!(f, "{violation}"))?;
        self.trouble.iter().try_for_each(|trouble| writeln!(f, "{trouble}"))?;
        write!(f, "{} events, {} faults, {:?}", self.committed, self.faults, self.steps)
    }
}

/// A step of a history.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Write,
    End,
    Rest(Pause),
    /// A message that lies on the bus is sent once more.
    Repeat,
    Start(usize),
    Kill(usize),
    Stop(usize),
    Freeze(usize),
    Thaw(usize),
}

/// Who may run: two relays, and two indexers for each topic.
#[derive(Clone, Copy, Debug)]
enum Role {
    Relay(&'static str),
    Indexer(&'static str),
}

const ROLES: [Role; 6] = [
    Role::Relay("one"),
    Role::Relay("two"),
    Role::Indexer(TOPICS[0]),
    Role::Indexer(TOPICS[0]),
    Role::Indexer(TOPICS[1]),
    Role::Indexer(TOPICS[1]),
];

/// Plays the history of a seed.
pub fn play(seed: u64, broken: Broken) -> Verdict {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { History::new(seed, broken).play().await })
}

struct History {
    random: StdRng,
    world: World,
    writers: Writers,
    /// By the places of [`ROLES`].
    running: [Option<Process>; ROLES.len()],
    /// Told to end, or dead.
    ended: Vec<Process>,
    verdict: Verdict,
}

impl History {
    fn new(seed: u64, broken: Broken) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut dice = Dice(random.random());
        let weather = Weather::new(random.random(), ODDS[dice.roll(ODDS.len() as u64) as usize]);
        let world = World::new(weather, &mut dice, broken);
        let writers = Writers::new(world.database.clone(), world.oracle.clone());
        Self { random, world, writers, running: Default::default(), ended: Vec::new(), verdict: Verdict::default() }
    }

    async fn play(mut self) -> Verdict {
        for place in [0, 1, 2, 4] {
            // Somebody is there to take over, or not.
            if place != 1 || self.random.random() {
                self.start(place);
            }
        }
        for _ in 0..self.random.random_range(10..60) {
            let mut dice = Dice(self.random.random());
            let step = draw(&mut dice);
            self.verdict.steps.push(step);
            self.take(step, &mut dice).await;
        }
        self.settle().await;
        self.judge().await;
        self.verdict.faults = self.world.weather.faults();
        self.verdict.committed = self.writers.committed;
        self.verdict
    }

    async fn take(&mut self, step: Step, dice: &mut Dice) {
        match step {
            Step::Write => self.writers.write(dice),
            Step::End => self.writers.end(dice),
            Step::Rest(pause) => pause.rest().await,
            Step::Repeat => self.repeat(dice),
            Step::Start(place) => self.start(place),
            Step::Kill(place) => {
                if let Some(process) = self.running[place].take() {
                    process.kill();
                    self.verdict.kills += 1;
                    self.ended.push(process);
                }
            }
            Step::Stop(place) => {
                if let Some(process) = self.running[place].take() {
                    process.stop();
                    self.ended.push(process);
                }
            }
            Step::Freeze(place) => self.running[place].iter().for_each(Process::freeze),
            Step::Thaw(place) => self.running[place].iter().for_each(Process::thaw),
        }
    }

    fn start(&mut self, place: usize) {
        // A direct topic has one consumer; a second one would do nothing but ask again and again.
        let is_second = matches!(ROLES[place], Role::Indexer(_)) && place % 2 == 1;
        if self.running[place].is_some() || is_second && matches!(self.world.bus, Bus::Direct(_)) {
            return;
        }
        self.running[place] = Some(match ROLES[place] {
            Role::Relay(holder) => {
                let relay = self.world.relay(holder);
                Process::start(|shutdown| async move { relay.run(shutdown).await })
            }
            Role::Indexer(topic) => {
                let indexers = self.world.indexers(topic);
                Process::start(|shutdown| async move {
                    let running = indexers.iter().map(|indexer| indexer.run(shutdown.clone()));
                    try_join_all(running).await.map(drop)
                })
            }
        });
    }

    fn repeat(&self, dice: &mut Dice) {
        // Who wants each event once sends nothing himself.
        let (Bus::Stored(bus), None) = (&self.world.bus, &self.world.transactor) else { return };
        let topic = TOPICS[dice.roll(2) as usize];
        let messages = bus.messages(topic);
        if messages.is_empty() {
            return;
        }
        let Incoming { partition, key, value, headers, .. } = &messages[dice.roll(messages.len() as u64) as usize];
        bus.write(topic, partition.number, key.clone(), value.clone(), headers.clone());
    }

    /// The end of all trouble: whoever runs goes on, and every role has somebody.
    async fn settle(&mut self) {
        self.verdict.transactions = self.world.marks.lock().unwrap().len() as u64;
        self.world.weather.calm_down();
        let mut dice = Dice(self.random.random());
        self.writers.end_all(&mut dice);
        for (place, process) in self.running.iter().enumerate() {
            let Some(process) = process else { continue };
            process.thaw();
            self.verdict.steps.push(Step::Thaw(place));
        }
        for process in &self.ended {
            process.thaw();
        }
        for pair in [0, 2, 4] {
            if self.running[pair].is_none() && self.running[pair + 1].is_none() {
                self.verdict.steps.push(Step::Start(pair));
                self.start(pair);
            }
        }
        let settled = async {
            let mut millis = 1;
            while !self.world.is_settled().await {
                sleep(Duration::from_millis(millis)).await;
                millis = (millis * 2).min(1_000);
            }
        };
        if timeout(BOUND, settled).await.is_err() {
            self.verdict.trouble.push(format!("nothing is left to go wrong, and it is not done after {BOUND:?}"));
        }
    }

    async fn judge(&mut self) {
        for process in self.running.iter_mut().filter_map(Option::take) {
            process.stop();
            self.ended.push(process);
        }
        let ending = async {
            let mut trouble = Vec::new();
            for process in self.ended.drain(..) {
                trouble.extend(process.end().await);
            }
            self.world.late.close();
            self.world.late.wait().await;
            trouble
        };
        match timeout(BOUND, ending).await {
            Ok(trouble) => self.verdict.trouble.extend(trouble),
            Err(_) => self.verdict.trouble.push(format!("something does not end within {BOUND:?}")),
        }
        let World { oracle, bus, indexes, letters, database, .. } = &self.world;
        let mut oracle = std::mem::take(&mut *oracle.lock().unwrap());
        for topic in TOPICS {
            if let Bus::Stored(bus) = bus {
                bus.messages(topic).iter().for_each(|message| oracle.seen(message));
            }
        }
        let mut afterwards = oracle.clone();
        let kept = letters.list(&LetterSelection::default(), 0, usize::MAX).await.unwrap();
        for KeptLetter { letter, .. } in &kept {
            oracle.letter(letter.origin.clone(), letter.key.as_deref());
        }
        self.tell_the_end(&mut oracle).await;
        self.verdict.violations = oracle.violations();
        // Whatever was parked has only to be tried again: then nothing is missing any more.
        let clock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
        for kept in &kept {
            let replayed = replay(kept, database, &*indexes[kept.letter.reader.as_str()], letters, &clock).await;
            if !matches!(replayed, Ok(Replayed::Done)) {
                self.verdict.trouble.push(format!("a letter cannot be replayed: {replayed:?}"));
            }
        }
        self.tell_the_end(&mut afterwards).await;
        self.verdict.violations.extend(afterwards.violations());
        self.verdict.parked = kept.len() as u64;
    }

    /// What database and indexes hold.
    async fn tell_the_end(&self, oracle: &mut Oracle) {
        let indexes = &self.world.indexes;
        for topic in TOPICS {
            oracle.counted(topic, indexes[topic].count().await.unwrap());
        }
        for (topic, row) in self.writers.rows() {
            oracle.row(topic, &row);
            let stored = indexes[topic].fetch(std::slice::from_ref(&row.key)).await.unwrap();
            if let [Some(stored)] = &stored[..] {
                oracle.document(topic, &row.key, stored);
            }
        }
    }
}

fn draw(dice: &mut Dice) -> Step {
    let place = dice.roll(ROLES.len() as u64) as usize;
    match dice.roll(100) {
        0..35 => Step::Write,
        35..52 => Step::End,
        52..68 => Step::Rest(Pause::Turns(1 + dice.roll(8))),
        68..74 => Step::Rest(Pause::Millis(1 + dice.roll(40))),
        // Long enough for a lease to run out.
        74..76 => Step::Rest(Pause::Millis(200 + dice.roll(400))),
        76..78 => Step::Repeat,
        78..86 => Step::Start(place),
        86..91 => Step::Kill(place),
        91..94 => Step::Stop(place),
        94..97 => Step::Freeze(place),
        _ => Step::Thaw(place),
    }
}
