//! What goes wrong at the calls of ports, and how long they take, drawn from a seed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sync_core::{Error, ErrorKind};
use tokio::task::yield_now;
use tokio::time::sleep;

/// Many small decisions out of one random number: quick where thousands of histories are drawn in a second.
#[derive(Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// A number from `0` to `sides - 1`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        let rolled = self.0 % sides;
        self.0 /= sides;
        rolled
    }
}

/// How long a call takes at one place.
#[derive(Clone, Copy, Debug)]
pub enum Pause {
    None,
    /// That many turns of everybody else.
    Turns(u64),
    Millis(u64),
}

impl Pause {
    fn draw(dice: &mut Dice) -> Self {
        match dice.roll(8) {
            0..5 => Self::None,
            5..7 => Self::Turns(1 + dice.roll(2)),
            _ => Self::Millis(1 + dice.roll(25)),
        }
    }

    pub async fn rest(self) {
        match self {
            Self::None => {}
            Self::Turns(turns) => {
                for _ in 0..turns {
                    yield_now().await;
                }
            }
            Self::Millis(millis) => sleep(Duration::from_millis(millis)).await,
        }
    }
}

/// What happens to one call.
#[derive(Debug)]
pub struct Fate {
    pub before: Pause,
    /// Not carried out.
    pub refused: bool,
    pub after: Pause,
    /// Carried out, but nobody is told.
    pub lost: bool,
    /// For what only some ports know.
    pub dice: Dice,
}

/// The weather at one place; each place draws from a stream of its own, and all get calm together.
#[derive(Clone, Debug)]
pub struct Weather {
    sky: Arc<Sky>,
    random: Arc<Mutex<StdRng>>,
}

#[derive(Debug)]
struct Sky {
    calm: AtomicBool,
    /// Of a hundred calls, how many fail.
    odds: u64,
    faults: AtomicU64,
}

impl Weather {
    /// Of a hundred calls, `odds` are refused or lose their answer.
    pub fn new(seed: u64, odds: u64) -> Self {
        let sky = Sky { calm: AtomicBool::new(false), odds, faults: AtomicU64::new(0) };
        Self { sky: Arc::new(sky), random: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))) }
    }

    /// The weather at one more place.
    pub fn place(&self) -> Self {
        let seed = self.random.lock().unwrap().random();
        Self { sky: Arc::clone(&self.sky), random: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))) }
    }

    /// From here on every call goes through at once.
    pub fn calm_down(&self) {
        self.sky.calm.store(true, Ordering::Relaxed);
    }

    pub fn is_calm(&self) -> bool {
        self.sky.calm.load(Ordering::Relaxed)
    }

    /// How many calls failed, everywhere.
    pub fn faults(&self) -> u64 {
        self.sky.faults.load(Ordering::Relaxed)
    }

    pub fn draw(&self) -> Fate {
        if self.is_calm() {
            return Fate { before: Pause::None, refused: false, after: Pause::None, lost: false, dice: Dice(0) };
        }
        let mut dice = Dice(self.random.lock().unwrap().random());
        let (before, after) = (Pause::draw(&mut dice), Pause::draw(&mut dice));
        let fails = dice.roll(100) < self.sky.odds;
        let refused = fails && dice.roll(2) == 0;
        if fails {
            self.sky.faults.fetch_add(1, Ordering::Relaxed);
        }
        Fate { before, refused, after, lost: fails && !refused, dice }
    }

    /// Carries out a call, or does not, or does and tells nobody. Dropped while it rests, either may be the case.
    pub async fn call<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let fate = self.draw();
        fate.before.rest().await;
        if fate.refused {
            return Err(unavailable("refused"));
        }
        let answer = call.await;
        fate.after.rest().await;
        if fate.lost { answer.and(Err(unavailable("carried out, and the answer was lost"))) } else { answer }
    }
}

pub fn unavailable(what: &str) -> Error {
    Error::new(ErrorKind::Unavailable, what)
}
