//! The evaluating thread: takes the role, follows what partitions commit, evaluates, commits, and
//! passes alerts to the outbox.

use super::commits::EvaluatorDriver;
use crate::alert::{AlertRow, Outbox};
use crate::engine::error::EvaluatorDriverError;
use crate::engine::ingest::commits::{CommittedPanes, PartitionAssignment};
use crate::engine::job::{Job, writer_name};
use crate::engine::progress::{EvaluatorBytes, Progress};
use crate::source::PartitionId;
use crate::store::chain::{ChainError, Epoch};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Time between commits while it catches up.
const COMMIT: Duration = Duration::from_secs(5);
/// Time between two checks for commits of other processes.
const LOOK: Duration = Duration::from_secs(2);

/// Time before this process claims the role again that another process has taken, while the group
/// still assigns the first partition to this one.
const RECLAIM: Duration = Duration::from_secs(2);

/// What the thread works with.
pub struct EvaluatorThread<'a> {
    /// The job.
    pub job: &'a Arc<Job>,
    /// All partitions that exist (there may be more later); the owner of the first has the role.
    pub partitions: &'a Mutex<Vec<PartitionId>>,
    /// Partitions with records still to come, where the source knows.
    pub unread: &'a Mutex<Vec<(PartitionId, Epoch)>>,
    /// Which partitions this process has, as it changes.
    pub assigned: &'a Receiver<PartitionAssignment>,
    /// Commits of this process.
    pub committed: &'a Receiver<CommittedPanes>,
    /// Counters.
    pub progress: &'a Arc<Progress>,
    /// Where alerts go.
    pub outbox: &'a Mutex<Option<Outbox>>,
    /// Asked to stop, or something failed.
    pub stop: &'a dyn Fn() -> bool,
}

/// Whether this process evaluates.
#[derive(Default)]
struct RoleStatus {
    active: Option<ActiveRole>,
    /// Whether the group assigns the first partition to this process.
    first_assigned: bool,
    /// When to claim the role again that another process took, while the first partition is
    /// assigned to this one.
    retry_at: Option<Instant>,
}

/// The role while this process has it.
struct ActiveRole {
    driver: EvaluatorDriver,
    /// Alerts passed to the outbox and not known to be delivered: every commit carries them, so
    /// that a restart sends them again.
    undelivered: VecDeque<(u64, Vec<AlertRow>)>,
    committed_at: Instant,
}

impl EvaluatorThread<'_> {
    /// Runs until all senders of commits are gone, then evaluates and commits what is left. The
    /// process that owns the topic's first partition takes the role; losing the chain drops the
    /// role and not the process.
    ///
    /// # Errors
    /// When the evaluation or its files fail.
    pub fn run(&self) -> Result<(), EvaluatorDriverError> {
        let mut status = RoleStatus::default();
        let mut looked = Instant::now();
        let mut more_to_do = false;
        loop {
            // While there is something to evaluate, further commits wait with their senders, so
            // that memory stays bounded. With nothing to do, the next message may be the one that
            // everything waits for. When asked to stop, it only receives.
            let stopping = (self.stop)();
            let received = if more_to_do && !stopping {
                Err(RecvTimeoutError::Timeout)
            } else {
                self.committed.recv_timeout(Duration::from_millis(200))
            };
            if matches!(received, Err(RecvTimeoutError::Disconnected)) {
                break;
            }
            let step = (|| -> Result<bool, EvaluatorDriverError> {
                self.claim_role_if_due(&mut status)?;
                let Some(r) = &mut status.active else { return Ok(false) };
                let mut next = received.ok();
                while let Some(c) = next {
                    r.driver.offer_own_commit(c)?;
                    next = self.committed.try_recv().ok();
                }
                if looked.elapsed() > LOOK {
                    looked = Instant::now();
                    let partitions = self.partitions.lock().clone();
                    partitions.iter().try_for_each(|p| r.driver.catch_up(*p))?;
                }
                if stopping {
                    return Ok(false);
                }
                let advanced = r.driver.advance()?;
                let due = if advanced.more_to_do { COMMIT } else { COMMIT / 10 };
                if advanced.commit_due || r.committed_at.elapsed() > due {
                    self.commit(r)?;
                }
                Ok(advanced.more_to_do)
            })();
            more_to_do = self.or_lost(step, &mut status)?.unwrap_or(false);
        }
        let last = self.claim_role_if_due(&mut status);
        self.or_lost(last, &mut status)?;
        let last = status.active.as_mut().map_or(Ok(()), |r| self.finish(r));
        self.or_lost(last, &mut status).map(|_| ())
    }

    /// Takes the role when the first partition is assigned, unless this process has it, and again
    /// when it was lost to a process that no longer owns that partition.
    fn claim_role_if_due(&self, status: &mut RoleStatus) -> Result<(), EvaluatorDriverError> {
        let partitions = self.partitions.lock().clone();
        let mut newly_assigned = false;
        for holding in self.assigned.try_iter() {
            let (PartitionAssignment::Assigned(p) | PartitionAssignment::Revoked(p)) = holding;
            if Some(&p) == partitions.first() {
                status.first_assigned = matches!(holding, PartitionAssignment::Assigned(_));
                newly_assigned |= status.first_assigned;
            }
        }
        let due = newly_assigned || status.retry_at.is_some_and(|at| Instant::now() >= at);
        if !status.first_assigned || !due {
            return Ok(());
        }
        // Another process may have had the partition meanwhile, and the role with it.
        let mine = match &status.active {
            Some(r) => !r.driver.is_fenced()?,
            None => false,
        };
        if !mine {
            status.active = None;
            let unread = self.unread.lock().clone();
            let (driver, alerts) = EvaluatorDriver::claim(
                self.job,
                &partitions,
                &unread,
                writer_name(),
                Arc::clone(self.progress),
            )?;
            let mut r = ActiveRole { driver, undelivered: VecDeque::new(), committed_at: Instant::now() };
            self.send(&mut r, alerts);
            tracing::info!("this process evaluates");
            status.active = Some(r);
        }
        status.retry_at = None;
        self.progress.evaluates.store(1, Ordering::Relaxed);
        Ok(())
    }

    fn finish(&self, r: &mut ActiveRole) -> Result<(), EvaluatorDriverError> {
        // When asked to stop, the rest is left to the next start: the panes are committed.
        while !(self.stop)() {
            let advanced = r.driver.advance()?;
            if advanced.commit_due {
                self.commit(r)?;
            }
            if !advanced.more_to_do {
                break;
            }
        }
        self.commit(r)
    }

    fn commit(&self, r: &mut ActiveRole) -> Result<(), EvaluatorDriverError> {
        let settled = self.outbox.lock().as_ref().map_or(u64::MAX, Outbox::settled);
        while r.undelivered.front().is_some_and(|u| u.0 <= settled) {
            r.undelivered.pop_front();
        }
        let waiting = r.undelivered.iter().flat_map(|u| u.1.iter().cloned()).collect();
        let alerts = r.driver.commit(waiting)?;
        self.send(r, alerts);
        r.committed_at = Instant::now();
        Ok(())
    }

    fn send(&self, r: &mut ActiveRole, alerts: Vec<AlertRow>) {
        if let Some(o) = self.outbox.lock().as_mut().filter(|_| !alerts.is_empty()) {
            let ticket = o.send(alerts.clone());
            r.undelivered.push_back((ticket, alerts));
        }
    }

    fn or_lost<T>(
        &self,
        done: Result<T, EvaluatorDriverError>,
        status: &mut RoleStatus,
    ) -> Result<Option<T>, EvaluatorDriverError> {
        match done {
            Err(EvaluatorDriverError::Chain(ChainError::Lost { chain, epoch })) => {
                tracing::warn!(%chain, %epoch, "another process evaluates now; this one keeps reading its partitions");
                Progress::add(&self.progress.evaluator_lost, 1);
                self.progress.evaluates.store(0, Ordering::Relaxed);
                *self.progress.evaluator_bytes.lock() = EvaluatorBytes::default();
                status.active = None;
                status.retry_at = Some(Instant::now() + RECLAIM);
                Ok(None)
            }
            done => done.map(Some),
        }
    }
}
