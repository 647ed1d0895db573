//! A contestant's process: what it says, what it uses, how it ends.

use std::error::Error;
use std::fs;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::{sleep, timeout};

use crate::Outcome;
use crate::figures::Figures;

/// How long a program may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(20);

/// Between two looks at a process that ends by itself.
const BETWEEN: Duration = Duration::from_millis(10);

/// A process, and all that it started. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Program {
    name: String,
    child: Child,
    said: Lines<BufReader<ChildStderr>>,
    last: Vec<String>,
}

impl Program {
    pub(crate) fn start(name: &str, mut command: Command) -> Outcome<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| format!("{name} cannot be started: {error}"))?;
        let said = child.stderr.take().ok_or("no standard error")?;
        Ok(Self { name: name.to_owned(), child, said: lines(said), last: Vec::new() })
    }

    /// When it said something that contains `words`.
    pub(crate) async fn until_says(&mut self, words: &str, within: Duration) -> Outcome<Instant> {
        let heard = async {
            while let Some(line) = self.said.next_line().await? {
                let is_it = line.contains(words);
                self.remember(line);
                if is_it {
                    return Ok(Instant::now());
                }
            }
            Err(format!("{} ended before it said {words:?}", self.name).into())
        };
        let heard: Outcome<Instant> = match timeout(within, heard).await {
            Ok(heard) => heard,
            Err(_) => Err(format!("{} did not say {words:?} within {within:?}", self.name).into()),
        };
        heard.map_err(|error| format!("{error}; its last words:\n{}", self.last.join("\n")).into())
    }

    fn remember(&mut self, line: String) {
        const ENOUGH: usize = 30;
        if self.last.len() == ENOUGH {
            self.last.remove(0);
        }
        self.last.push(line);
    }

    /// Fails when it has ended.
    pub(crate) fn is_alive(&mut self) -> Outcome<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(self.failed(status)),
        }
    }

    /// What it and its children use: the most memory ever resident, and processor time, in the columns of `figures`.
    pub(crate) fn usage(&self, figures: Figures) -> Outcome<Figures> {
        let root = self.child.id().ok_or("the process has ended")?;
        let used = usage(&family(root)?);
        Ok(add(figures, used))
    }

    /// How fast it did `count` of something from its start to its end, which comes by itself and well.
    pub(crate) async fn until_done(mut self, count: u64, within: Duration) -> Outcome<Figures> {
        let (began, mut figures) = (Instant::now(), Figures::default());
        loop {
            if let Some(status) = self.child.try_wait()? {
                // The last look at what it used was a moment before its end.
                let done = Figures { rate: Figures::rate(count, began.elapsed().as_secs_f64()).rate, ..figures };
                return if status.success() { Ok(done) } else { Err(self.failed(status)) };
            }
            let used = self.usage(Figures::default())?;
            // Of one that has just ended nothing is known.
            if used.rss_mb > Some(0.0) {
                figures = used;
            }
            if began.elapsed() > within {
                return Err(format!("{} was not done within {within:?}", self.name).into());
            }
            // Its pipe must not fill.
            if let Ok(Ok(Some(line))) = timeout(BETWEEN, self.said.next_line()).await {
                self.remember(line);
            } else {
                sleep(BETWEEN).await;
            }
        }
    }

    fn failed(&self, status: ExitStatus) -> Box<dyn Error + Send + Sync> {
        format!("{} ended: {status}; its last words:\n{}", self.name, self.last.join("\n")).into()
    }

    /// Asks it to end, and waits.
    pub(crate) async fn end(mut self) -> Outcome<()> {
        let Some(id) = self.child.id() else { return Ok(()) };
        Command::new("kill").arg("-TERM").arg(id.to_string()).status().await?;
        // Its pipe must not fill while it ends.
        let ended = async {
            loop {
                tokio::select! {
                    status = self.child.wait() => return status,
                    line = self.said.next_line() => if let Ok(None) | Err(_) = line {
                        return self.child.wait().await;
                    },
                }
            }
        };
        if timeout(GRACE, ended).await.is_err() {
            self.child.kill().await?;
        }
        Ok(())
    }
}

fn lines<R: AsyncRead + Unpin>(stream: R) -> Lines<BufReader<R>> {
    BufReader::new(stream).lines()
}

/// Adds up the usage of several contestants' processes.
fn add(figures: Figures, used: Used) -> Figures {
    Figures {
        rss_mb: Some(figures.rss_mb.unwrap_or_default() + used.resident_kb / 1024.0),
        cpu_s: Some(figures.cpu_s.unwrap_or_default() + used.seconds),
        ..figures
    }
}

/// The same of the process that asks.
pub(crate) fn own_usage(figures: Figures) -> Figures {
    add(figures, usage(&[std::process::id()]))
}

struct Used {
    resident_kb: f64,
    seconds: f64,
}

/// A process and all below it.
fn family(root: u32) -> Outcome<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if let Some(parent) = stat(id).and_then(|stat| stat.get(1)?.parse::<u32>().ok()) {
            parents.push((id, parent));
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(id, _)| *id));
        next += 1;
    }
    Ok(found)
}

/// What follows the name in `/proc/ID/stat`: state, parent, …
fn stat(id: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name is in brackets and may hold anything.
    let (_, behind) = stat.rsplit_once(") ")?;
    Some(behind.split(' ').map(str::to_owned).collect())
}

/// A process that has ended meanwhile counts as nothing.
fn usage(processes: &[u32]) -> Used {
    /// Linux counts in hundredths of a second, whatever the kernel's own clock.
    const TICKS: f64 = 100.0;
    let mut used = Used { resident_kb: 0.0, seconds: 0.0 };
    for id in processes {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        used.resident_kb += peak.and_then(|peak| peak.trim().parse::<f64>().ok()).unwrap_or_default();
        let ticks = stat(*id).map(|stat| stat.iter().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum());
        used.seconds += ticks.unwrap_or(0.0) / TICKS;
    }
    used
}
