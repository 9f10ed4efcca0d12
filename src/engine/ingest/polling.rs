//! The polling side of a running job: polls the source, passes on its records, and pauses
//! partitions whose workers are behind.

use super::commits::PartitionAssignment;
use super::driver::PartitionDriver;
use super::queues::{PolledWork, WorkerQueues};
use crate::engine::error::EngineError;
use crate::engine::progress::Progress;
use crate::source::{ClaimQueue, Offset, OwnershipChange, PartitionId, Polled, RestartOutcome, Source};
use crate::store::chain::Epoch;
use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;
use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Time before a partition that was lost to another process, and that the group still assigns to
/// this one, is claimed again: where both believe that they own it, one of them is corrected within
/// a few heartbeats.
const RECLAIM: Duration = Duration::from_secs(2);

/// Pieces of work that may wait for a worker's full queue before polling stops.
const MANY_WAITING: usize = 4;

/// Time for which full queues stop polling before their partitions are paused. A client that pauses
/// a partition discards what it has fetched ahead, so pausing while a worker only writes its commit
/// would cost a fetch. On the other hand, the client learns of a rebalance only when it is polled.
const HOLD: Duration = Duration::from_secs(1);

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// All input was read.
    InputEnded,
    /// It was asked to stop; everything read so far is committed.
    Stopped,
}

/// The polling side.
pub struct Poller<'a, P: PartitionDriver> {
    pub claimed: &'a ClaimQueue<P>,
    pub queues: WorkerQueues<'a, P>,
    pub assigned: &'a Sender<PartitionAssignment>,
    /// Partitions whose chain another process has taken.
    pub lost: &'a Receiver<PartitionId>,
    /// All partitions that exist; a topic may be given more.
    pub partitions: &'a Mutex<Vec<PartitionId>>,
    /// Those with records still to come, where the source knows.
    pub unread: &'a Mutex<Vec<(PartitionId, Epoch)>>,
    pub hints: &'a Receiver<(PartitionId, Offset)>,
    pub recycled: &'a Receiver<Vec<u8>>,
    pub progress: &'a Progress,
}

impl<P: PartitionDriver> Poller<'_, P> {
    /// Polls until the input ends or it is asked to stop.
    ///
    /// # Errors
    /// When the source fails, or another process took a partition that can't be claimed again.
    pub fn poll_all(
        &self,
        source: &mut dyn Source,
        stop: &AtomicBool,
        failed: &AtomicBool,
    ) -> Result<Finish, EngineError> {
        // Work that a full queue did not accept, in order; and since when so much waits for each
        // worker that polling stops.
        let mut waiting: VecDeque<(PartitionId, PolledWork<P>)> = VecDeque::new();
        let mut crowded_since: Vec<Option<Instant>> = vec![None; self.queues.workers.len()];
        let mut paused: BTreeSet<PartitionId> = BTreeSet::new();
        let mut again: VecDeque<(Instant, PartitionId)> = VecDeque::new();
        let mut shown = Instant::now();
        loop {
            if failed.load(Ordering::Relaxed) || stop.load(Ordering::Relaxed) {
                return Ok(Finish::Stopped);
            }
            waiting = self.queues.offer_all(waiting);
            for p in paused.clone() {
                if !waiting.iter().any(|w| w.0 == p) {
                    source.resume(p)?;
                    paused.remove(&p);
                }
            }
            while let Ok(buffer) = self.recycled.try_recv() {
                source.recycle(buffer);
            }
            while let Ok((p, next)) = self.hints.try_recv() {
                source.commit_hint(p, next);
            }
            again.extend(self.lost.try_iter().map(|p| (Instant::now() + RECLAIM, p)));
            while let Some((_, p)) = again.pop_front_if(|(due, _)| *due <= Instant::now()) {
                match source.restart(p)? {
                    RestartOutcome::Restarted => {
                        tracing::info!(partition = %p, "the group still assigns it here: claiming it again")
                    }
                    RestartOutcome::NotAssigned => {}
                    RestartOutcome::Unsupported => return Err(EngineError::Taken(p)),
                }
            }
            if shown.elapsed() > Duration::from_millis(200) {
                shown = Instant::now();
                self.progress.input_troubles.store(source.troubles(), Ordering::Relaxed);
                *self.partitions.lock() = source.partitions();
                self.progress.lag.store(source.lag().unwrap_or(0), Ordering::Relaxed);
                *self.progress.input.lock() = source.total_bytes().map(|t| (source.read_bytes(), t));
            }
            let crowds = self.queues.crowds(&waiting);
            for (since, crowd) in crowded_since.iter_mut().zip(crowds) {
                *since = (crowd > MANY_WAITING).then(|| since.unwrap_or_else(Instant::now));
            }
            if crowded_since.iter().flatten().any(|since| since.elapsed() < HOLD) {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            // Their workers make no progress; polling continues, so that the group keeps this
            // member.
            for (p, _) in waiting.iter().filter(|(p, _)| crowded_since[self.queues.worker(*p)].is_some()) {
                if paused.insert(*p) {
                    source.pause(*p)?;
                }
            }
            let timeout =
                if waiting.is_empty() { Duration::from_millis(100) } else { Duration::from_millis(2) };
            let polled = source.poll(timeout)?;
            let claimed = self.claimed.take();
            if !claimed.is_empty() {
                let unread = source.unread();
                let owned = claimed.iter().filter_map(|owning| match owning {
                    OwnershipChange::Claimed(owned) => Some(owned),
                    OwnershipChange::Released(_) => None,
                });
                let of = owned.filter(|o| unread.contains(&o.id())).map(|o| (o.id(), o.head()));
                self.unread.lock().extend(of);
            }
            for owning in claimed {
                let (id, work) = match owning {
                    OwnershipChange::Claimed(owned) => {
                        let _ = self.assigned.send(PartitionAssignment::Assigned(owned.id()));
                        (owned.id(), PolledWork::Assign(Box::new(owned)))
                    }
                    OwnershipChange::Released(p) => {
                        let _ = self.assigned.send(PartitionAssignment::Revoked(p));
                        (p, PolledWork::Drop(p))
                    }
                };
                // It starts again, not paused.
                paused.remove(&id);
                waiting.push_back((id, work));
            }
            match polled {
                Polled::Nothing => {
                    if !waiting.is_empty() {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
                Polled::Chunk(c) => {
                    Progress::add(&self.progress.polled, c.bytes as u64);
                    waiting.push_back((c.partition, PolledWork::Chunk(c)));
                }
                Polled::Ended(p) if !source.may_continue() => waiting.push_back((p, PolledWork::End(p))),
                Polled::Idle(partition) => {
                    waiting.push_back((partition, PolledWork::Quiet { partition, caught_up: false }));
                }
                Polled::Ended(partition) => {
                    waiting.push_back((partition, PolledWork::Quiet { partition, caught_up: true }));
                }
                Polled::Gap { partition, from, to } if to < from && !P::FOLLOWS_NEW_LOGS => {
                    return Err(EngineError::Recreated { partition, from, to });
                }
                Polled::Gap { partition, from, to } => {
                    let lost = to.0.saturating_sub(from.0).unsigned_abs();
                    Progress::add(&self.progress.gaps, lost);
                    tracing::warn!(%partition, from = from.0, to = to.0, "records are gone (retention, or a topic that was created again): counted as a gap");
                }
                Polled::Log { partition, id, begins } => {
                    waiting.push_back((partition, PolledWork::Log { partition, id, begins }));
                }
                Polled::Finished => {
                    self.queues.send_all(waiting);
                    return Ok(Finish::InputEnded);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::partition_writer::PartitionWriter;
    use super::super::queues::WorkerOrder;
    use super::*;
    use crate::source::SourceError;
    use crossbeam_channel::{bounded, unbounded};

    /// A source with many reports about partition 0 and then as many about 1, which it also returns
    /// while 0 is paused.
    #[derive(Default)]
    struct Talking {
        said: [usize; 2],
        paused: BTreeSet<i32>,
        ever_paused: BTreeSet<i32>,
    }

    const MUCH: usize = 20;

    impl Source for Talking {
        fn partitions(&self) -> Vec<PartitionId> {
            vec![PartitionId(0), PartitionId(1)]
        }

        fn poll(&mut self, _timeout: Duration) -> Result<Polled, SourceError> {
            let next = (0..2).find(|p| self.said[*p] < MUCH && !self.paused.contains(&(*p as i32)));
            Ok(next.map_or(Polled::Nothing, |p| {
                self.said[p] += 1;
                Polled::Idle(PartitionId(p as i32))
            }))
        }

        fn pause(&mut self, partition: PartitionId) -> Result<(), SourceError> {
            self.paused.insert(partition.0);
            self.ever_paused.insert(partition.0);
            Ok(())
        }

        fn resume(&mut self, partition: PartitionId) -> Result<(), SourceError> {
            self.paused.remove(&partition.0);
            Ok(())
        }
    }

    #[test]
    fn a_worker_that_stands_still_holds_back_its_partitions_after_a_while_and_no_others() {
        let (to, from): (Vec<_>, Vec<_>) = [1, MUCH].map(bounded).into_iter().unzip();
        let (assigned, _assigned) = unbounded();
        let ((_lost, lost), (_hint, hints), (_recycle, recycled)) = (unbounded(), unbounded(), unbounded());
        let (claimed, partitions, progress) = (ClaimQueue::default(), Mutex::default(), Progress::default());
        let unread = Mutex::default();
        let (stop, failed) = (AtomicBool::new(false), AtomicBool::new(false));
        let feed = Poller {
            claimed: &claimed,
            queues: WorkerQueues::<PartitionWriter> { workers: &to, decode: &|_, _| () },
            assigned: &assigned,
            lost: &lost,
            partitions: &partitions,
            unread: &unread,
            hints: &hints,
            recycled: &recycled,
            progress: &progress,
        };
        let mut source = Talking::default();
        std::thread::scope(|scope| {
            scope.spawn(|| feed.poll_all(&mut source, &stop, &failed).map(|_| ()).unwrap());
            let quiet = |worker: usize| {
                let told = from[worker].recv_timeout(Duration::from_secs(20));
                matches!(told, Ok(WorkerOrder::Quiet { partition, .. }) if partition.0 == worker as i32)
            };
            let second = (0..MUCH).filter(|_| quiet(1)).count();
            // The first one continues, and all that waited arrives.
            let first = (0..MUCH).filter(|_| quiet(0)).count();
            stop.store(true, Ordering::Relaxed);
            assert_eq!([first, second], [MUCH; 2]);
        });
        assert_eq!(source.ever_paused, [0].into());
    }
}
