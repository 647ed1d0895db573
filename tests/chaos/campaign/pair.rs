//! A primary and its standby: what strikes the primary, how the standby takes its place, and what is lost then.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;
use sync_core::port::{Incoming, Origin};

use crate::support::cluster::Cluster;
use crate::support::process::Frozen;

/// Many connections, transactions that are prepared, and a standby that is never far behind nor left behind.
const SETTINGS: &[&str] = &[
    "max_connections = 200",
    "max_prepared_transactions = 20",
    "wal_keep_size = 256MB",
    "wal_retrieve_retry_interval = 200ms",
];

/// Two clusters, of which one follows the other. All of it blocks.
pub struct Pair {
    primary: Cluster,
    standby: Cluster,
}

impl Pair {
    pub fn start() -> Self {
        let primary = Cluster::start_with_clock(SETTINGS);
        let standby = primary.standby();
        Self { primary, standby }
    }

    /// Host and port of both, who stay there when they change places.
    pub fn addresses(&self) -> [String; 2] {
        [self.primary.address(), self.standby.address()]
    }

    /// The primary ends as in a crash.
    pub fn kill(&mut self) {
        self.primary.kill();
    }

    /// It is started again, with its data.
    pub fn run(&mut self) {
        self.primary.run();
    }

    pub fn freeze(&self) -> Frozen {
        self.primary.freeze()
    }

    /// Whether clocks can jump on this machine.
    pub fn has_clocks(&self) -> bool {
        self.primary.has_clock()
    }

    /// The primary's clock jumps.
    pub fn jump(&self, seconds: i64) {
        self.primary.set_clock(seconds);
    }

    /// All clocks are right again.
    pub fn set_clocks(&self) {
        for cluster in [&self.primary, &self.standby] {
            cluster.set_clock(0);
        }
    }

    /// From now on the standby gets nothing of what is committed.
    pub fn cut_off(&mut self) {
        self.standby.cut_off();
    }

    /// The primary is gone, the standby takes writes in its place, and what was the primary follows it. Says what this
    /// database does not have any more.
    pub fn take_over(&mut self, database: &str) -> Lost {
        self.primary.kill();
        self.standby.promote();
        let mut lost = self.primary.look_into(|before| Lost::of(before, database));
        lost.keep_only_what_is_not_in(&Lost::of(&self.standby, database));
        std::mem::swap(&mut self.primary, &mut self.standby);
        self.standby.follow(&self.primary);
        lost
    }
}

/// An event as nobody else can be: ids, keys and versions are given out again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Committed {
    pub topic: String,
    pub key: String,
    pub id: i64,
    /// In microseconds.
    pub created_at: i64,
}

/// All of them.
pub const EVENTS: &str = "select topic, key, id, (extract(epoch from created_at) * 1000000)::bigint as created_at
    from outbox.events order by id";

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LostLetter {
    topic: String,
    partition: i32,
    offset: i64,
    key: Option<String>,
}

/// What a database held that took its place from it.
#[derive(Clone, Debug, Default)]
pub struct Lost {
    /// How often that happened.
    promotions: i64,
    events: BTreeSet<Committed>,
    letters: BTreeSet<LostLetter>,
}

impl Lost {
    fn of(cluster: &Cluster, database: &str) -> Self {
        let rows = |sql: &str| -> Vec<Value> {
            let answer = cluster.answer_in(database, &format!("select to_jsonb(t) from ({sql}) t"));
            answer.lines().map(|row| serde_json::from_str(row).unwrap()).collect()
        };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let event = |row: Value| Committed {
            topic: text(&row["topic"]).unwrap(),
            key: text(&row["key"]).unwrap(),
            id: row["id"].as_i64().unwrap(),
            created_at: row["created_at"].as_i64().unwrap(),
        };
        let letter = |row: Value| LostLetter {
            topic: text(&row["topic"]).unwrap(),
            partition: i32::try_from(row["partition"].as_i64().unwrap()).unwrap(),
            offset: row["offset"].as_i64().unwrap(),
            key: text(&row["key"]),
        };
        let letters = "select topic, origin_partition as partition, origin_offset as \"offset\", key
                         from outbox.dead_letters";
        Self {
            promotions: 1,
            events: rows(EVENTS).into_iter().map(event).collect(),
            letters: rows(letters).into_iter().map(letter).collect(),
        }
    }

    fn keep_only_what_is_not_in(&mut self, kept: &Self) {
        self.events.retain(|event| !kept.events.contains(event));
        self.letters.retain(|letter| !kept.letters.contains(letter));
    }

    pub fn add(&mut self, more: Self) {
        self.promotions += more.promotions;
        self.events.extend(more.events);
        self.letters.extend(more.letters);
    }

    /// This event is there after all: a transaction that was prepared outlives the promotion that lost its commit, and is
    /// committed once more.
    pub fn has_come_back(&mut self, event: &Committed) {
        self.events.remove(event);
    }

    pub fn promotions(&self) -> i64 {
        self.promotions
    }

    /// How many events.
    pub fn events(&self) -> u64 {
        self.events.len() as u64
    }

    /// Whether this message was published of an event that is gone.
    pub fn has_published(&self, message: &Incoming) -> bool {
        let Some(event) = event_of(message) else { return false };
        self.events.contains(&event)
    }

    /// Whether a letter about this message is gone.
    pub fn has_parked(&self, origin: &Origin) -> bool {
        let is_about = |letter: &LostLetter| {
            (letter.topic.as_str(), letter.partition, letter.offset)
                == (origin.topic.as_str(), origin.partition, origin.offset)
        };
        self.letters.iter().any(is_about)
    }

    /// Keys of a topic of which the index may know what the database does not, or the other way round.
    pub fn keys(&self, topic: &str) -> Vec<String> {
        let events = self.events.iter().filter(|event| event.topic == topic).map(|event| &event.key);
        let letters = self.letters.iter().filter(|letter| letter.topic == topic);
        let keys: BTreeSet<_> = events.chain(letters.filter_map(|letter| letter.key.as_ref())).collect();
        keys.into_iter().cloned().collect()
    }
}

/// The event a message says it is.
fn event_of(message: &Incoming) -> Option<Committed> {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    let (_, id) = message.headers.iter().find(|(name, _)| name == "id")?;
    let value: Value = serde_json::from_slice(message.value.as_deref()?).ok()?;
    let created_at: Timestamp = value["timestamp"].as_str()?.parse().ok()?;
    Some(Committed {
        topic: message.partition.topic.to_string(),
        key: text(message.key.as_deref()?)?,
        id: text(id)?.parse().ok()?,
        created_at: created_at.as_microsecond(),
    })
}

#[test]
fn a_clock_that_jumps_is_what_the_whole_server_goes_by() {
    let cluster = Cluster::start_with_clock(SETTINGS);
    if !cluster.has_clock() {
        println!("without libfaketime, clocks do not jump on this machine");
        return;
    }
    let ahead = || {
        let now: f64 = cluster.answer("select extract(epoch from clock_timestamp())").parse().unwrap();
        now - Timestamp::now().as_microsecond() as f64 / 1e6
    };
    for seconds in [3_600, -7_200, 0] {
        cluster.set_clock(seconds);
        let off = ahead() - seconds as f64;
        assert!(off.abs() < 60.0, "{off} s away from {seconds}");
    }
}
