//! The evaluating thread: takes the role, follows what partitions commit, evaluates, commits, and hands alerts to the outbox.

use super::commits::EvaluatorTask;
use crate::alert::{AlertRow, Outbox};
use crate::engine::error::EvaluatorDriverError;
use crate::engine::ingest::partition_writer::Committed;
use crate::engine::job::Job;
use crate::engine::progress::{EvaluatorBytes, Progress};
use crate::engine::run::writer;
use crate::source::PartitionId;
use crate::store::chain::{ChainError, Epoch};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Time between commits while it catches up.
const COMMIT: Duration = Duration::from_secs(5);
/// Time between two looks at what other processes committed.
const LOOK: Duration = Duration::from_secs(2);

/// Time before the role is taken again that another process took, while the group still assigns the first partition to this one.
const RECLAIM: Duration = Duration::from_secs(2);

/// A change of what the group assigns to this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// The partition is this process's.
    Mine(PartitionId),
    /// The partition is somebody else's.
    NotMine(PartitionId),
}

/// What the thread works with.
pub struct Evaluating<'a> {
    /// The job.
    pub job: &'a Arc<Job>,
    /// All partitions that exist, of which there may be more later; the first one's owner has the role.
    pub partitions: &'a Mutex<Vec<PartitionId>>,
    /// Partitions of which records are still to come, where the source knows.
    pub unread: &'a Mutex<Vec<(PartitionId, Epoch)>>,
    /// Which partitions this process has, as it changes.
    pub assigned: &'a Receiver<Holding>,
    /// Commits of this process.
    pub committed: &'a Receiver<Committed>,
    /// Counters.
    pub progress: &'a Arc<Progress>,
    /// Where alerts go.
    pub outbox: &'a Mutex<Option<Outbox>>,
    /// Asked to stop, or something failed.
    pub stop: &'a dyn Fn() -> bool,
}

/// Whether this process evaluates.
#[derive(Default)]
struct Part {
    role: Option<Role>,
    /// Whether the group assigns the first partition to this process.
    first: bool,
    /// When to take the role, should `first` hold and the role be somebody else's.
    again: Option<Instant>,
}

/// The role while this process has it.
struct Role {
    task: EvaluatorTask,
    /// Alerts handed to the outbox and not known to be delivered: every commit carries them, so that a restart sends them again.
    unsettled: VecDeque<(u64, Vec<AlertRow>)>,
    since: Instant,
}

impl Evaluating<'_> {
    /// Runs until nobody commits any more, then evaluates and commits what is left. The process that owns the topic's first partition
    /// takes the role; losing the chain drops the role and not the process.
    ///
    /// # Errors
    /// When the evaluation or its files fail.
    pub fn run(&self) -> Result<(), EvaluatorDriverError> {
        let mut part = Part::default();
        let mut looked = Instant::now();
        let mut more = false;
        loop {
            // While there is something to evaluate, what else was committed waits with its sender: memory stays bounded. With
            // nothing to do the next message may be the one that everything waits for. Asked to stop, it only listens.
            let stopping = (self.stop)();
            let received = if more && !stopping {
                Err(RecvTimeoutError::Timeout)
            } else {
                self.committed.recv_timeout(Duration::from_millis(200))
            };
            if matches!(received, Err(RecvTimeoutError::Disconnected)) {
                break;
            }
            let step = (|| -> Result<bool, EvaluatorDriverError> {
                self.take_role(&mut part)?;
                let Some(r) = &mut part.role else { return Ok(false) };
                let mut next = received.ok();
                while let Some(c) = next {
                    r.task.committed(c)?;
                    next = self.committed.try_recv().ok();
                }
                if looked.elapsed() > LOOK {
                    looked = Instant::now();
                    let partitions = self.partitions.lock().clone();
                    partitions.iter().try_for_each(|p| r.task.catch_up(*p))?;
                }
                if stopping {
                    return Ok(false);
                }
                let advanced = r.task.advance()?;
                let due = if advanced.more { COMMIT } else { COMMIT / 10 };
                if advanced.full || r.since.elapsed() > due {
                    self.commit(r)?;
                }
                Ok(advanced.more)
            })();
            more = self.or_lost(step, &mut part)?.unwrap_or(false);
        }
        let last = self.take_role(&mut part);
        self.or_lost(last, &mut part)?;
        let last = part.role.as_mut().map_or(Ok(()), |r| self.finish(r));
        self.or_lost(last, &mut part).map(|_| ())
    }

    /// Takes the role when the first partition is assigned, unless this process has it, and again when it was lost to somebody who no
    /// longer owns that partition.
    fn take_role(&self, part: &mut Part) -> Result<(), EvaluatorDriverError> {
        let partitions = self.partitions.lock().clone();
        let mut anew = false;
        for holding in self.assigned.try_iter() {
            let (Holding::Mine(p) | Holding::NotMine(p)) = holding;
            if Some(&p) == partitions.first() {
                part.first = matches!(holding, Holding::Mine(_));
                anew |= part.first;
            }
        }
        let due = anew || part.again.is_some_and(|at| Instant::now() >= at);
        if !part.first || !due {
            return Ok(());
        }
        // Somebody else may have had the partition meanwhile, and the role with it.
        let mine = match &part.role {
            Some(r) => !r.task.is_fenced()?,
            None => false,
        };
        if !mine {
            part.role = None;
            let unread = self.unread.lock().clone();
            let (task, alerts) =
                EvaluatorTask::claim(self.job, &partitions, &unread, writer(), Arc::clone(self.progress))?;
            let mut r = Role { task, unsettled: VecDeque::new(), since: Instant::now() };
            self.send(&mut r, alerts);
            tracing::info!("this process evaluates");
            part.role = Some(r);
        }
        part.again = None;
        self.progress.evaluates.store(1, Ordering::Relaxed);
        Ok(())
    }

    fn finish(&self, r: &mut Role) -> Result<(), EvaluatorDriverError> {
        // Asked to stop, it leaves the rest to the next start: the panes are committed.
        while !(self.stop)() {
            let advanced = r.task.advance()?;
            if advanced.full {
                self.commit(r)?;
            }
            if !advanced.more {
                break;
            }
        }
        self.commit(r)
    }

    fn commit(&self, r: &mut Role) -> Result<(), EvaluatorDriverError> {
        let settled = self.outbox.lock().as_ref().map_or(u64::MAX, Outbox::settled);
        while r.unsettled.front().is_some_and(|u| u.0 <= settled) {
            r.unsettled.pop_front();
        }
        let waiting = r.unsettled.iter().flat_map(|u| u.1.iter().cloned()).collect();
        let alerts = r.task.commit(waiting)?;
        self.send(r, alerts);
        r.since = Instant::now();
        Ok(())
    }

    fn send(&self, r: &mut Role, alerts: Vec<AlertRow>) {
        if let Some(o) = self.outbox.lock().as_mut().filter(|_| !alerts.is_empty()) {
            let ticket = o.send(alerts.clone());
            r.unsettled.push_back((ticket, alerts));
        }
    }

    fn or_lost<T>(
        &self,
        done: Result<T, EvaluatorDriverError>,
        part: &mut Part,
    ) -> Result<Option<T>, EvaluatorDriverError> {
        match done {
            Err(EvaluatorDriverError::Chain(ChainError::Lost { chain, epoch })) => {
                tracing::warn!(%chain, %epoch, "another process evaluates now; this one goes on reading its partitions");
                Progress::add(&self.progress.evaluator_lost, 1);
                self.progress.evaluates.store(0, Ordering::Relaxed);
                *self.progress.evaluator_bytes.lock() = EvaluatorBytes::default();
                part.role = None;
                part.again = Some(Instant::now() + RECLAIM);
                Ok(None)
            }
            done => done.map(Some),
        }
    }
}

/// Raises a flag when it is dropped, also by a panic, unless the work went well.
pub struct Alarm<'a> {
    /// The flag.
    pub failed: &'a AtomicBool,
    /// Whether the work went well.
    pub well: bool,
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if !self.well {
            self.failed.store(true, Ordering::Relaxed);
        }
    }
}
