//! What members share: the logs, the group's assignment, and the failures observed.

use crate::alert::AlertRow;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet};

/// 2026-01-05T17:00:00Z; the logs pass midnight, so that a day is closed.
const START: i64 = 1_767_632_400_000_000;
const MINUTE: i64 = 60_000_000;
/// 2099-06-01T00:00:00Z.
const FAR: i64 = 4_083_955_200_000_000;

/// How far the simulation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Anything may happen.
    Chaos,
    /// Nothing more goes wrong, but for members that still hang.
    Settle,
    /// Members end.
    Stop,
}

/// Messages of each partition.
pub type Logs = Vec<Vec<Vec<u8>>>;

#[derive(Debug)]
struct State {
    phase: Phase,
    /// By partition: the member and the generation.
    assigned: Vec<(usize, u64)>,
    generation: u64,
    quiet: BTreeSet<i32>,
    evaluated: bool,
    wrong: Vec<String>,
    sent: BTreeSet<String>,
    fenced: u64,
}

/// What members share.
#[derive(Debug)]
pub struct World {
    pub logs: Logs,
    state: Mutex<State>,
}

impl World {
    pub fn new(logs: Logs) -> Self {
        let assigned = logs.iter().map(|_| (0, 1)).collect();
        let state = State {
            phase: Phase::Chaos,
            assigned,
            generation: 1,
            quiet: BTreeSet::new(),
            evaluated: false,
            wrong: Vec::new(),
            sent: BTreeSet::new(),
            fenced: 0,
        };
        Self { logs, state: Mutex::new(state) }
    }

    pub fn phase(&self) -> Phase {
        self.state.lock().phase
    }

    pub fn set_phase(&self, phase: Phase) {
        self.state.lock().phase = phase;
    }

    pub fn assigned_to(&self, member: usize) -> BTreeMap<i32, u64> {
        let state = self.state.lock();
        let mine = state.assigned.iter().enumerate().filter(|(_, a)| a.0 == member);
        mine.map(|(p, a)| (p as i32, a.1)).collect()
    }

    pub fn owner(&self, partition: usize) -> usize {
        self.state.lock().assigned[partition].0
    }

    /// The group assigns a partition to a member.
    pub fn assign(&self, partition: usize, member: usize) {
        let mut state = self.state.lock();
        state.generation += 1;
        state.assigned[partition] = (member, state.generation);
    }

    /// A member found that its partition was taken.
    pub fn fenced(&self) {
        self.state.lock().fenced += 1;
    }

    pub fn is_quiet(&self, partition: i32) -> bool {
        self.state.lock().quiet.contains(&partition)
    }

    pub fn set_quiet(&self, partition: i32) {
        self.state.lock().quiet.insert(partition);
    }

    pub fn all_quiet(&self) -> bool {
        self.state.lock().quiet.len() == self.logs.len()
    }

    pub fn set_evaluated(&self) {
        self.state.lock().evaluated = true;
    }

    pub fn is_evaluated(&self) -> bool {
        self.state.lock().evaluated
    }

    pub fn wrong(&self, what: &str) {
        self.state.lock().wrong.push(what.to_owned());
    }

    pub fn take_wrong(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().wrong)
    }

    pub fn sent(&self, alerts: &[AlertRow]) {
        self.state.lock().sent.extend(alerts.iter().map(|a| format!("{} {:?} {}", a.id, a.state, a.at)));
    }

    pub fn all_sent(&self) -> BTreeSet<String> {
        self.state.lock().sent.clone()
    }

    /// How often an owner was stopped by a later one's claim.
    pub fn times_fenced(&self) -> u64 {
        self.state.lock().fenced
    }
}

/// What is wrong with clocks for a while: 2099, two days ahead, and so little that the events are
/// kept.
const WRONG: [Option<i64>; 3] = [None, Some(2 * 24 * 60), Some(100)];

/// Logs of some partitions: events every few minutes of event time, a few of them late, out of
/// order or no events at all; in some a burst of wrong clocks, in all or none of them a pause of
/// hours.
pub fn logs(seed: u64, partitions: usize) -> Logs {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let each = rng.random_range(60..120);
    let step = 10 * 60 / each;
    let pause = rng.random_bool(0.5).then(|| (rng.random_range(20..50), rng.random_range(70..300)));
    (0..partitions)
        .map(|p| {
            let first = rng.random_range(0..50);
            let burst = if rng.random_bool(0.6) { first..first + rng.random_range(1..15) } else { 0..0 };
            let wrong = WRONG[rng.random_range(0..WRONG.len())];
            (0..each)
                .map(|n| {
                    if rng.random_bool(0.03) {
                        return b"no event".to_vec();
                    }
                    let late = if rng.random_bool(0.05) { rng.random_range(10..90) } else { 0 };
                    let jitter = rng.random_range(-MINUTE..MINUTE);
                    let paused = pause.filter(|(from, _)| n >= *from).map_or(0, |(_, long)| long);
                    let at = START + (n * step - late + paused) * MINUTE + jitter;
                    let at = match wrong {
                        _ if !burst.contains(&n) => at,
                        Some(ahead) => at + ahead * MINUTE,
                        None => FAR + n * MINUTE,
                    };
                    let tenant = ["ash", "birch"][rng.random_range(0..2)];
                    let latency = rng.random_range(100..5_000);
                    // Of few users, so that segments by source become shown by name during the run.
                    let user = rng.random_range(0..12);
                    let source = ["app", "api", "web"][rng.random_range(0..3)];
                    // More than a chunk keeps, some of them often.
                    let most = rng.random_range(2..40);
                    let sampler = rng.random_range(0..most);
                    let time = crate::event::time::text(at);
                    format!(
                        r#"{{"request_id":"r{p}-{n}","session_id":"s{}","timestamp":"{time}","pipeline_stage":"generate","user_id_hash":"u{user}","tenant":"{tenant}","traffic_source":"{source}","params":{{"sampler":"s{sampler}"}},"metrics":{{"latency_ms":{latency}}}}}"#,
                        rng.random_range(0..500)
                    )
                    .into_bytes()
                })
                .collect()
        })
        .collect()
}
