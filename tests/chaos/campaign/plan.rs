//! Which faults strike when: drawn from a seed, pure.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::servers::{BROKERS, NODES};
use super::{ROUNDS, SEEDS};
use crate::support::index_proxy::Bulks;
use crate::support::proxy::Link;

/// How messages travel, and what is promised of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    AtLeastOnce,
    ExactlyOnce,
    Direct,
}

impl Mode {
    /// Consecutive seeds take turns.
    pub fn of(seed: u64) -> Self {
        match seed % 3 {
            0 => Self::AtLeastOnce,
            1 => Self::ExactlyOnce,
            _ => Self::Direct,
        }
    }

    pub fn has_broker(self) -> bool {
        match self {
            Self::AtLeastOnce | Self::ExactlyOnce => true,
            Self::Direct => false,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtLeastOnce => "at_least_once",
            Self::ExactlyOnce => "exactly_once",
            Self::Direct => "direct",
        })
    }
}

/// One of two processes of a kind. Without a broker every process is both, and counts as a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    LeadingRelay,
    OtherRelay,
    Indexer(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// The primary.
    Postgres,
    /// One of them.
    Broker(usize),
    /// All brokers.
    Kafka,
    /// One of them.
    Node(usize),
    /// All nodes.
    Elasticsearch,
}

impl Server {
    /// Of two servers of one system, no more than one is struck at a time.
    fn system(self) -> Self {
        match self {
            Self::Postgres => Self::Postgres,
            Self::Broker(_) | Self::Kafka => Self::Kafka,
            Self::Node(_) | Self::Elasticsearch => Self::Elasticsearch,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Broker(_) => "one broker",
            Self::Kafka => "Kafka",
            Self::Node(_) => "one node",
            Self::Elasticsearch => "Elasticsearch",
        }
    }
}

/// A way from a client to a server. Without a broker, what is both takes the relay's way to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    RelayToPostgres,
    RelayToKafka,
    IndexerToKafka,
    IndexerToPostgres,
    IndexerToElasticsearch,
}

/// Whose way it is: of one of the two processes that take it, or of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    One(usize),
    Both,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`; a new one is started afterwards.
    Kill(Process),
    Freeze(Process),
    /// An orderly end; a new one is started afterwards, and partitions move twice.
    Leave(Process),
    /// All processes of a server are killed; it is started again with its data.
    KillServer(Server),
    FreezeServer(Server),
    /// PostgreSQL's primary is lost with the last it committed, and its standby takes its place.
    Promote,
    /// The clock of PostgreSQL's primary jumps that many seconds, and back.
    Jump(i64),
    Network(Wire, Whose, Link),
    /// Connections are silent, and then lost: what waited for an answer never gets one.
    Lose(Wire, Whose),
    Answers(Bulks),
}

impl Fault {
    /// What a fault of its kind is called.
    pub fn kind(self) -> String {
        let process = |process| match process {
            Process::LeadingRelay | Process::OtherRelay => "relay",
            Process::Indexer(_) => "indexer",
        };
        match self {
            Self::Kill(one) => format!("kill {}", process(one)),
            Self::Freeze(one) => format!("freeze {}", process(one)),
            Self::Leave(one) => format!("leave {}", process(one)),
            Self::KillServer(server) => format!("kill {}", server.name()),
            Self::FreezeServer(server) => format!("freeze {}", server.name()),
            Self::Promote => "promote the standby".to_owned(),
            Self::Jump(seconds) if seconds < 0 => "clock set back".to_owned(),
            Self::Jump(_) => "clock set forward".to_owned(),
            Self::Network(_, _, link) => match link {
                Link::Open => "open".to_owned(),
                Link::Cut => "cut".to_owned(),
                Link::Reset => "reset".to_owned(),
                Link::Silent => "black hole".to_owned(),
                Link::Slow(_) => "slow network".to_owned(),
            },
            Self::Lose(..) => "lost connections".to_owned(),
            Self::Answers(bulks) => match bulks {
                Bulks::Pass => "none".to_owned(),
                Bulks::Refused => "429".to_owned(),
                Bulks::Unavailable => "503".to_owned(),
                Bulks::HalfRefused => "partial failure".to_owned(),
                Bulks::AnswerLost => "answer lost".to_owned(),
                Bulks::Unguarded => "no guard".to_owned(),
            },
        }
    }

    /// What it does and to whom, without what is drawn anew each time.
    fn card(self) -> String {
        match self {
            Self::Network(wire, ..) | Self::Lose(wire, _) => format!("{}: {wire:?}", self.kind()),
            Self::Kill(_) | Self::Freeze(_) | Self::Leave(_) => format!("{self:?}"),
            Self::KillServer(_) | Self::FreezeServer(_) | Self::Promote | Self::Jump(_) | Self::Answers(_) => {
                self.kind()
            }
        }
    }

    /// Of two faults that would undo each other, only one strikes at a time. Restarts wait for each other.
    fn excludes(self, other: Self) -> bool {
        match (self, other) {
            (Self::Kill(one) | Self::Freeze(one) | Self::Leave(one), _) => {
                matches!(other, Self::Kill(two) | Self::Freeze(two) | Self::Leave(two) if one == two)
            }
            (Self::KillServer(_) | Self::Promote, Self::KillServer(_) | Self::Promote) => true,
            (Self::KillServer(one) | Self::FreezeServer(one), Self::KillServer(two) | Self::FreezeServer(two)) => {
                one.system() == two.system()
            }
            (Self::Promote, Self::FreezeServer(server)) | (Self::FreezeServer(server), Self::Promote) => {
                server == Server::Postgres
            }
            (Self::Jump(_), Self::Jump(_)) => true,
            (Self::Network(one, ..) | Self::Lose(one, _), Self::Network(two, ..) | Self::Lose(two, _)) => one == two,
            (Self::Answers(_), Self::Answers(_)) => true,
            (Self::KillServer(_) | Self::FreezeServer(_) | Self::Promote | Self::Jump(_), _)
            | (Self::Network(..) | Self::Lose(..) | Self::Answers(_), _) => false,
        }
    }

    /// How long it lasts, in milliseconds: shorter and longer than leases, sessions and time-outs.
    fn lasting(self, random: &mut StdRng) -> u64 {
        match self {
            Self::Kill(_) | Self::Leave(_) => random.random_range(0..1_500),
            Self::KillServer(_) => random.random_range(0..1_000),
            Self::Freeze(_) => random.random_range(300..5_000),
            Self::FreezeServer(_) | Self::Promote | Self::Jump(_) | Self::Network(..) | Self::Lose(..) => {
                random.random_range(300..4_000)
            }
            Self::Answers(_) => random.random_range(500..3_000),
        }
    }
}

/// A fault and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strike {
    pub fault: Fault,
    /// Since the round began.
    pub after: Duration,
    pub lasting: Duration,
}

/// Strikes that overlap. The next round begins when all of them are over, whatever has recovered by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// Of quiet before it.
    pub rest: Duration,
    pub strikes: Vec<Strike>,
}

fn whose(random: &mut StdRng) -> Whose {
    match random.random_range(0..4) {
        number @ 0..2 => Whose::One(number),
        _ => Whose::Both,
    }
}

/// All that can go wrong in this mode.
fn deck(mode: Mode, random: &mut StdRng) -> Vec<Fault> {
    let mut processes = vec![Process::LeadingRelay, Process::OtherRelay];
    let mut servers = vec![Server::Postgres, Server::Node(random.random_range(0..NODES)), Server::Elasticsearch];
    let mut wires = vec![Wire::RelayToPostgres, Wire::IndexerToElasticsearch];
    if mode.has_broker() {
        processes.extend([Process::Indexer(0), Process::Indexer(1)]);
        servers.extend([Server::Broker(random.random_range(0..BROKERS)), Server::Kafka]);
        wires.extend([Wire::RelayToKafka, Wire::IndexerToKafka, Wire::IndexerToPostgres]);
    }
    let mut deck = Vec::new();
    for process in processes {
        deck.extend([Fault::Kill(process), Fault::Freeze(process), Fault::Leave(process)]);
    }
    for server in servers {
        deck.extend([Fault::KillServer(server), Fault::FreezeServer(server)]);
    }
    deck.extend([Fault::Promote, Fault::Promote]);
    // As far as nobody would set a clock by hand, and as little as one that is corrected.
    let far = random.random_range(600..7_200);
    deck.extend([far, -far, random.random_range(1..5), -random.random_range(1..5)].map(Fault::Jump));
    for wire in wires {
        let slow = Link::Slow(Duration::from_millis(random.random_range(10..150)));
        for link in [Link::Cut, Link::Reset, Link::Silent, slow] {
            deck.push(Fault::Network(wire, whose(random), link));
        }
        deck.push(Fault::Lose(wire, whose(random)));
    }
    let answers = [Bulks::Refused, Bulks::Unavailable, Bulks::HalfRefused, Bulks::AnswerLost];
    deck.extend(answers.map(Fault::Answers));
    deck.shuffle(random);
    deck
}

/// The schedule of a seed. Faults are dealt like cards: each comes once before any comes again.
pub fn schedule(seed: u64, mode: Mode, rounds: u64) -> Vec<Round> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut cards = Vec::new();
    let mut schedule = Vec::new();
    for _ in 0..rounds {
        let mut round = Round { rest: Duration::from_millis(random.random_range(200..1_500)), strikes: Vec::new() };
        for _ in 0..random.random_range(1..=3) {
            if cards.is_empty() {
                cards = deck(mode, &mut random);
            }
            let fits = |fault: &Fault| !round.strikes.iter().any(|strike: &Strike| strike.fault.excludes(*fault));
            let Some(place) = cards.iter().position(fits) else { continue };
            let fault = cards.remove(place);
            let after = Duration::from_millis(random.random_range(0..1_000));
            let lasting = Duration::from_millis(fault.lasting(&mut random));
            round.strikes.push(Strike { fault, after, lasting });
        }
        schedule.push(round);
    }
    schedule
}

#[test]
fn a_seed_has_one_schedule_in_which_every_fault_comes_before_one_comes_again() {
    for seed in 0..30 {
        let mode = Mode::of(seed);
        let plan = schedule(seed, mode, 100);
        assert_eq!(plan, schedule(seed, mode, 100));
        assert_ne!(plan, schedule(seed + 3, mode, 100));
        let mut all: Vec<_> = deck(mode, &mut StdRng::seed_from_u64(0)).into_iter().map(Fault::card).collect();
        let dealt = plan.iter().flat_map(|round| &round.strikes).map(|strike| strike.fault.card());
        let mut dealt: Vec<_> = dealt.take(all.len()).collect();
        all.sort();
        dealt.sort();
        assert_eq!(dealt, all);
        for Round { strikes, .. } in &plan {
            for (place, strike) in strikes.iter().enumerate() {
                assert!(!strikes[..place].iter().any(|other| other.fault.excludes(strike.fault)), "{strikes:?}");
            }
        }
    }
}

#[test]
fn the_seeds_of_the_everyday_size_have_every_kind_of_fault() {
    let kinds = |faults: &mut dyn Iterator<Item = Fault>| -> BTreeSet<String> { faults.map(Fault::kind).collect() };
    let all = kinds(&mut deck(Mode::ExactlyOnce, &mut StdRng::seed_from_u64(0)).into_iter());
    let rounds: Vec<_> = SEEDS.into_iter().flat_map(|seed| schedule(seed, Mode::of(seed), ROUNDS)).collect();
    let struck = kinds(&mut rounds.iter().flat_map(|round| &round.strikes).map(|strike| strike.fault));
    assert_eq!(struck, all);
    for seed in SEEDS {
        let plan = schedule(seed, Mode::of(seed), ROUNDS);
        let mut strikes = plan.iter().flat_map(|round| &round.strikes);
        assert!(strikes.any(|strike| strike.fault == Fault::Promote), "{seed} has no promotion");
    }
    let modes = SEEDS.map(Mode::of);
    assert_eq!(modes, [Mode::AtLeastOnce, Mode::ExactlyOnce, Mode::Direct]);
}
