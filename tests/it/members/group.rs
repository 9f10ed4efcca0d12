//! The members of a consumer group as processes: started, killed, held, asked to leave, and watched.

use crate::support::*;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Members that come back whenever they are gone.
pub const MEMBERS: usize = 3;
/// Members at most, with those that join for a while.
const SEATS: usize = 5;
/// The age from which a member is sure to know what SIGTERM asks for.
const GROWN: Duration = Duration::from_secs(4);
/// How long a member may take to leave.
const LEAVES: Duration = Duration::from_secs(60);
/// Milliseconds that a member is held: longer than its session lasts.
const HELD: std::ops::Range<u64> = 7_000..9_000;
/// Milliseconds until a seat is taken again.
const AWAY: std::ops::Range<u64> = 100..4_000;
/// What stands in a seat's log before each start.
const START: &str = "--- start";

/// What a member was told.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Running,
    Held { until: Instant },
    Leaving { since: Instant },
}

/// A process; its seat has the configuration, and so the static membership, and the log.
struct Member {
    seat: usize,
    child: Child,
    since: Instant,
    state: State,
    /// Whether it may end itself at a failpoint.
    armed: bool,
}

/// The members; whoever is left is killed when it is dropped.
pub struct Group {
    /// Draws what happens; that it happens at the same point of a member's work is up to the machine.
    pub rng: ChaCha8Rng,
    /// Processes started.
    pub starts: u64,
    /// Processes that ended themselves at a failpoint.
    pub aborted: u64,
    /// Processes that began while the broker was down and gave up.
    pub gave_up: u64,
    configs: Vec<PathBuf>,
    logs: Vec<PathBuf>,
    output: PathBuf,
    failpoints: Vec<String>,
    members: Vec<Member>,
    /// Seats that are taken again, and when.
    back: Vec<(Instant, usize)>,
    /// When the broker was last seen down.
    outage: Option<Instant>,
    closing: bool,
}

impl Group {
    /// Starts the group's members over a configuration that ends with the table `kafka.properties`.
    pub fn start(dir: &Path, output: &Path, config: &str, name: &str, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let fixed = rng.random_range(0..3);
        let configs = (0..SEATS).map(|seat| {
            let file = dir.join(format!("member-{seat}.toml"));
            // About a third are static: whoever takes such a seat again is the same member to the broker.
            let id = if seat % 3 == fixed {
                format!("\"group.instance.id\" = \"{name}-{seat}\"\n")
            } else {
                String::new()
            };
            std::fs::write(&file, format!("{config}{id}")).expect("a file in the test's folder");
            file
        });
        let failpoints = std::env::var("DRIFTGLASS_FAILPOINTS").unwrap_or_default();
        let mut group = Self {
            rng,
            starts: 0,
            aborted: 0,
            gave_up: 0,
            configs: configs.collect(),
            logs: (0..SEATS).map(|seat| dir.join(format!("member-{seat}.log"))).collect(),
            output: output.to_owned(),
            failpoints: failpoints.split(',').filter(|f| !f.is_empty()).map(str::to_owned).collect(),
            members: Vec::new(),
            back: Vec::new(),
            outage: None,
            closing: false,
        };
        (0..MEMBERS).for_each(|seat| group.start_member(seat, true));
        group
    }

    fn start_member(&mut self, seat: usize, armed: bool) {
        self.starts += 1;
        let log = OpenOptions::new().create(true).append(true).open(&self.logs[seat]);
        let mut log = log.expect("a log in the test's folder");
        writeln!(log, "{START} {}", self.starts).expect("a log takes a line");
        let mut command = driftglass();
        command.args(["run", "-v", "-c", text(&self.configs[seat]), "-o", text(&self.output)]);
        let failpoint = if armed { self.failpoints.choose(&mut self.rng) } else { None };
        if let Some(name) = failpoint {
            command.env("FAILPOINTS", format!("{name}=3%return"));
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.members.push(Member {
            seat,
            child: child.expect("the binary starts"),
            since: Instant::now(),
            state: State::Running,
            armed: failpoint.is_some(),
        });
    }

    /// A member that suits, if any; the last one that runs is mostly spared.
    fn pick(&mut self, suits: impl Fn(&Member) -> bool) -> Option<usize> {
        let running = self.members.iter().filter(|m| m.state == State::Running).count();
        if running < 2 && !self.rng.random_bool(0.02) {
            return None;
        }
        let fit: Vec<usize> = (0..self.members.len()).filter(|i| suits(&self.members[*i])).collect();
        fit.choose(&mut self.rng).copied()
    }

    /// Kills a member, running or held; false where none could be.
    pub fn kill(&mut self) -> bool {
        let Some(i) = self.pick(|m| !matches!(m.state, State::Leaving { .. })) else { return false };
        let mut member = self.members.swap_remove(i);
        member.child.kill().expect("a child can be killed");
        let status = member.child.wait().expect("a child can be waited for");
        if status.signal() != Some(9) {
            // It had just ended by itself.
            self.ended(&member, status);
            return false;
        }
        self.comes_back(member.seat);
        true
    }

    /// Stops a member for longer than its session lasts: it wakes up as one that others think dead.
    pub fn hold(&mut self) -> bool {
        let Some(i) = self.pick(|m| m.state == State::Running) else { return false };
        let until = Instant::now() + Duration::from_millis(self.rng.random_range(HELD));
        signal(&self.members[i].child, "-STOP");
        self.members[i].state = State::Held { until };
        true
    }

    /// Asks a member to stop.
    pub fn leave(&mut self) -> bool {
        let suits = |m: &Member| m.state == State::Running && m.since.elapsed() >= GROWN;
        let Some(i) = self.pick(suits) else { return false };
        signal(&self.members[i].child, "-TERM");
        self.members[i].state = State::Leaving { since: Instant::now() };
        true
    }

    /// Starts one more member, where there is a seat that nobody comes back to.
    pub fn join(&mut self) -> bool {
        let taken = |s: usize| {
            self.members.iter().any(|m| m.seat == s) || self.back.iter().any(|(_, seat)| *seat == s)
        };
        let Some(seat) = (0..SEATS).find(|s| !taken(*s)) else { return false };
        self.start_member(seat, true);
        true
    }

    fn comes_back(&mut self, seat: usize) {
        if seat < MEMBERS && !self.closing {
            let away = Duration::from_millis(self.rng.random_range(AWAY));
            self.back.push((Instant::now() + away, seat));
        }
    }

    /// Wakes whoever was held long enough, looks for those that ended, and starts those that are due.
    pub fn tend(&mut self, broker_serves: bool, armed: bool) {
        let now = Instant::now();
        if !broker_serves {
            self.outage = Some(now);
        }
        for i in (0..self.members.len()).rev() {
            let member = &mut self.members[i];
            if matches!(member.state, State::Held { until } if now >= until) {
                signal(&member.child, "-CONT");
                member.state = State::Running;
            }
            let (seat, state) = (member.seat, member.state);
            if let Some(status) = member.child.try_wait().expect("a child can be asked") {
                let member = self.members.swap_remove(i);
                self.ended(&member, status);
            } else if let State::Leaving { since } = state {
                let still = "was asked to stop and still runs";
                assert!(now.duration_since(since) < LEAVES, "member {seat} {still}:\n{}", self.tail(seat));
            }
        }
        // Without a broker a new member can do nothing but give up.
        if broker_serves {
            let due: Vec<usize> = self.back.iter().filter(|b| b.0 <= now).map(|b| b.1).collect();
            self.back.retain(|b| b.0 > now);
            due.into_iter().for_each(|seat| self.start_member(seat, armed));
        }
    }

    /// Judges the end of a member that was not killed.
    fn ended(&mut self, member: &Member, status: ExitStatus) {
        let tail = self.tail(member.seat);
        let during_outage = self.outage.is_some_and(|o| o >= member.since);
        if member.armed && status.signal() == Some(6) {
            self.aborted += 1;
        } else if during_outage && status.code() == Some(3) && tail.contains("no broker of") {
            self.gave_up += 1;
        } else if let State::Leaving { .. } = member.state {
            assert_eq!(status.code(), Some(0), "member {} was asked to stop:\n{tail}", member.seat);
        } else {
            panic!("member {} ended by itself, {status}:\n{tail}", member.seat);
        }
        self.comes_back(member.seat);
    }

    /// Wakes all and asks them to stop, and waits until they are gone.
    pub fn stop(&mut self) {
        self.closing = true;
        self.back.clear();
        while self.members.iter().any(|m| m.since.elapsed() < GROWN) {
            self.tend(true, false);
            std::thread::sleep(Duration::from_millis(50));
        }
        for m in self.members.iter_mut().filter(|m| !matches!(m.state, State::Leaving { .. })) {
            signal(&m.child, "-CONT");
            signal(&m.child, "-TERM");
            m.state = State::Leaving { since: Instant::now() };
        }
        while !self.members.is_empty() {
            self.tend(true, false);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The last lines of a seat's log, of its last member.
    fn tail(&self, seat: usize) -> String {
        let bytes = std::fs::read(&self.logs[seat]).unwrap_or_default();
        let log = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = log.rsplit(START).next().unwrap_or_default().lines().collect();
        lines[lines.len().saturating_sub(20)..].iter().map(|l| format!("  {l}\n")).collect()
    }

    /// The last lines of all logs, for the message of a failure.
    pub fn tails(&self) -> String {
        (0..SEATS).map(|seat| format!("member {seat}:\n{}", self.tail(seat))).collect()
    }

    /// In how many lines the members said this.
    pub fn said(&self, what: &str) -> usize {
        let count = |log: &PathBuf| {
            let bytes = std::fs::read(log).unwrap_or_default();
            String::from_utf8_lossy(&bytes).lines().filter(|l| l.contains(what)).count()
        };
        self.logs.iter().map(count).sum()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for m in &mut self.members {
            // Held ones are woken first: not every system ends a stopped process before.
            let _ = Command::new("kill").args(["-CONT", &m.child.id().to_string()]).status();
            let _ = m.child.kill();
            let _ = m.child.wait();
        }
    }
}

/// Sends a signal to a child that was not waited for, so that its id is still its own.
fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill starts");
    assert!(sent.success(), "kill {name} {}: {sent}", child.id());
}
