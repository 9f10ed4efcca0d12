//! A member of the group: does what a process does, in steps, in an order that the seed decides.

use super::baton::{Baton, Verdict};
use super::world::{Phase, World};
use crate::engine::error::{EvaluatorDriverError, IngestError};
use crate::engine::evaluate::commits::EvaluatorDriver;
use crate::engine::ingest::commits::CommittedPanes;
use crate::engine::ingest::decoding::{DecodedChunk, Decoder};
use crate::engine::ingest::partition_writer::PartitionWriter;
use crate::engine::job::Job;
use crate::engine::progress::Progress;
use crate::source::{BufferPool, MessageBuffer, PartitionId, TimeRange};
use crate::store::chain::ChainError;
use crate::window::Reach;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Why a life ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Died,
    Stopped,
}

/// What stops one life, or the simulation.
enum Trouble {
    /// The store gave up on a dead process, or the chain belongs to another member.
    Died,
    Lost,
    /// Something that must not happen.
    Wrong(String),
}

impl Trouble {
    fn of_chain(e: &ChainError) -> Self {
        match e {
            ChainError::Lost { .. } => Self::Lost,
            ChainError::Storage(_) => Self::Died,
            ChainError::Damaged { .. } => Self::Wrong(e.to_string()),
        }
    }
}

impl From<IngestError> for Trouble {
    fn from(e: IngestError) -> Self {
        match &e {
            IngestError::Chain(c) => Self::of_chain(c),
            passing if passing.is_passing() => Self::Died,
            _ => Self::Wrong(e.to_string()),
        }
    }
}

impl From<EvaluatorDriverError> for Trouble {
    fn from(e: EvaluatorDriverError) -> Self {
        match &e {
            EvaluatorDriverError::Chain(c) => Self::of_chain(c),
            // Which of them it was matters only to a process that lives.
            _ => Self::Wrong(e.to_string()),
        }
    }
}

/// A member.
pub struct Member {
    pub me: usize,
    pub job: Arc<Job>,
    pub baton: Arc<Baton>,
    pub world: Arc<World>,
    pub dead: Arc<AtomicBool>,
    pub seed: u64,
}

struct Life<'a> {
    member: &'a Member,
    number: u64,
    made: u64,
    rng: ChaCha8Rng,
    decoder: Decoder,
    /// The group's assignment, as last seen.
    view: BTreeMap<i32, u64>,
    owned: BTreeMap<i32, (u64, PartitionWriter)>,
    role: Option<EvaluatorDriver>,
    inbox: VecDeque<CommittedPanes>,
    progress: Arc<Progress>,
}

impl Member {
    /// Lives again and again until the simulation stops.
    pub fn run(&self) {
        for number in 0.. {
            let mut life = Life {
                member: self,
                number,
                made: 0,
                rng: ChaCha8Rng::seed_from_u64(self.seed ^ (number << 32) ^ (self.me as u64) << 16),
                decoder: Decoder::new(&self.job, TimeRange::ALL),
                view: BTreeMap::new(),
                owned: BTreeMap::new(),
                role: None,
                inbox: VecDeque::new(),
                progress: Arc::default(),
            };
            if life.live() == End::Stopped {
                break;
            }
            self.dead.store(false, Ordering::Relaxed);
        }
        self.baton.end(self.me);
    }
}

impl Life<'_> {
    fn live(&mut self) -> End {
        loop {
            if matches!(self.member.baton.step(self.member.me), Verdict::DieBefore | Verdict::DieAfter) {
                return End::Died;
            }
            if self.member.world.phase() == Phase::Stop {
                return End::Stopped;
            }
            let trouble = match self.rng.random_range(0..10) {
                0..=1 => self.poll(),
                2..=5 => self.read_messages(),
                6..=7 => self.commit(),
                _ => self.evaluate(),
            };
            match trouble {
                Ok(()) | Err(Trouble::Lost) => {}
                Err(_) if self.member.dead.load(Ordering::Relaxed) => return End::Died,
                Err(Trouble::Died) => self.member.world.wrong("the store failed a process that lives"),
                Err(Trouble::Wrong(what)) => self.member.world.wrong(&what),
            }
        }
    }

    fn writer(&mut self) -> String {
        self.made += 1;
        format!("{}x{}x{}", self.member.me, self.number, self.made)
    }

    /// Reads what the group assigns; releases and claims.
    fn poll(&mut self) -> Result<(), Trouble> {
        self.view = self.member.world.assigned_to(self.member.me);
        let view = self.view.clone();
        self.owned.retain(|p, (generation, _)| view.get(p) == Some(generation));
        for (p, generation) in view {
            if self.owned.contains_key(&p) {
                continue;
            }
            let writer = self.writer();
            let owned = PartitionWriter::claim(&self.member.job, PartitionId(p), "topic".into(), writer)?;
            self.owned.insert(p, (generation, owned));
        }
        Ok(())
    }

    fn any(&mut self) -> Option<i32> {
        let all: Vec<i32> = self.owned.keys().copied().collect();
        if all.is_empty() { None } else { Some(all[self.rng.random_range(0..all.len())]) }
    }

    /// Reads some messages of a partition.
    fn read_messages(&mut self) -> Result<(), Trouble> {
        let Some(p) = self.any() else { return Ok(()) };
        let most = self.rng.random_range(1..12);
        let Some((_, owned)) = self.owned.get_mut(&p) else { return Ok(()) };
        let log = &self.member.world.logs[p as usize];
        let from = usize::try_from(owned.next_offset().0).unwrap_or(0);
        let mut gathered = MessageBuffer::default();
        for (offset, message) in log.iter().enumerate().skip(from).take(most) {
            gathered.push(offset as i64, message, None);
        }
        if gathered.is_empty() {
            return Ok(());
        }
        let chunk = gathered.take(PartitionId(p), &mut BufferPool::default());
        let mut decoded = DecodedChunk::default();
        self.decoder.decode(&chunk, &mut decoded)?;
        owned.ingest_chunk(&mut decoded, &self.progress, &|| false)?;
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Trouble> {
        let Some(p) = self.any() else { return Ok(()) };
        let Some((_, owned)) = self.owned.get_mut(&p) else { return Ok(()) };
        let world = &self.member.world;
        let at_end = owned.next_offset().0 as usize == world.logs[p as usize].len();
        let quiet = at_end && world.phase() == Phase::Settle;
        let to_say = quiet && !world.is_quiet(p);
        if !owned.is_dirty() && !to_say {
            return Ok(());
        }
        match owned.commit(quiet.then_some(Reach::Ended), &self.progress) {
            Ok(c) => {
                if quiet {
                    world.set_quiet(p);
                }
                self.inbox.push_back(c);
                Ok(())
            }
            Err(e) => {
                // What the engine does: drop it, and claim it again at a later poll if the group
                // still assigns it here.
                if matches!(e, IngestError::Chain(ChainError::Lost { .. })) {
                    world.fenced();
                }
                self.owned.remove(&p);
                Err(e.into())
            }
        }
    }

    fn evaluate(&mut self) -> Result<(), Trouble> {
        let done = self.evaluate_or();
        if done.is_err() {
            self.role = None;
        }
        done
    }

    fn evaluate_or(&mut self) -> Result<(), Trouble> {
        let world = &self.member.world;
        if !self.view.contains_key(&0) && self.role.is_none() {
            self.inbox.clear();
            return Ok(());
        }
        if self.role.is_none() {
            let writer = self.writer();
            let all: Vec<PartitionId> = (0..world.logs.len() as i32).map(PartitionId).collect();
            let (task, alerts) =
                EvaluatorDriver::claim(&self.member.job, &all, &[], writer, Arc::clone(&self.progress))?;
            self.member.world.sent(&alerts);
            self.role = Some(task);
        }
        let Some(task) = &mut self.role else { return Ok(()) };
        while let Some(c) = self.inbox.pop_front() {
            task.offer_own_commit(c)?;
        }
        let all_read = world.all_quiet();
        if all_read || self.rng.random_bool(0.5) {
            (0..world.logs.len() as i32).try_for_each(|p| task.catch_up(PartitionId(p)))?;
        }
        let advanced = task.advance()?;
        if !advanced.more_to_do || self.rng.random_bool(0.5) {
            let alerts = task.commit(Vec::new())?;
            world.sent(&alerts);
            if all_read && !advanced.more_to_do {
                world.set_evaluated();
            }
        }
        Ok(())
    }
}
