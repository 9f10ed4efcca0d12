//! Which member may run: one at a time, from one step to the next, chosen by a seeded scheduler.

use parking_lot::{Condvar, Mutex};

/// What a member does at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Goes on.
    Go,
    /// Does it, does not learn that it worked, and does it again.
    Twice,
    /// Dies before it.
    DieBefore,
    /// Does it and dies.
    DieAfter,
}

struct Turns {
    /// The member that runs.
    running: Option<(usize, Verdict)>,
    /// Members that have ended.
    ended: Vec<bool>,
    /// Members that wait for their turn.
    waiting: usize,
}

/// Passed from the scheduler to a member and back.
pub struct Baton {
    members: usize,
    turns: Mutex<Turns>,
    /// One for each member, and the scheduler's at the end.
    woken: Vec<Condvar>,
}

impl Baton {
    /// A baton for this many members.
    pub fn new(members: usize) -> Self {
        let turns = Turns { running: None, ended: vec![false; members], waiting: 0 };
        Self { members, turns: Mutex::new(turns), woken: (0..=members).map(|_| Condvar::new()).collect() }
    }

    /// A member's step: returns the baton and waits until it has it again.
    pub fn step(&self, me: usize) -> Verdict {
        let mut turns = self.turns.lock();
        if turns.running.is_some_and(|r| r.0 == me) {
            turns.running = None;
        }
        turns.waiting += 1;
        self.woken[self.members].notify_one();
        loop {
            if let Some((member, verdict)) = turns.running
                && member == me
            {
                turns.waiting -= 1;
                return verdict;
            }
            self.woken[me].wait(&mut turns);
        }
    }

    /// A member ends.
    pub fn end(&self, me: usize) {
        let mut turns = self.turns.lock();
        if turns.running.is_some_and(|r| r.0 == me) {
            turns.running = None;
        }
        turns.ended[me] = true;
        self.woken[self.members].notify_one();
    }

    /// Whether a member has ended.
    pub fn has_ended(&self, member: usize) -> bool {
        self.turns.lock().ended[member]
    }

    /// The scheduler hands the baton to a member, and has it again when this returns. A member that
    /// has ended is skipped.
    pub fn hand(&self, member: usize, verdict: Verdict) {
        let mut turns = self.turns.lock();
        self.rest(&mut turns);
        if turns.ended[member] {
            return;
        }
        turns.running = Some((member, verdict));
        self.woken[member].notify_one();
        self.rest(&mut turns);
    }

    /// Waits until nobody runs and everybody waits or has ended.
    fn rest(&self, turns: &mut parking_lot::MutexGuard<'_, Turns>) {
        while turns.running.is_some()
            || turns.waiting + turns.ended.iter().filter(|e| **e).count() < self.members
        {
            self.woken[self.members].wait(turns);
        }
    }
}
